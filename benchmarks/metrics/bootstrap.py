"""Is one model better than another? Paired bootstrap over attributes or images.

For paired numbers a_i, b_i the difference is d = mean_i (a_i - b_i); its interval holds the middle of the distribution
of d when the pairs are resampled with replacement (percentile bootstrap). Resampling pairs removes what the two models
share: an attribute that is hard for both widens neither side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Interval(NamedTuple):
    """A difference and the ends of its confidence interval."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    a: Float[np.ndarray, " k"],
    b: Float[np.ndarray, " k"],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of a - b with its percentile interval at `level`, from `resamples` draws of the k pairs."""
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"needs two vectors of one length, got {a.shape} and {b.shape}")
    difference = a.astype(np.float64) - b.astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.array([difference[rng.integers(0, len(a), len(a))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high))
