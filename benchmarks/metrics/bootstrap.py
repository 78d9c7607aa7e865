r"""Is one model better than another? Intervals of a difference between two models measured on the same images.

For paired numbers a_i, b_i the difference is d = mean_i (a_i - b_i). Pairing removes what the two models share: an
image that is hard for both widens neither side. The intervals:

    of a mean       bootstrap-t: with s the standard error of d, and t* = (d* - d) / s* over resamples,
                    [d - q_{1-a/2}(t*) s, d - q_{a/2}(t*) s].  Holds its level at 16 pairs, where percentiles do not.
    of anything     (AP, Pearson r, TAD: no means over images)  d -+ t_{m-1, 1-a/2} sd(d*), with m resampled units

What is resampled are units: images, or the people in them where several images show one person (then d is a ratio
estimator, sum of differences over number of images, and s is its linearised error), or attributes. Fewer than `FEWEST`
units give no interval: two of them would have one of zero width, three one of any width, as chance has it.

Source: Efron & Tibshirani 1993, chapters 12 and 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

RESAMPLES = 1000
FEWEST = 8
"""Units below which an interval's ends and p-value are NaN. Of 150 simulated bootstrap-t intervals of a normal mean,
the widest is millions wide at 3 units and 8 times the median at 5 and 6; from 8 on it is twice the median."""
_DRAWS = 20_000_000
_CHUNK = 250


class Interval(NamedTuple):
    """A difference, the ends of its confidence interval, and the p-value of no difference (two-sided).

    The interval holds zero where p is above 1 - level, and does not where it is below. With too few units for an
    interval, low, high and p are NaN.
    """

    difference: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def paired_bootstrap(
    a: Float[np.ndarray, " k"],
    b: Float[np.ndarray, " k"],
    *,
    groups: Int[np.ndarray, " k"] | None = None,
    level: float = 0.95,
    resamples: int | None = None,
    seed: int = 0,
) -> Interval:
    """Mean of a - b with its bootstrap-t interval at `level`.

    Args:
        groups: who is in each image; whole groups are resampled.
        resamples: default 2,000 to 10,000, fewer for more pairs.

    Raises:
        ValueError: no two vectors of one length, or values that are not finite.
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"needs two vectors of one length, got {a.shape} and {b.shape}")
    difference = a.astype(np.float64) - b.astype(np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("differences must be finite")
    unit = _unit_numbers(len(a), groups)
    total, size = np.bincount(unit, difference), np.bincount(unit).astype(np.float64)
    d, s = _ratio(np.ones((1, len(size))), total, size)
    if len(size) < FEWEST:
        return Interval(float(d[0]))
    if s[0] <= 1e-12 * np.abs(difference).max(initial=1e-300):  # of equal differences everything is known
        return Interval(float(d[0]), float(d[0]), float(d[0]), float(d[0] == 0))
    resamples = resamples or int(np.clip(_DRAWS // len(size), 2000, 10_000))
    drawn = [_ratio(w, total, size) for w in unit_weights(len(size), resamples, seed)]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.concatenate([(mean - d[0]) / error for mean, error in drawn])
    t = t[np.isfinite(t)]  # a resample of equal differences has no error
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        float(d[0]), float(d[0] - high * s[0]), float(d[0] - low * s[0]), _p_value(float(d[0] / s[0]), t, len(size) - 1)
    )


def of_resamples(value: float, drawn: Float[np.ndarray, " r"], units: int, *, level: float = 0.95) -> Interval:
    """Interval of a statistic from what it is in resamples of its `units`; resamples without a value are left out."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < 2 or units < FEWEST:
        return Interval(value)
    return of_error(value, float(known.std(ddof=1)), units - 1, level=level)


def of_two_ways(
    values: Float[np.ndarray, " k"], drawn: Float[np.ndarray, "r k"], units: int, *, level: float = 0.95
) -> Interval:
    """Interval of the mean of k attributes' differences where other images and other attributes count as noise.

    Components of variance of a crossed design: with v_I the variance of the mean over image resamples, s^2 that between
    attributes and e the variance over resamples of one attribute's distance to the mean (what images do to single
    attributes, which both contain),

        error^2 = v_I + s^2 / k - e / k,     at least the larger of v_I and s^2 / k,

    with the degrees of freedom of Welch and Satterthwaite. Attributes without a value somewhere are left out.
    """
    known = np.isfinite(values) & np.isfinite(drawn).all(axis=0)
    values, drawn = values[known], drawn[:, known]
    k = len(values)
    if min(k, units) < FEWEST:
        return Interval(float(values.mean()) if k else math.nan)
    means = drawn.mean(axis=1)
    images, attributes = float(means.var(ddof=1)), float(values.var(ddof=1)) / k
    within = float((drawn - means[:, None]).var(axis=0, ddof=1).mean()) / (k - 1)
    square = max(images + attributes - within, images, attributes)
    if square == 0:
        return of_error(float(values.mean()), 0.0, 1)
    freedom = max(square**2 / (images**2 / (units - 1) + attributes**2 / (k - 1)), min(units, k) - 1)
    return of_error(float(values.mean()), math.sqrt(square), freedom, level=level)


def of_error(value: float, error: float, freedom: float | int, *, level: float = 0.95) -> Interval:
    """Interval of Student's t from a standard error with so many degrees of freedom."""
    from scipy import stats

    if not error > 0:
        return Interval(value, value, value, float(value == 0))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(value, value - half, value + half, float(2 * stats.t.sf(abs(value) / error, freedom)))


def of_counts(value: float, drawn: Float[np.ndarray, " r"], *, level: float = 0.95) -> Interval:
    """Interval of a whole-numbered statistic: the quantiles of its resamples, whole numbers themselves.

    Resampling moves a count of what passes a threshold, so that its quantiles may leave out the value; then they are
    widened to hold it (`holding`). Where only that brings zero in, value and resamples disagree about the sign: p is 1.
    """
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    low, high = holding(value, float(low), float(high))
    share = min(1.0, 2 * min(float(np.mean(drawn <= 0)), float(np.mean(drawn >= 0))))
    return Interval(value, low, high, 1.0 if low <= 0 <= high and share < 1 - level else share)


def holding(value: float, low: float, high: float) -> tuple[float, float]:
    """The ends of an interval, widened to hold the value that it is of; NaN stays."""
    return min(low, value), max(high, value)


def unit_weights(units: int, resamples: int, seed: int = 0) -> Iterator[Float64[np.ndarray, "r m"]]:
    """How often each unit is in each resample, a chunk of resamples at a time; the same for whoever asks."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, units, (rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def image_weights(
    n: int, groups: Int[np.ndarray, " n"] | None, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[Float64[np.ndarray, "r n"]]:
    """Weights of n images in each resample of the images, or of the groups that they belong to."""
    unit = _unit_numbers(n, groups)
    for weights in unit_weights(int(unit.max()) + 1, resamples, seed):
        yield weights if groups is None else weights[:, unit]


def number_of_units(n: int, groups: Int[np.ndarray, " n"] | None) -> int:
    """Units that n images make."""
    return n if groups is None else len(np.unique(groups))


def holm(p: Float[np.ndarray, " m"], *, level: float = 0.95) -> np.ndarray:
    """Which of m differences stand when all of them are looked at: Holm's step-down correction, bool (m,)."""
    order = np.argsort(p, kind="stable")
    small = p[order] <= (1 - level) / np.arange(len(p), 0, -1)
    stands = np.zeros(len(p), bool)
    stands[order] = np.logical_and.accumulate(small)
    return stands


def _unit_numbers(n: int, groups: Int[np.ndarray, " n"] | None) -> Int64[np.ndarray, " n"]:
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(n)


def _ratio(
    weights: Float64[np.ndarray, "r m"], total: Float64[np.ndarray, " m"], size: Float64[np.ndarray, " m"]
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Mean difference of an image in each resample of m units, and its linearised standard error."""
    m, images = len(size), weights @ size
    d = weights @ total / images
    square = weights @ total**2 - 2 * d * (weights @ (total * size)) + d**2 * (weights @ size**2)
    return d, np.sqrt(square.clip(min=0) * m / max(m - 1, 1)) / images


def _p_value(t: float, drawn: Float64[np.ndarray, " r"], freedom: int) -> float:
    """Share of resamples as far out, both sides; beyond their reach, Student's t."""
    from scipy import stats

    beyond = min(int((drawn >= t).sum()), int((drawn <= t).sum()))
    if beyond < 5:
        return float(min(2 * stats.t.sf(abs(t), freedom), 2 * (beyond + 1) / (len(drawn) + 1)))
    return min(1.0, 2 * beyond / len(drawn))
