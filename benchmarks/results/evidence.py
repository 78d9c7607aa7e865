"""What lies beside a results file about a number: enough to say how far it may be off, and a difference of two.

    per image    NAME_images/<hash>.npz          values whose mean the number is     (`benchmarks.results.images`)
    scores       NAME_images/scores-<hash>.npz   predictions of attributes: AP, r, MSE of any images (`results.scores`)
    noise        NAME_images/noise-<hash>.npz    TAD, ATTRS, distances, precision and the like  (`results.noise`)
    attributes   NAME_attributes.csv             values of single attributes, of the same images all of them

The first three know the images, and say what other images would give. Attributes alone say only what other attributes
of the same images would give.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from benchmarks.metrics.bootstrap import RESAMPLES, image_weights, number_of_units
from benchmarks.metrics.resampled import AveragePrecision, Pearson, SquaredError
from benchmarks.results.file import beside
from benchmarks.results.noise import Noise, digest, read_noise
from benchmarks.results.record import Record
from benchmarks.results.recordfile import RecordFile
from benchmarks.results.scores import ImageScores, read_scores
from dbae.support.arrays import read_npz

_STATISTICS: dict[str, Any] = {"AP": AveragePrecision, "Pearson_r": Pearson, "MSE": SquaredError}
_AGREES = 1e-3
"""Scores are kept in half precision; AP computed from them differs by less (relative for MSE)."""


@dataclasses.dataclass(frozen=True)
class PerImage:
    """Values of n images, and who is in them where that is known."""

    index: np.ndarray
    values: Float64[np.ndarray, " n"]
    groups: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Resampled:
    """What k attributes are in r resamples of n images (or of the people in them), which are those of every model.

    Attributes:
        over: which images: equal for numbers that can be paired.
        values: of the images as they are; drawn: of the resamples; both means over seeds, NaN where not defined.
        people: whether people were resampled; units: how many of them, or of the images.
    """

    over: str
    names: tuple[str, ...]
    values: Float64[np.ndarray, " k"]
    drawn: Float32[np.ndarray, "r k"]
    people: bool
    units: int

    def pairs_with(self, other: Resampled) -> bool:
        """Whether both are of the same images and attributes."""
        return (self.over, self.names) == (other.over, other.names)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known about one number; None where it is not at hand, or is of other values than the number's."""

    images: PerImage | None = None
    scores: Resampled | None = None
    noise: Noise | None = None
    attributes: Mapping[str, float] | None = None


@functools.lru_cache(maxsize=256)
def evidence(record: Record, path: Path) -> Evidence:
    """What lies beside the results file `path` about a record in it; read once (`forget` drops what was read)."""
    return Evidence(
        _per_image(record, path), _scores(record, path), read_noise(path, record), _of_attributes(record, path)
    )


def forget() -> None:
    """Read files again that have been read before."""
    for cached in (evidence, _attributes, _settings):
        cached.cache_clear()


def _per_image(record: Record, path: Path) -> PerImage | None:
    for columns, file in _settings(beside(path, "_images")):
        if all(getattr(record, name) == cell for name, cell in columns.items()):
            arrays = read_npz(file) or {}
            if not {"index", record.metric} <= arrays.keys():
                continue
            values = arrays[record.metric].astype(np.float64)
            if _close(float(values.mean()), record.value, 1e-6) and values.shape == arrays["index"].shape:
                return PerImage(arrays["index"], values, arrays.get("groups"))
    return None


def _scores(record: Record, path: Path) -> Resampled | None:
    """Of a mean over attributes; of a mean over seeds, from those of all its seeds."""
    if record.task != "downstream" or record.attribute != "mean" or record.metric not in _STATISTICS:
        return None
    kept = dataclasses.replace(record, metric="Pearson_r", better="higher") if record.metric == "MSE" else record
    found = [read_scores(path, dataclasses.replace(kept, seed=seed)) for seed in _seeds(record)]
    sets = [_sorted(scores) for scores in found if scores is not None]
    if len(sets) < len(found) or any(not _same_images(s, sets[0]) for s in sets):
        return None
    resampled = resample(sets, record.metric)
    tolerance = _AGREES * (max(1.0, abs(record.value)) if record.metric == "MSE" else 1.0)
    known = resampled.values[np.isfinite(resampled.values)]
    return resampled if len(known) and abs(known.mean() - record.value) <= tolerance else None


def resample(sets: Sequence[ImageScores], metric: str, resamples: int = RESAMPLES) -> Resampled:
    """A metric of the scores of the same images, one set a seed, in resamples of the images; means over seeds."""
    statistics = [_STATISTICS[metric](s.targets, s.predictions) for s in sets]
    first, n = sets[0], len(sets[0].indices)

    def mean_over_seeds(weights: np.ndarray) -> np.ndarray:
        return np.mean([statistic(weights) for statistic in statistics], axis=0)

    return Resampled(
        digest(first.indices, first.groups),
        first.names,
        mean_over_seeds(np.ones((1, n)))[0],
        np.concatenate([mean_over_seeds(w).astype(np.float32) for w in image_weights(n, first.groups, resamples)]),
        first.groups is not None,
        number_of_units(n, first.groups),
    )


def _sorted(scores: ImageScores) -> ImageScores:
    """In the order of the images' numbers, so that resamples of two files are the same images."""
    order = np.argsort(scores.indices)
    arrays = {name: getattr(scores, name)[order] for name in ("indices", "predictions", "targets")}
    return dataclasses.replace(scores, **arrays, groups=None if scores.groups is None else scores.groups[order])


def _same_images(a: ImageScores, b: ImageScores) -> bool:
    return a.names == b.names and np.array_equal(a.indices, b.indices)


def _of_attributes(record: Record, path: Path) -> Mapping[str, float] | None:
    """Single attributes, averaged over the seeds that the record averages; those without a value are left out."""
    if record.attribute != "mean":
        return None
    known = _attributes(beside(path, "_attributes.csv"))
    by_seed = [known.get(_anonymous(record, seed), {}) for seed in _seeds(record)]
    if not all(by_seed) or any(values.keys() != by_seed[0].keys() for values in by_seed):
        return None
    means = {name: sum(values[name] for values in by_seed) / len(by_seed) for name in by_seed[0]}
    found = {name: value for name, value in means.items() if not math.isnan(value)}
    return found if found and _close(sum(found.values()) / len(found), record.value, 1e-6) else None


def _seeds(record: Record) -> list[str]:
    return record.seed.removeprefix("mean of ").split() or [""]


def _close(a: float, b: float, relative: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=relative, abs_tol=1e-9)  # a == b: both infinite


def _anonymous(record: Record, seed: str) -> Hashable:
    return dataclasses.replace(record, attribute="mean", seed=seed).identity


@functools.lru_cache(maxsize=16)
def _attributes(path: Path) -> dict[Hashable, dict[str, float]]:
    found: dict[Hashable, dict[str, float]] = defaultdict(dict)
    for record in RecordFile(path).read() if path.exists() else ():
        found[_anonymous(record, record.seed)][record.attribute] = record.value
    return found


@functools.lru_cache(maxsize=16)
def _settings(folder: Path) -> list[tuple[dict[str, object], Path]]:
    """Columns that the records of each npz share."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        if not file.name.startswith(("scores-", "noise-")):
            arrays = read_npz(file) or {}
            if "columns" in arrays:
                found.append((json.loads(str(arrays["columns"])), file))
    return found
