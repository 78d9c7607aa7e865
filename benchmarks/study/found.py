"""The study's records among those of its results files: which are of a registered run, which of a control."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import Record, RecordFile
from benchmarks.study.measure import PROTOCOL
from benchmarks.study.register import Run
from dbae.support.errors import UserError

CONTROLS = ("untrained", "pca", "random")


class Point(NamedTuple):
    """A run after so many of its images."""

    run: Run
    images: int


Points = dict[str, Point]
"""Hash of a checkpoint -> what it is."""


def points_of(runs: Iterable[Run]) -> Points:
    """The checkpoints that were measured of these runs."""
    return {digest: Point(run, images) for run in runs for images, digest in run.points.items()}


def records_of(out: Path, task: str, metrics: Sequence[str], data: str) -> list[Record]:
    """Means over attributes, and over a probe's seeds, of a task's results file, about data of this fingerprint.

    Others that lie in the file, of another protocol or of few labels, are none of the study's.
    """
    path = out / f"{task}.csv"
    rows = RecordFile(path).read() if path.exists() else []
    rows = [row for row in rows if row.attribute == "mean" and row.metric in metrics and row.data_sha256 == data]
    rows = [row for row in rows if (row.protocol, row.precision, row.partial) == (PROTOCOL, "fp32", False)]
    return [row for row in rows if row.task != "downstream" or row.seed.startswith("mean of")]


def grouped(records: Iterable[Record], points: Points, names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """(label, setting) -> records of runs at their end, and of controls: an untrained encoder of every variant.

    Several encoders of one variant are several controls, told apart by their hashes.

    Raises:
        UserError: two records are of one model and setting, so that neither is the study's for sure.
    """
    order = list(dict.fromkeys(point.run.of_row.label for point in points.values()))
    found: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    controls: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for row in records:
        setting = [getattr(row, name) for name in names]
        point = points.get(row.checkpoint_sha256)
        if row.model in CONTROLS:
            controls[" ".join(filter(None, (row.model, row.method, row.variant))), *setting].append(row)
        elif point and point.images == point.run.images:
            found[point.run.of_row.label, *setting].append(row)
    for (label, *setting), rows in controls.items():
        several = len({row.checkpoint_sha256 for row in rows}) > 1
        for row in rows:
            found[f"{label} {row.checkpoint_sha256[:8]}" if several else label, *setting].append(row)
    for (label, *setting), rows in found.items():
        of = [(row.checkpoint_sha256, row.metric) for row in rows]
        if len(set(of)) < len(of):
            raise UserError(
                f"{rows[0].task}.csv: expected one {rows[0].metric} of {label} ({', '.join(map(str, setting))}), found "
                "several, measured in different ways. Keep what was not measured by the study in another file."
            )
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order)))
