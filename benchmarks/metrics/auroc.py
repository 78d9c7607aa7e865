r"""How well does one latent dimension alone separate an attribute? AUROC of every (attribute, dimension), two ways.

exact  ranks r (ties averaged), P positives, N negatives:  AUC = (sum_{positives} r - P (P + 1) / 2) / (P N),
       the score is max(AUC, 1 - AUC). With image weights w (a bootstrap resample is one), r_i becomes the weight below
       z_i plus half the weight at z_i, and AUC = (sum_{positives} w_i r_i - P^2 / 2) / (P N) in weights.

sweep  what NashAE's published code computes: 101 thresholds equally spaced over the range of the codes, detectors
       z >= threshold and z < threshold, and the rectangle rule. With p_k, n_k the shares of positives and negatives
       that reach exactly k of the thresholds,

           area_pos = sum_{k=1}^{100} n_k sum_{j>=k} p_j,      area_neg = sum_{k=1}^{100} n_k sum_{j<=k} p_j

       and the score is the larger; 0.5 where the codes span no more than a guard (0.2), whatever their scale.

DEVIATION: the sweep is no AUROC. Pairs within one bin count as right in both directions, so it lies above the exact
value: by 0.01 for Gaussian codes of 1000 images, by up to 0.26 for heavy tails.

Sources: ericyeats/nashae-beamsynthesis, ae_utils_exp.py; isjakewong/InfoDiffusion, eval_disentanglement.py.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int8

THRESHOLDS = 101


def auroc_exact(
    codes: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "n a"], weights: Float[np.ndarray, "r n"] | None = None
) -> Float64[np.ndarray, "r a d"]:
    """max(AUC, 1 - AUC), in [0.5, 1], of every attribute and dimension; NaN for an attribute without both classes.

    Args:
        codes: latents.
        labels: 0 or 1.
        weights: r sets of image weights; None is one set of ones.

    Raises:
        ValueError: codes are not finite, labels are not 0 and 1, or not as many as codes.
    """
    _check_labels(labels, len(codes))
    if not np.isfinite(codes).all():
        raise ValueError("codes must be finite")
    if weights is None:
        weights = np.ones((1, len(codes)))
    positive = weights @ labels
    negative = weights.sum(axis=1, keepdims=True) - positive
    result = np.empty((*positive.shape, codes.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        for d, z in enumerate(codes.T):
            order, first, last = _tie_groups(z)
            w, y = weights[:, order], labels[order].astype(np.float64)
            reached = np.cumsum(w, axis=1)
            rank = (reached[:, first] - w[:, first] + reached[:, last]) / 2
            result[..., d] = ((w * rank) @ y - positive**2 / 2) / (positive * negative)
    return np.maximum(result, 1 - result)


def auroc_sweep(
    codes: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "n a"], *, range_guard: float = 0.2
) -> Float64[np.ndarray, "a d"]:
    """The published sweep; NaN for an attribute without both classes (where the reference divides by zero).

    Raises:
        ValueError: as of `sweep_areas`.
    """
    areas = sweep_areas(codes, labels)
    return np.where(_spread(codes) > range_guard, areas.max(axis=0), 0.5)


def sweep_areas(codes: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "n a"]) -> Float64[np.ndarray, "2 a d"]:
    """area_pos and area_neg of the sweep, before the guard and the maximum.

    Raises:
        ValueError: codes or their range are not finite in float32, labels are not 0 and 1, or not as many as codes.
    """
    _check_labels(labels, len(codes))
    count = labels.sum(axis=0, dtype=np.int64)
    result = np.empty((2, labels.shape[1], codes.shape[1]))
    below = np.zeros((len(labels) + 1, labels.shape[1]), np.int32)  # positives among the first so many sorted images
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for d, z in enumerate(codes.T):
            bins = _thresholds_reached(z).astype(np.uint8)
            order = np.argsort(bins, kind="stable")
            ends = np.searchsorted(bins[order], np.arange(THRESHOLDS + 2, dtype=np.uint8))
            labels[order].cumsum(axis=0, out=below[1:])
            inside = np.diff(below[ends], axis=0)  # of every bin
            p, n = inside / count, (np.diff(ends)[:, None] - inside) / (len(z) - count)
            n[[0, -1]] = 0  # the top bin counts for neither direction: the rule has no end points (0, 0) and (1, 1)
            result[0, :, d] = (n * p[::-1].cumsum(axis=0)[::-1]).sum(axis=0)
            result[1, :, d] = (n * p.cumsum(axis=0)).sum(axis=0)
    return result


def _thresholds_reached(z: Float[np.ndarray, " n"]) -> np.ndarray:
    """How many thresholds each code reaches, 0 to 101. float32 in the reference's order: rounding decides the top."""
    z = z.astype(np.float32)
    span = z.max() - z.min()
    if not np.isfinite(span):  # of finite codes alone it is
        raise ValueError(f"codes and their range must be finite in float32, found {z.min():.4g} to {z.max():.4g}")
    steps = np.arange(0.0, 1.0001, 0.01).astype(np.float32)
    return np.searchsorted(steps * span + z.min(), z, side="right")


def _check_labels(labels: np.ndarray, images: int) -> None:
    if len(labels) != images:
        raise ValueError(f"{images} codes and {len(labels)} rows of labels")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(labels)[:5]}")


def _spread(codes: Float[np.ndarray, "n d"]) -> np.ndarray:
    codes = codes.astype(np.float32)
    return codes.max(axis=0) - codes.min(axis=0)


def _tie_groups(z: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorting order of z and, for each sorted position, the first and last position of equal values."""
    order = np.argsort(z, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(z[order]) != 0]))
    sizes = np.diff(np.append(starts, len(z)))
    first = np.repeat(starts, sizes)
    return order, first, first + np.repeat(sizes, sizes) - 1
