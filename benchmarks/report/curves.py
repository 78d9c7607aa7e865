"""Figures of lines: a metric against evaluations, against training, and what training logs say."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.report.board import CONTROLS, Board, Column, Row
from benchmarks.report.charts import Curve, Figure, Palette, draw_curves, svg
from benchmarks.report.sources import ResultSet
from benchmarks.results.models import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)
LEVELS = ("untrained", "pca")
"""Controls that learning curves and attributes are shown beside."""
_SNAPSHOTS = 3
"""Fewest snapshots of a training that make a curve."""


def sweeps(boards: Sequence[Board], palette: Palette) -> Iterator[Figure]:
    """Metric against network evaluations of decoding, or labels of a probe, of settings with several."""
    for board in boards:
        rows = [row for row in board.rows if (row.first.nfe or row.first.n_train) and _is_shown(row)]
        labels = any(row.first.n_train for row in rows)
        across = "labelled images that the probe was given" if labels else "network evaluations of decoding"
        for group in dict.fromkeys(row.group for row in rows if row.group != CONTROLS):
            for column in (c for c in board.columns if c.lead):
                lines = _lines([row for row in rows if row.group in (group, CONTROLS)], column)
                lines = {name: points for name, points in lines.items() if len(points) > 1}
                if not lines:
                    continue
                curves = [_curve(label, points, column, palette, i) for i, (label, points) in _dashed(lines)]
                drawn = _drawn(curves, across, direction(column), logarithmic=True)
                yield Figure(board.task, board.dataset, board.protocol, f"{column.label}: {group}", drawn)


def _is_shown(row: Row) -> bool:
    return row.group != CONTROLS or row.model.model in LEVELS


def _lines(rows: Sequence[Row], column: Column) -> dict[str, list[tuple[float, Row]]]:
    """Name of a curve -> its evaluations (or labels) and rows; what tells the curves apart is in the name."""
    rows = [row for row in rows if column in row.cells]
    names = names_in(rows)
    found: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in rows:
        found[names[id(row)]].append((float(row.first.nfe or row.first.n_train or 0), row))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}


def names_in(rows: Sequence[Row]) -> dict[int, str]:
    """`id` of a row -> the model's name and those settings, but evaluations, that tell rows of its model apart."""
    several = defaultdict(set)
    for row in rows:
        several[row.model.model].add(row.name)
    found = {}
    for row in rows:
        same = [other for other in rows if other.name == row.name]
        told = [
            _short(heading, text)
            for heading, text in row.settings.items()
            if heading not in ("NFE", "labels") and text and len({other.settings.get(heading) for other in same}) > 1
        ]
        steps = {_rule(other) for other in same}
        told += [f"+ {_rule(row)}"] if len(steps) > 1 and _rule(row) else []
        name = row.name if len(several[row.model.model]) > 1 else row.model.model
        found[id(row)] = ", ".join([name, *told])
    return found


def _short(heading: str, text: str) -> str:
    if heading == "images seen":
        return f"{text} seen"
    return text if heading in ("sampler", "set") else f"{heading} {text}"


def _rule(row: Row) -> str:
    """Evaluations that infer x_T: a number, or as many as decode."""
    steps, nfe = row.first.encode_nfe or 0, row.first.nfe or 0
    return "" if not steps else "as many" if nfe - steps in (0, 1) else f"{steps}"


def _dashed(lines: Mapping[str, list[tuple[float, Row]]]) -> Iterator[tuple[int, tuple[str, list[tuple[float, Row]]]]]:
    """Lines with their number among those of their model: one model's have one colour and different dashes."""
    seen: dict[Model, int] = defaultdict(int)
    for item in lines.items():
        model = item[1][0][1].model
        yield seen[model], item
        seen[model] += 1


def _curve(label: str, points: Sequence[tuple[float, Row]], column: Column, palette: Palette, dashes: int) -> Curve:
    numbers = [row.cells[column].number for _, row in points]
    ends = [(n.spread.low, n.spread.high) for n in numbers]
    low, high = ([end[i] for end in ends] for i in (0, 1))
    values, model = [n.value for n in numbers], points[0][1].model
    return Curve(label, palette.of(model), [x for x, _ in points], values, low, high, dashes)


def direction(column: Column) -> str:
    """Name of a metric's axis."""
    return f"{column.label} ({column.better} is better)"


def _drawn(curves: Sequence[Curve], across: str, up: str, *, logarithmic: bool = False) -> str:
    height = max(3.3, 1.1 + 0.17 * len(curves))

    def draw(axes: Axes) -> None:
        draw_curves(axes, curves, across=across, up=up, logarithmic=logarithmic)

    return svg(draw, height=height)


def learning(boards: Sequence[Board], palette: Palette) -> Iterator[Figure]:
    """Metric against training images seen, of models with several snapshots, beside controls."""
    for board in boards:
        seen: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for row in board.rows:
            if row.images_seen:
                seen[_training(row)].add(row.images_seen)
        rows = [
            row
            for row in board.rows
            if row.images_seen and len(seen[_training(row)]) >= _SNAPSHOTS and not row.first.partial
        ]
        for column in (c for c in board.columns if c.lead):
            grown: dict[tuple[str, ...], list[tuple[float, Row]]] = defaultdict(list)
            for row in sorted((r for r in rows if column in r.cells), key=lambda r: r.images_seen):
                grown[_training(row)].append((row.images_seen / 1000, row))
            for key in [key for key, points in grown.items() if len(dict(points)) < len(points)]:
                log.warning("%s: two trainings have this name; the table has both, no curve is drawn.", key[1])
                del grown[key]
            curves = [_curve(key[1], points, column, palette, 0) for key, points in grown.items()]
            curves += [_level(r, column) for r in board.rows if _is_level(r, column)]
            if grown:
                drawn = _drawn(curves, "training images seen, thousands", direction(column))
                title = f"{column.label} as training goes on"
                yield Figure(board.task, board.dataset, board.protocol, title, drawn)


def _training(row: Row) -> tuple[str, ...]:
    """What the snapshots of one training share; the NFE and other settings, too."""
    others = [text for heading, text in row.settings.items() if heading != "images seen"]
    return (row.set, row.model.model, row.model.method, row.model.variant, row.group, *others)


def _is_level(row: Row, column: Column) -> bool:
    return row.model.model in LEVELS and column in row.cells and not row.first.partial


def _level(row: Row, column: Column) -> Curve:
    value = row.cells[column].number.value
    name = " ".join(filter(None, (row.model.model, row.model.method)))
    return Curve(name, -1, [0.0], [value], [math.nan], [math.nan], 2 + (row.model.model == "pca"), level=True)


def logs(sets: Sequence[ResultSet], palette: Palette) -> Iterator[Figure]:
    """Loss and error against images, of training runs."""
    for one in sets:
        for path, log in one.logs.items():
            if len(log["images"]) < 2:
                continue
            name = one.name if path.name == "log.csv" else path.stem
            x = [images / 1000 for images in log["images"]]
            for metric in ("loss", "mse"):
                none = [math.nan] * len(x)
                curve = Curve("", palette.logs(name), x, log[metric], none, none)
                drawn = _drawn([curve], "training images, thousands", f"{metric} in training")
                yield Figure("training", one.name, "", f"{name}: {metric}", drawn)
