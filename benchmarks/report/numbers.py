"""How sure one number is, and how it is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.metrics import bootstrap
from benchmarks.metrics.bootstrap import Interval
from benchmarks.results import Record
from benchmarks.results.evidence import Evidence, evidence

_OF_IMAGES = ("reconstruction", "variation")
"""Tasks whose standard errors are over images."""
_SHARES = ("Precision", "Recall", "Coverage")
"""Beginnings of the names of metrics from 0 to 1 whose intervals are symmetric."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """What else a number might have been.

    Attributes:
        low, high: its 95 % interval, NaN where there is none.
        over: what was resampled for it, "images" or "people"; without an interval, what `error` is over.
        error: standard error, None where none is known.
    """

    low: float = math.nan
    high: float = math.nan
    over: str = ""
    error: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


@dataclasses.dataclass(frozen=True)
class Number:
    """A record, the results file that it is in, and its spread."""

    record: Record
    path: Path
    spread: Spread

    @property
    def value(self) -> float:
        return self.record.value


def spread(record: Record, path: Path, ends: Mapping[tuple[object, ...], float]) -> Spread:
    """The 95 % interval over test images: that of the file's own rows, else what lies beside the file tells; else the
    error that the row has.

    Args:
        ends: `interval_ends` of the file.
    """
    low, high = (ends.get(_key(record, f"{record.metric}_{end}")) for end in ("low", "high"))
    if low is not None and high is not None:
        return Spread(*bootstrap.holding(record.value, low, high), "images", record.stderr)
    found = evidence(record, path)
    interval = _interval(record, found)
    if interval is not None and not math.isnan(interval.low):
        people = bool((found.scores and found.scores.people) or (found.images and found.images.groups is not None))
        low, high = interval.low, interval.high
        if record.metric.startswith(_SHARES):
            low, high = max(0.0, low), min(1.0, high)
        return Spread(low, high, "people" if people else "images", record.stderr)
    return Spread(over=_error_over(record), error=record.stderr)


def interval_ends(records: Iterable[Record]) -> dict[tuple[object, ...], float]:
    """Ends of intervals that a results file has as rows of their own (TAD_low, TAD_high, ...)."""
    return {_key(r, r.metric): r.value for r in records if r.metric.endswith(("_low", "_high"))}


def _key(record: Record, metric: str) -> tuple[object, ...]:
    return dataclasses.replace(record, metric=metric).identity


def _interval(record: Record, found: Evidence) -> Interval | None:
    if found.scores is not None:
        with np.errstate(invalid="ignore"):
            means = np.nanmean(found.scores.drawn.astype(np.float64), axis=1)
        return bootstrap.of_resamples(record.value, means, found.scores.units)
    if found.images is not None and np.isfinite(found.images.values).all():
        values = found.images.values
        return bootstrap.paired_bootstrap(values, np.zeros_like(values), groups=found.images.groups, resamples=1000)
    if found.noise is not None and math.isfinite(record.value):
        if found.noise.whole and found.noise.resamples is not None:
            return bootstrap.of_counts(record.value, found.noise.resamples)
        return bootstrap.of_error(record.value, found.noise.error, found.noise.freedom)
    return None


def _error_over(record: Record) -> str:
    """What a row's standard error is over."""
    if record.stderr is None:
        return ""
    if record.seed.startswith("mean of folds"):
        return "folds"
    if record.seed.startswith("mean of"):
        return "seeds"
    return "images" if record.task in _OF_IMAGES else "repetitions" if record.task == "cost" else "resamples"


def decimals(values: Iterable[float]) -> int:
    """Digits after the point that serve a column of numbers: three significant ones of its middle, at most five."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes or all(size == round(size) for size in sizes):
        return 0 if sizes else 3
    return min(5, max(0, 2 - math.floor(math.log10(float(np.median(sizes))))))


def digits_in(value: float, values: Iterable[float]) -> int:
    """`decimals` of the column `values` that a number stands in; of the number alone where they span decades."""
    sizes = [abs(v) for v in values if math.isfinite(v) and v]
    wide = bool(sizes) and max(sizes) > 100 * min(sizes)
    shares = bool(sizes) and max(sizes) <= 1 and float(np.median(sizes)) > 0.1  # a score beside one of about 0
    return decimals([value] if wide and value and not shares else sizes)


def digits_of(number: Number, values: Iterable[float]) -> int:
    """`digits_in`; with a standard error beside it no fewer than that is written with."""
    spread = number.spread
    return max(digits_in(number.value, values), 0 if spread.known else _digits_of_error(spread.error))


def _digits_of_error(error: float | None) -> int:
    """Digits after the point that it takes to see one of a standard error, at most five."""
    return min(5, -math.floor(math.log10(error))) if error is not None and 0 < error < 1 else 0


def written(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"


def spread_text(spread: Spread, digits: int) -> str:
    """[low, high], or ± the standard error with as many digits as it takes to see one of it, or nothing."""
    if spread.known:
        return f"[{written(spread.low, digits)}, {written(spread.high, digits)}]"
    if spread.error is None:
        return ""
    return f"± {written(spread.error, max(digits, _digits_of_error(spread.error)))}"
