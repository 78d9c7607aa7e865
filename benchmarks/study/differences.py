"""differences.csv: which rows of table1.csv differ by more than the noise of test images and of training.

groups.csv has the means over groups of attributes, where some were named, differences.csv also theirs (`group`; empty
for all attributes): a mean hides what is read.

Every row stands against PCA and against the rows of several seeds, with z of the same length:

    difference  `row` - `baseline`, of means over seeds
    low, high   95 % interval, of Student's t, with error sqrt(se_images^2 + se_seeds^2)
    se_images   error over test images: both rows' probes see the same ones, which are resampled together
    se_seeds    error over training seeds: sqrt(s^2 / k + t^2 / l) for rows of k and l seeds; PCA has none

s and t are deviations between seeds: that pooled over all rows of several seeds, for two or three tell little, and a
row's own where it is larger, for methods are not alike in it. Rows of one seed have the pooled one. Degrees of freedom
are those of Welch and Satterthwaite.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from benchmarks.metrics.bootstrap import of_error
from benchmarks.results import Record
from benchmarks.results.evidence import evidence
from benchmarks.study.found import Points, grouped, records_of

Groups = Mapping[str, Sequence[str]]
"""Name of a group of attributes -> the attributes."""


class Probed(NamedTuple):
    """One metric of a row of the study.

    Attributes:
        values: one a seed.
        drawn: their mean in r resamples of the test images, attribute by attribute; `units` images are resampled.
        fixed: whether no seed changes it.
    """

    values: tuple[float, ...]
    drawn: Float64[np.ndarray, "r k"]
    units: int
    fixed: bool = False


class Spread(NamedTuple):
    """Deviation between seeds, from so many degrees of freedom."""

    deviation: float
    freedom: int


class Rows(NamedTuple):
    """One metric of all rows of the study, of one group of attributes: (row, length of z) -> what was probed."""

    metric: str
    group: str
    of: dict[tuple[str, int], Probed]


def probed(points: Points, out: Path, data: str, metrics: Sequence[str], groups: Groups) -> list[Rows]:
    """What lies beside downstream.csv about every metric and group; random codes are left out."""
    records = grouped(records_of(out, "downstream", metrics, data), points, ("latent_dim", "metric"))
    found = []
    for metric in metrics:
        for group, names in {"": None, **groups}.items():
            of = {
                (row, length): one
                for (row, length, other), rows in records.items()
                if (other, rows[0].model != "random") == (metric, True)
                and (one := _probed(rows, out / "downstream.csv", names)) is not None
            }
            if of:
                found.append(Rows(metric, group, of))
    return found


def means(rows: Sequence[Rows]) -> list[dict[str, Any]]:
    """The lines of groups.csv."""
    return [
        {
            "row": row, "latent_dim": length, "group": group, "metric": metric, "attributes": one.drawn.shape[1],
            "value": statistics.fmean(one.values), "se": float(np.nanmean(one.drawn, axis=1).std(ddof=1)),
            "seed_sd": statistics.stdev(one.values) if len(one.values) > 1 else None,
        }
        for metric, group, of in rows if group for (row, length), one in of.items()
    ]  # fmt: skip


def differences(rows: Sequence[Rows]) -> list[dict[str, Any]]:
    """The lines of differences.csv; none where no row has several seeds."""
    lines = []
    for metric, group, of in rows:
        found = {name: one for name, one in of.items() if not name[0].startswith("untrained")}
        if (spread := pooled(list(found.values()))) is None:
            continue
        for (baseline, length), b in found.items():
            if b.fixed or len(b.values) > 1:
                for (row, other), a in found.items():
                    if row != baseline and other == length:
                        about = {"row": row, "baseline": baseline, "latent_dim": length}
                        lines.append(about | {"metric": metric, "group": group} | compared(a, b, spread))
    return lines


def _probed(rows: Sequence[Record], path: Path, names: Sequence[str] | None) -> Probed | None:
    """Of these attributes, or all; nothing where they have none, or where what lies beside the file does not tell."""
    known = [evidence(row, path) for row in rows]
    single = [one.attributes for one in known if one.attributes is not None]
    scores = [one.scores for one in known if one.scores is not None]
    if len(scores) < len(rows) or not all(one.pairs_with(scores[0]) for one in scores):
        return None
    drawn = np.mean([one.drawn.astype(np.float64) for one in scores], axis=0)
    values = [row.value for row in rows]
    if names is not None:
        of_group = [i for i, name in enumerate(scores[0].names) if name in names]
        if not of_group or len(single) < len(rows):
            return None
        drawn = drawn[:, of_group]
        values = [statistics.fmean(one[scores[0].names[i]] for i in of_group) for one in single]
    return Probed(tuple(values), drawn, scores[0].units, fixed=rows[0].model == "pca" or rows[0].weights == "untrained")


def pooled(rows: Sequence[Probed]) -> Spread | None:
    """The deviation between seeds over rows of several; None without any."""
    several = [row.values for row in rows if len(row.values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    return Spread(math.sqrt(sum((len(v) - 1) * statistics.variance(v) for v in several) / freedom), freedom)


def compared(a: Probed, b: Probed, spread: Spread) -> dict[str, float]:
    """a - b with its interval and where its noise comes from."""
    images = float(np.nanmean(a.drawn - b.drawn, axis=1).std(ddof=1))
    of_seeds = _of_seeds([row for row in (a, b) if not row.fixed], spread)
    parts = [(images**2, a.units - 1), *of_seeds]
    total = sum(square for square, _ in parts)
    freedom = total**2 / sum(square**2 / of_part for square, of_part in parts) if total else 1
    found = of_error(statistics.fmean(a.values) - statistics.fmean(b.values), math.sqrt(total), freedom)
    return {"difference": found.difference, "low": found.low, "high": found.high,
            "se_images": images, "se_seeds": math.sqrt(sum(square for square, _ in of_seeds))}  # fmt: skip


def _of_seeds(rows: Sequence[Probed], spread: Spread) -> list[tuple[float, int]]:
    """Squared errors of the rows' means with their degrees of freedom; those of the pooled deviation are one."""
    own, shared = [], 0.0
    for row in rows:
        seeds = len(row.values)
        if seeds > 1 and statistics.stdev(row.values) > spread.deviation:
            own.append((statistics.variance(row.values) / seeds, seeds - 1))
        else:
            shared += spread.deviation**2 / seeds
    return [*own, (shared, spread.freedom)]
