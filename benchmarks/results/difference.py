"""The difference of two paired records, and whether it is more than noise.

values at hand      95 % paired bootstrap interval over attributes (NAME_attributes.csv) or images (NAME_images/*.npz)
standard errors     d beyond 2 sqrt(s_a^2 + s_b^2)
neither             not known: any change counts
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.metrics.bootstrap import paired_bootstrap
from benchmarks.results.file import beside
from benchmarks.results.pair import Pair
from benchmarks.results.record import Record, RecordFile

Values = Mapping[Hashable, float]
"""Attribute or image -> value."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """after - before.

    Attributes:
        value: the difference; low, high: ends of its interval, where there is one.
        noisy: whether it may be noise; None where nothing tells.
        tolerance: how much worse is allowed.
    """

    pair: Pair
    value: float
    low: float | None
    high: float | None
    noisy: bool | None
    tolerance: float

    @property
    def gain(self) -> float:
        """The difference in the good direction."""
        return self.value if self.pair.before.better == "higher" else -self.value

    @property
    def regression(self) -> bool:
        """Worse by more than the tolerance, and not just noise. A value that became NaN is a regression."""
        if math.isnan(self.value):
            return not math.isnan(self.pair.before.value)
        return self.gain < -self.tolerance and not self.noisy

    @property
    def verdict(self) -> str:
        """One word for the table."""
        words = {True: "within noise", False: "better" if self.gain > 0 else "worse", None: "noise unknown"}
        word = "equal" if self.value == 0 else "REGRESSION" if self.regression else words[self.noisy]
        return f"{word}; FORCED: {self.pair.forced}" if self.pair.forced else word

    @property
    def text(self) -> str:
        """The difference with its interval."""
        interval = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.value:+.4f}{interval}"


def difference(pair: Pair, before: Path, after: Path, tolerance: float) -> Difference:
    """Judge a pair of records of the results files `before` and `after`."""
    a, b = pair.before, pair.after
    value = b.value - a.value
    low = high = noisy = None
    values_a, values_b = values_of(a, before), values_of(b, after)
    if values_a and values_b and values_a.keys() == values_b.keys() and len(values_a) > 1:
        keys = list(values_a)
        interval = paired_bootstrap(*(np.array([v[k] for k in keys]) for v in (values_b, values_a)), resamples=2000)
        low, high = interval.low, interval.high
        noisy = low <= 0 <= high
    elif a.stderr is not None or b.stderr is not None:
        noisy = abs(value) <= 2 * math.hypot(a.stderr or 0.0, b.stderr or 0.0)
    return Difference(pair, value, low, high, noisy, tolerance)


def values_of(record: Record, path: Path) -> Values | None:
    """The values whose mean a record of the results file `path` is; None where they are not at hand, or are others."""
    values = _of_attributes(record, path) or _of_images(record, path)
    if not values or not math.isclose(sum(values.values()) / len(values), record.value, rel_tol=1e-6, abs_tol=1e-9):
        return None
    return values


def _of_attributes(record: Record, path: Path) -> Values | None:
    """Single attributes, averaged over the seeds that the record averages."""
    if record.attribute != "mean":
        return None
    seeds = record.seed.removeprefix("mean of ").split() or [""]
    by_seed = [_attributes(beside(path, "_attributes.csv")).get(_anonymous(record, seed), {}) for seed in seeds]
    if not all(by_seed) or any(values.keys() != by_seed[0].keys() for values in by_seed):
        return None
    return {name: sum(values[name] for values in by_seed) / len(by_seed) for name in by_seed[0]}


def _anonymous(record: Record, seed: str) -> tuple[object, ...]:
    return dataclasses.replace(record, attribute="mean", seed=seed).identity


@functools.lru_cache(maxsize=16)
def _attributes(path: Path) -> dict[tuple[object, ...], dict[Hashable, float]]:
    found: dict[tuple[object, ...], dict[Hashable, float]] = defaultdict(dict)
    for record in RecordFile(path).read() if path.exists() else ():
        found[_anonymous(record, record.seed)][record.attribute] = record.value
    return found


def _of_images(record: Record, path: Path) -> Values | None:
    for columns, file in _settings(beside(path, "_images")):
        if all(getattr(record, name) == cell for name, cell in columns.items()):
            with np.load(file) as arrays:
                if record.metric in arrays:
                    return dict(zip(arrays["index"].tolist(), arrays[record.metric].tolist(), strict=True))
    return None


@functools.lru_cache(maxsize=16)
def _settings(folder: Path) -> list[tuple[dict[str, object], Path]]:
    """Columns that the records of each npz share."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            if "columns" in arrays:
                found.append((json.loads(str(arrays["columns"])), file))
    return found
