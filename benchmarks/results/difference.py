"""The difference of two paired records, and whether it is more than noise.

An interval is about something that could have been another one: the test images (the default), or the attributes. What
is at hand (`benchmarks.results.evidence`) decides which there can be:

    over images       values, scores or noise of single images; whole people where the data knows who is in an image
    over attributes   single attributes only, of the same images all of them: no verdict unless it is asked for
    over both         scores: images and attributes resampled at the same time
    standard errors   where they are over images (reconstruction, variation, trajectories), but single images are not
                      at hand:
                      d -+ 2 sqrt(s_a^2 + s_b^2), too wide where both saw the same images
    none              errors of seeds say nothing about other images: no verdict

Counts of an architecture have no noise: any change is one. An interval is laid around the difference of the records.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.metrics import bootstrap
from benchmarks.metrics.bootstrap import Interval
from benchmarks.results import noise
from benchmarks.results.evidence import Evidence, PerImage, Resampled, evidence
from benchmarks.results.pair import Pair

Resample = Literal["images", "attributes", "both"]
Over = Literal["images", "attributes", "both", "people", ""]

_OF_IMAGES = frozenset({"reconstruction", "variation", "trajectories"})
"""Tasks whose standard errors are over images, or over sequences of them."""
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Difference:
    """after - before.

    Attributes:
        value: the difference; of means with an infinite member, that of the paired images.
        low, high, p: its 95 % interval and p-value, NaN where there are none; over: what was resampled for them.
        significant: whether it is more than noise; None without a verdict.
        tolerance: how much worse is allowed.
        note: what to know about it.
    """

    pair: Pair
    value: float
    low: float
    high: float
    p: float
    over: Over
    significant: bool | None
    tolerance: float
    note: str = ""

    @property
    def judged(self) -> bool:
        """Whether there is a verdict that chance could have made."""
        return self.significant is not None and not math.isnan(self.p)

    def corrected(self, stands: bool) -> Difference:
        """With the verdict that stands when many are looked at; a note says where the interval alone had another."""
        fell = "by Holm" if self.significant and not stands else ""
        return dataclasses.replace(self, significant=stands, note="; ".join(filter(None, [self.note, fell])))

    @property
    def gain(self) -> float:
        """The difference in the good direction."""
        return self.value if self.pair.before.better == "higher" else -self.value

    @property
    def regression(self) -> bool:
        """Worse by more than the tolerance, and not just noise. A value that became NaN is a regression."""
        a, b = self.pair.before.value, self.pair.after.value
        if math.isnan(b):
            return not math.isnan(a)
        return self.significant is True and self.gain < -self.tolerance

    @property
    def verdict(self) -> str:
        """A few words for the table."""
        if self.regression:
            word = "REGRESSION"
        elif self.value == 0:
            word = "equal"
        elif self.significant is None:
            word = "no verdict"
        else:
            word = ("better" if self.gain > 0 else "worse") if self.significant else "within noise"
        about = {"attributes": "over attributes", "both": "over images and attributes", "people": "over people"}
        notes = [about.get(self.over, ""), self.note, f"FORCED: {self.pair.forced}" if self.pair.forced else ""]
        return "; ".join([word, *filter(None, notes)])

    @property
    def text(self) -> str:
        """The difference with its interval."""
        whole = self.pair.before.metric == "ATTRS"
        digits = "+.0f" if whole and self.over == "images" else "+.4f"
        interval = "" if math.isnan(self.low) else f" [{self.low:{digits}}, {self.high:{digits}}]"
        return f"{self.value:+.4f}{interval}"


def difference(pair: Pair, before: Path, after: Path, tolerance: float, *, resample: Resample = "images") -> Difference:
    """Judge a pair of records of the results files `before` and `after`."""
    a, b = evidence(pair.before, before), evidence(pair.after, after)
    found, over = _interval(pair, a, b, resample)
    note = _infinite(a, b)
    if found is None:
        value = _minus(pair)
        significant, why = (value != 0, "") if _exact(pair) else (None, _unknown(pair, a, b))
        found = Interval(value, math.nan, math.nan, math.nan)
    elif math.isnan(found.p):
        units = "images or attributes" if over == "both" else over
        significant, why = None, "" if found.difference == 0 else f"fewer than {bootstrap.FEWEST} {units}"
    elif over == "attributes" and resample == "images":
        significant, why = None, "no images at hand"
    else:
        significant, why = found.p < 1 - LEVEL, "whole numbers" if pair.before.metric == "ATTRS" else ""
    return Difference(pair, *found, over, significant, tolerance, "; ".join(filter(None, (why, note))))


def _interval(pair: Pair, a: Evidence, b: Evidence, resample: Resample) -> tuple[Interval | None, Over]:
    """The interval of b - a that was asked for, or else the one that there can be; None without any."""
    value = _minus(pair)
    if resample != "attributes" and a.scores and b.scores and a.scores.pairs_with(b.scores):
        over: Over = "both" if resample == "both" else "people" if a.scores.people else "images"
        return of_scores(value, a.scores, b.scores, resample), over
    if resample == "images":
        if a.images and b.images and (found := _of_images(a.images, b.images)):
            return found, "images" if a.images.groups is None else "people"
        if a.noise and b.noise and math.isfinite(value):
            return noise.interval(value, b.noise, a.noise), "images"
        if found := _of_errors(pair):
            return found, "images"
    if a.attributes and b.attributes and a.attributes.keys() == b.attributes.keys() and len(a.attributes) > 1:
        values = [np.array([v[name] for name in a.attributes]) for v in (b.attributes, a.attributes)]
        return bootstrap.paired_bootstrap(*values), "attributes"
    return None, ""


def _of_images(a: PerImage, b: PerImage) -> Interval | None:
    """Of means over images, paired by their number; an infinite value equals an infinite one."""
    _, left, right = np.intersect1d(a.index, b.index, return_indices=True)
    if not len(left) == len(a.index) == len(b.index) > 1:
        return None
    before, after = a.values[left], b.values[right]
    both = np.isinf(before) & (before == after)
    before, after = (np.where(both, 0.0, v) for v in (before, after))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return None
    return bootstrap.paired_bootstrap(after, before, groups=None if a.groups is None else a.groups[left])


def of_scores(value: float, a: Resampled, b: Resampled, resample: Resample) -> Interval:
    """Interval of a mean over attributes: images (or people) resampled, attributes too where both are asked for.

    It is laid around the difference of the records: scores are kept in half precision.
    """
    with np.errstate(invalid="ignore"):  # where a resample has no value
        drawn = b.drawn.astype(np.float64) - a.drawn
    if resample == "both":
        found = bootstrap.of_two_ways(b.values - a.values, drawn, a.units)
        return found._replace(
            difference=value, low=found.low - found.difference + value, high=found.high - found.difference + value
        )
    known = np.isfinite(drawn)
    with np.errstate(invalid="ignore"):
        means = np.where(known, drawn, 0).sum(axis=1) / known.sum(axis=1)
    return bootstrap.of_resamples(value, means, a.units)


def _of_errors(pair: Pair) -> Interval | None:
    """Of two standard errors over images, as if they were different ones."""
    a, b = pair.before, pair.after
    if a.task not in _OF_IMAGES or a.stderr is None or b.stderr is None or min(a.n, b.n) < 2:
        return None
    return bootstrap.of_error(_minus(pair), math.hypot(a.stderr, b.stderr), min(a.n, b.n) - 1)


def _minus(pair: Pair) -> float:
    """after - before; 0 of equal values, infinite ones too."""
    a, b = pair.before.value, pair.after.value
    return 0.0 if a == b else b - a


def _exact(pair: Pair) -> bool:
    """Whether the numbers have no noise: counts of an architecture."""
    return all(r.task == "cost" and r.protocol == "architecture" for r in (pair.before, pair.after))


def _unknown(pair: Pair, a: Evidence, b: Evidence) -> str:
    """Why there is no verdict."""
    if _infinite(a, b):
        return ""
    if pair.before.seed.startswith("mean of folds"):
        return "folds only"
    if pair.before.seed.startswith("mean of") and pair.before.stderr is not None:
        return "seeds only"
    return "noise unknown"


def _infinite(a: Evidence, b: Evidence) -> str:
    """Says that a mean has infinite members."""
    counts = [0 if e.images is None else int(np.isinf(e.images.values).sum()) for e in (a, b)]
    n = max(0 if e.images is None else len(e.images.values) for e in (a, b))
    return f"infinite for {counts[0]} and {counts[1]} of {n} images" if any(counts) else ""
