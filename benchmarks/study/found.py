"""The study's records among those of its results files: which are of a registered run, which of a control."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import Record, RecordFile
from benchmarks.study.register import Run

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
    """Means over attributes, and over a probe's seeds, of a task's results file, about data of this fingerprint."""
    path = out / f"{task}.csv"
    rows = RecordFile(path).read() if path.exists() else []
    rows = [row for row in rows if row.attribute == "mean" and row.metric in metrics and row.data_sha256 == data]
    return [row for row in rows if row.task != "downstream" or row.seed.startswith("mean of")]


def grouped(records: Iterable[Record], points: Points, names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """(label, setting) -> records of runs at their end, and of controls: an untrained encoder of every variant."""
    order = list(dict.fromkeys(point.run.of_row.label for point in points.values()))
    found: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for row in records:
        setting = [getattr(row, name) for name in names]
        point = points.get(row.checkpoint_sha256)
        if row.model in CONTROLS:
            found[" ".join(filter(None, (row.model, row.method, row.variant))), *setting].append(row)
        elif point and point.images == point.run.images:
            found[point.run.of_row.label, *setting].append(row)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order)))
