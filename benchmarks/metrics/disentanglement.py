r"""TAD and ATTRS: does some single latent dimension, and only that one, carry an attribute?

    best(i), next(i) = largest and second largest score of attribute i over dimensions (`metrics.auroc`)
    red(i)  = max_{j != i} MI(i, j) / H(i)      what another attribute tells of attribute i, in shares of its entropy
    captured(i)  <=>  best(i) >= 0.75  and  red(i) <= 0.2
    ATTRS = number captured,    TAD = sum over captured of best(i) - next(i)

Published rows come from three programs, so the protocol has a name:

    paper           the sweep, guard 0.2, raw codes, 1000 images from all splits; draws give mean and spread
                    (ericyeats/nashae-beamsynthesis, celeba_eval.ipynb)
    infodiffusion   exact AUROC, the first 10,000 training images, the 8,000 of each of 5 folds, standardised
                    (isjakewong/InfoDiffusion, eval_disentanglement.py)
    standard        exact AUROC, all test images, posterior mean, bootstrap interval over images

Values of different protocols or numbers of images must not be compared: `next` is a maximum over dimensions, so TAD
depends on n (3.4 at 1000 where the population has 4.2). Which images make up `codes` is the caller's choice.

Source of the measure: Yeats et al. 2022, "NashAE: Disentangling Representations through Adversarial Covariance
Minimization".
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64

from benchmarks.metrics.auroc import auroc_exact, auroc_sweep
from benchmarks.metrics.bootstrap import holding, of_counts

ProtocolName = Literal["paper", "infodiffusion", "standard"]

CAPTURE = 0.75
ENTROPY_FILTER = 0.2
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Disentanglement:
    """TAD and ATTRS of one set of codes.

    Attributes:
        tad: in units of AUROC.
        attrs: number of captured attributes.
        n: images.
        best, next: the two largest scores of each attribute; NaN where it has one class only.
        dimension: where the largest is.
        redundancy: red(i), NaN where the attribute is constant.
        captured: see the module.
    """

    tad: float
    attrs: int
    n: int
    best: Float64[np.ndarray, " a"]
    next: Float64[np.ndarray, " a"]
    dimension: Int64[np.ndarray, " a"]
    redundancy: Float64[np.ndarray, " a"]
    captured: Bool[np.ndarray, " a"]


@dataclasses.dataclass(frozen=True)
class Summary:
    """A protocol's number for one metric: `stderr` is of the mean over draws or folds, or of the bootstrap.

    Attributes:
        low, high: 95 % interval of `standard`, None for the others.
        drawn: (r,) what the number is in the bootstrap resamples of `standard`, which are those of every model.
    """

    value: float
    stderr: float
    low: float | None = None
    high: float | None = None
    drawn: Float64[np.ndarray, " r"] | None = dataclasses.field(default=None, compare=False)


def tad(
    codes: Float[np.ndarray, "n d"],
    labels: Int8[np.ndarray, "n a"],
    *,
    auroc: Literal["sweep", "exact"] = "exact",
    range_guard: float = 0.2,
) -> Disentanglement:
    """TAD and ATTRS of one set of codes; an attribute with one class only is left out, with a logged warning.

    Args:
        codes: latents, one row an image.
        labels: 0 or 1.
        auroc: the score, see `metrics.auroc`.
        range_guard: of the sweep: a dimension that spans no more scores 0.5.

    Raises:
        ValueError: labels are not 0 and 1, or codes are not finite (for the sweep, in float32).
    """
    scores = auroc_sweep(codes, labels, range_guard=range_guard) if auroc == "sweep" else auroc_exact(codes, labels)[0]
    _warn_of_constant(labels)
    return summarise(scores, redundancy(labels), n=len(codes))


def summarise(scores: Float64[np.ndarray, "a d"], redundancy: Float64[np.ndarray, " a"], *, n: int) -> Disentanglement:
    """TAD and ATTRS from the scores of every attribute and dimension. With one dimension `next` is 0."""
    ordered = np.sort(np.pad(scores, ((0, 0), (1, 0))), axis=1)
    best, following = ordered[:, -1], ordered[:, -2]
    with np.errstate(invalid="ignore"):
        captured = (best >= CAPTURE) & (redundancy <= ENTROPY_FILTER)
    return Disentanglement(
        tad=float((best - following)[captured].sum()),
        attrs=int(captured.sum()),
        n=n,
        best=best,
        next=following,
        dimension=scores.argmax(axis=1),
        redundancy=redundancy,
        captured=captured,
    )


def mutual_information(
    labels: Int8[np.ndarray, "n a"], weights: Float[np.ndarray, " n"] | None = None
) -> Float64[np.ndarray, "a a"]:
    """MI(i, j) in nats of binary attributes, from empirical shares; the diagonal is the entropy H(i)."""
    w = np.ones(len(labels)) if weights is None else weights
    y, total = labels.astype(np.float64), w.sum()
    both = (y * w[:, None]).T @ y / total
    share = np.diag(both)
    only_i, only_j = share[:, None] - both, share[None] - both
    # Of whole weights these are differences of multiples of 1/n: what rounding leaves of a zero must be zero.
    cells = [both, only_i, only_j, 1 - both - only_i - only_j]
    margins = [
        np.outer(i, j) for i, j in ((share, share), (share, 1 - share), (1 - share, share), (1 - share, 1 - share))
    ]
    result = np.zeros_like(both)
    for joint, product in zip(cells, margins, strict=True):
        seen = (joint > 1e-12) & (product > 1e-24)
        result[seen] += joint[seen] * np.log(joint[seen] / product[seen])
    return result


def redundancy(
    labels: Int8[np.ndarray, "n a"], weights: Float[np.ndarray, " n"] | None = None
) -> Float64[np.ndarray, " a"]:
    """red(i): the largest share of attribute i's entropy that one other attribute removes; NaN if i is constant."""
    information = mutual_information(labels, weights)
    entropy = np.diag(information).copy()
    np.fill_diagonal(information, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(entropy > 0, information.max(axis=1) / entropy, np.nan)


def paper_rows(n: int, *, seeds: range = range(5), size: int = 1000) -> list[Int64[np.ndarray, " m"]]:
    """Which of n images protocol `paper` takes: `size` drawn without replacement, once a seed; all of them if fewer."""
    return [np.random.default_rng(seed).permutation(n)[:size] for seed in seeds]


def infodiffusion_rows(n: int) -> list[Int64[np.ndarray, " m"]]:
    """Which of n images each fold of protocol `infodiffusion` takes: 5 shuffled folds of scikit-learn, seed 0."""
    from sklearn.model_selection import KFold

    return [rows for rows, _ in KFold(5, shuffle=True, random_state=0).split(np.empty((n, 1)))]


def infodiffusion_folds(codes: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "n a"]) -> list[Disentanglement]:
    """Protocol `infodiffusion`: exact AUROC on the training part of each fold.

    The reference standardises each fold; that changes no rank of float64 codes and so no score, and is left out.
    """
    return [tad(codes[rows], labels[rows]) for rows in infodiffusion_rows(len(codes))]


def summaries(results: list[Disentanglement]) -> tuple[Summary, Summary]:
    """TAD and ATTRS over draws or folds: mean and standard error of the mean (NaN for a single one)."""

    def one(values: list[float]) -> Summary:
        spread = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
        return Summary(float(np.mean(values)), float(spread))

    return one([r.tad for r in results]), one([float(r.attrs) for r in results])


def bootstrap(
    codes: Float[np.ndarray, "n d"],
    labels: Int8[np.ndarray, "n a"],
    *,
    groups: Int64[np.ndarray, " n"] | None = None,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Summary, Summary]:
    """Protocol `standard`: TAD and ATTRS with a percentile bootstrap interval over images, or over who is in them.

    It holds what another set of n images would give. A resample has fewer distinct images, and so the bias of small n
    (`next` is a maximum over dimensions) once more: resamples of TAD are moved to have the value as their mean. ATTRS
    is a whole number, and so are the ends of its interval. Where quantiles leave out the value, they are widened to
    hold it.
    """
    value = tad(codes, labels)
    unit = np.arange(len(codes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    weights = drawn[:, unit].astype(np.float64)
    scores = auroc_exact(codes, labels, weights)
    found = [summarise(s, redundancy(labels, w), n=len(codes)) for s, w in zip(scores, weights, strict=True)]

    tads, counts = np.array([r.tad for r in found]), np.array([float(r.attrs) for r in found])
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = (np.quantile(tads, ends) - tads.mean() + value.tad).clip(min=0)  # as TAD itself
    _, few, many, _ = of_counts(float(value.attrs), counts, level=level)
    return (
        Summary(value.tad, float(tads.std(ddof=1)), *holding(value.tad, float(low), float(high)), tads),
        Summary(float(value.attrs), float(counts.std(ddof=1)), few, many, counts),
    )


def _warn_of_constant(labels: np.ndarray) -> None:
    constant = np.flatnonzero(labels.min(axis=0) == labels.max(axis=0))
    if len(constant):
        log.warning("attributes %s have one class among %d images and are left out", constant.tolist(), len(labels))
