r"""What tells the noise of a number that is no mean over images, one npz a row beside a results file.

Three schemes, each of which pairs two models that were measured on the same images:

    contributions   c_i of every image (real, generated, ...) to the deviation of the number from its expectation:
                    error^2 = sum over the lists of  var(c) / n      (of a difference: var(c - c'))
    halves          the number on both halves of the images, in K random splits; a half has twice the variance:
                    error^2 = mean over splits of  (h_1 - h_2)^2 / 4
    resamples       the number in R bootstrap resamples of the images, the same ones for every model: their deviation

The file, `generation.csv` -> `generation_images/noise-<hash>.npz`, the hash being that of the row's identity:

    part0, part1, ...  float32 (n,)    contributions; or
    halves             float64 (K, 2)  or
    resamples          float64 (R,)
    units              int64 ()        images (or people) that were resampled
    over               str ()          which images, in which order: equal for numbers that can be paired
    whole              bool ()         whether the number is a whole one
    identity           str ()          JSON: the cells that identify the row
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.metrics.bootstrap import Interval, of_counts, of_error
from benchmarks.results.file import beside
from benchmarks.results.record import Record
from dbae.support.arrays import read_npz
from dbae.support.files import atomic_path


@dataclasses.dataclass(frozen=True)
class Noise:
    """One of `parts`, `halves` and `resamples`, see the module docstring."""

    over: str
    units: int
    parts: tuple[Float[np.ndarray, " _"], ...] = ()
    halves: Float[np.ndarray, "k 2"] | None = None
    resamples: Float[np.ndarray, " r"] | None = None
    whole: bool = False

    @property
    def scheme(self) -> tuple[str, str]:
        """Numbers can be paired where this is equal."""
        return self.over, "halves" if self.halves is not None else "resamples" if not self.parts else "contributions"

    @property
    def error(self) -> float:
        """Standard error of the number."""
        if self.halves is not None:  # at least one image's worth: a share of exactly 1 in every half is no certainty
            spread = np.mean(np.square(self.halves[:, 0] - self.halves[:, 1])) / 4
            return float(max(np.sqrt(spread), 1 / self.units))
        if self.resamples is not None:
            return float(np.std(self.resamples, ddof=1))
        return float(np.sqrt(sum(np.var(part, ddof=1, dtype=np.float64) / len(part) for part in self.parts)))

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the error: splits, or units less one."""
        return self.units - 1 if self.halves is None else min(self.units - 1, len(self.halves))

    def minus(self, other: Noise) -> Noise:
        """Noise of the difference of two numbers with the same scheme."""
        parts = tuple(a - b for a, b in zip(self.parts, other.parts, strict=True))
        return dataclasses.replace(
            self,
            parts=parts,
            halves=None if self.halves is None or other.halves is None else self.halves - other.halves,
            resamples=None if self.resamples is None or other.resamples is None else self.resamples - other.resamples,
        )


def interval(value: float, a: Noise, b: Noise) -> Interval:
    """Interval of the difference `value` of two numbers, a - b, paired where both were measured on the same images."""
    if a.scheme != b.scheme or [p.shape for p in a.parts] != [p.shape for p in b.parts]:
        return of_error(value, float(np.hypot(a.error, b.error)), min(a.freedom, b.freedom))
    both = a.minus(b)
    if both.whole and both.resamples is not None:
        return of_counts(value, both.resamples)
    return of_error(value, both.error, both.freedom)


def digest(*what: object) -> str:
    """A name for the images behind a number: index arrays, and whatever else decides which are paired."""
    found = hashlib.sha256()
    for item in what:
        found.update(np.ascontiguousarray(item).tobytes() if isinstance(item, np.ndarray) else repr(item).encode())
    return found.hexdigest()[:16]


def noise_path(results: Path, row: Record) -> Path:
    """Where the noise of `row` of the results file lies."""
    name = hashlib.sha256(_identity(row).encode()).hexdigest()[:16]
    return beside(results, "_images") / f"noise-{name}.npz"


def write_noise(results: Path, row: Record, noise: Noise) -> Path:
    """Write the npz of `row`. Raises UserError when it cannot be written."""
    path = noise_path(results, row)
    arrays: dict[str, Any] = {f"part{i}": part.astype(np.float32) for i, part in enumerate(noise.parts)}
    arrays |= {name: getattr(noise, name) for name in ("halves", "resamples") if getattr(noise, name) is not None}
    arrays |= {"units": noise.units, "over": noise.over, "whole": noise.whole, "identity": _identity(row)}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def read_noise(results: Path, row: Record) -> Noise | None:
    """What `write_noise` wrote; None where there is no file, or a damaged one (`read_npz`)."""
    file = read_npz(noise_path(results, row))
    if file is None:
        return None
    parts = tuple(file[f"part{i}"] for i in range(sum(name.startswith("part") for name in file)))
    arrays = {name: file[name] for name in ("halves", "resamples") if name in file}
    return Noise(str(file["over"]), int(file["units"]), parts, whole=bool(file["whole"]), **arrays)


def _identity(row: Record) -> str:
    return json.dumps(row.identity_cells, sort_keys=True)
