r"""AP, Pearson r and MSE of every attribute in many resamples of the images at once.

A resample is a weight an image, how often it was drawn. With scores in falling order and w the weights,

    AP = sum_{i positive} w_i P_i / sum_{i positive} w_i,    P_i = weight of positives down to i / weight down to i

(ties are one threshold), so one sort an attribute serves all resamples. r and MSE are ratios of weighted sums. With
weights of one these are the numbers of `benchmarks.metrics.prediction`. Arrays of other shapes raise ValueError.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Shaped

from benchmarks.metrics.prediction import require_one_shape


class AveragePrecision:
    """AP under weights. `labels` are 0 or 1, `scores` anything that orders the images."""

    def __init__(self, labels: Shaped[np.ndarray, "n k"], scores: Float[np.ndarray, "n k"]) -> None:
        require_one_shape(labels, scores)
        self._n = len(labels)
        self._attributes = [_falling(y != 0, s) for y, s in zip(labels.T, scores.T, strict=True)]

    def __call__(self, weights: Float[np.ndarray, "r n"]) -> Float64[np.ndarray, "r k"]:
        """AP of every resample and attribute; NaN where a resample has no positive, 0 where no image is one."""
        _require_weights(weights, self._n)
        by_image = np.ascontiguousarray(weights.T, np.float32)  # rows are gathered; float32 counts to 2^24
        result = np.full((len(weights), len(self._attributes)), np.nan)
        for k, (order, positive, last, of_last) in enumerate(self._attributes):
            if not len(positive):
                result[:, k] = 0
                continue
            w = by_image[order]
            hits = w[positive].astype(np.float64)
            found = np.cumsum(hits, axis=0)[of_last]
            seen = np.cumsum(w, axis=0)[last].astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                result[:, k] = (hits * found / np.maximum(seen, 1)).sum(axis=0) / hits.sum(axis=0)
        return result


_ROUNDING = 1e-12
"""What is left of the variance of a constant, as a share of its square."""


class Pearson:
    """Pearson r under weights."""

    def __init__(self, target: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]) -> None:
        require_one_shape(target, prediction)
        y, f = (a.astype(np.float64) - a.mean(axis=0, dtype=np.float64) for a in (target, prediction))
        self._k = y.shape[1]
        self._moments = np.concatenate([y, f, y * f, y * y, f * f], axis=1)

    def __call__(self, weights: Float[np.ndarray, "r n"]) -> Float64[np.ndarray, "r k"]:
        """r of every resample and attribute; NaN where one side is constant."""
        _require_weights(weights, len(self._moments))
        w = weights.astype(np.float64)
        sums = (w @ self._moments / w.sum(axis=1, keepdims=True)).reshape(len(w), 5, self._k)
        y, f, yf, yy, ff = sums.transpose(1, 0, 2)
        variances = [np.where(v > _ROUNDING * square, v, np.nan) for v, square in ((yy - y * y, yy), (ff - f * f, ff))]
        return (yf - y * f) / np.sqrt(variances[0] * variances[1])


class SquaredError:
    """Mean squared error under weights."""

    def __init__(self, target: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]) -> None:
        require_one_shape(target, prediction)
        self._squares = np.square(target.astype(np.float64) - prediction.astype(np.float64))

    def __call__(self, weights: Float[np.ndarray, "r n"]) -> Float64[np.ndarray, "r k"]:
        """MSE of every resample and attribute."""
        _require_weights(weights, len(self._squares))
        w = weights.astype(np.float64)
        return w @ self._squares / w.sum(axis=1, keepdims=True)


def _require_weights(weights: np.ndarray, n: int) -> None:
    if weights.ndim != 2 or weights.shape[1] != n:
        raise ValueError(f"weights must have the shape (r, {n}), a row a resample, found {weights.shape}")


def _falling(
    positive: Shaped[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Order of falling scores; positions of positives; of each, the last position of its ties, and of positives."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered) != 0), len(ordered) - 1)
    at = np.flatnonzero(positive[order])
    last = ends[np.searchsorted(ends, at)]
    return order, at, last, np.searchsorted(at, last, side="right") - 1
