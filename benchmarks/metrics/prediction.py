r"""How well attributes are predicted: AP of binary ones, Pearson r and MSE of continuous ones.

    AP  = sum_n (R_n - R_{n-1}) P_n     over distinct scores in falling order, R_0 = 0; ties are one threshold
    r   = cov(y, f) / (std(y) std(f))
    MSE = mean (y - f)^2

All are per attribute, in float64. The table values are plain means over attributes: no weighting and, for r, no Fisher
transform (DBAE paper, Table 1; protocol of yue-zhongqi/diti, eval/src).
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Float64, Int8


def average_precision(labels: Int8[np.ndarray, "n k"], scores: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " k"]:
    """AP of each attribute; equal to scikit-learn's but for rounding, and faster. Range [0, 1].

    A random scorer gets the attribute's prevalence.

    Args:
        labels: 0 or 1.
        scores: any monotone score; pass logits, since a float32 sigmoid saturates and its ties change AP.

    An attribute without a positive has AP 0, as in the reference's scikit-learn; one with positives only has AP 1.

    Raises:
        ValueError: a score of an attribute with positives is not finite, labels are not 0 and 1, or shapes differ.
    """
    require_one_shape(labels, scores)
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(labels)[:5]}")
    found = np.flatnonzero(labels.any(axis=0))
    bad = [column for column in found if not np.isfinite(scores[:, column]).all()]
    if bad:
        raise ValueError(f"average precision needs finite scores; those of attributes {bad} are not")
    result = np.zeros(labels.shape[1])
    for column in found:
        order = np.argsort(scores[:, column])[::-1]
        falling = scores[order, column]
        last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(order) - 1)  # of each group of ties
        hits = np.cumsum(labels[order, column], dtype=np.int64)[last]
        result[column] = (np.diff(hits, prepend=0) * (hits / (last + 1))).sum() / hits[-1]
    return result


def pearson(target: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " k"]:
    """Pearson r of each attribute by SciPy. NaN where target or prediction is constant, hence a NaN mean there.

    Raises:
        ValueError: fewer than two rows, or shapes differ.
    """
    from scipy import stats

    require_one_shape(target, prediction)
    if len(target) < 2:
        raise ValueError(f"a correlation needs two images or more, got {len(target)}")
    with warnings.catch_warnings():
        # Said by the NaN itself, which the caller sees; the warnings would come once an epoch.
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return stats.pearsonr(target.astype(np.float64), prediction.astype(np.float64), axis=0).statistic


def mean_squared_error(
    target: Float[np.ndarray, "n k"], prediction: Float[np.ndarray, "n k"]
) -> Float64[np.ndarray, " k"]:
    """Mean squared error of each attribute, in squared units of the target.

    Raises:
        ValueError: shapes differ.
    """
    require_one_shape(target, prediction)
    return np.square(target.astype(np.float64) - prediction.astype(np.float64)).mean(axis=0)


def require_one_shape(known: np.ndarray, predicted: np.ndarray) -> None:
    """Raise ValueError for arrays of different shapes, which might be broadcast."""
    if known.shape != predicted.shape:
        raise ValueError(f"predictions must have the shape {known.shape} of what is predicted, found {predicted.shape}")
