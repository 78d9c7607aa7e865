"""Figures of points: TAD against a distance of generated images, and single attributes against PCA and no training."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.disentanglement.report import is_distance
from benchmarks.downstream.figure import Panel, Shown, panels
from benchmarks.report.board import CONTROLS, Board, Column, Row, images_seen
from benchmarks.report.charts import Entry, Figure, Palette, colour, svg
from benchmarks.report.curves import LEVELS, direction, names_in
from benchmarks.report.numbers import Spread, spread_text, written
from benchmarks.report.sources import attributes_of
from benchmarks.results.models import Model, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tradeoffs(boards: Sequence[Board], palette: Palette) -> Iterator[Figure]:
    """TAD against a Frechet distance, one point a checkpoint that has both."""
    distances: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for board in (b for b in boards if b.task == "generation"):
        for row in (r for r in board.rows if r.group != CONTROLS):
            for column, cell in row.cells.items():
                if is_distance(cell.number.record):
                    kind = (board.dataset, row.set, f"{column.label} of {row.group}, {row.first.nfe} evaluations")
                    best = min(cell.number.value, distances[kind].get(row.model.checkpoint_sha256, math.inf))
                    distances[kind][row.model.checkpoint_sha256] = best  # of several samplers, the best
    for board in (b for b in boards if b.task == "disentanglement"):
        for column in [c for c in board.columns if c.metric == "TAD"][:1]:
            rows = [r for r in board.rows if r.group != CONTROLS and column in r.cells]
            for (dataset, name, across), there in distances.items():
                found = [r for r in rows if r.set == name and r.model.checkpoint_sha256 in there]
                if dataset == board.dataset and len(found) > 1:
                    points = [(there[r.model.checkpoint_sha256], r) for r in found]
                    draw = functools.partial(_scatter, points=points, column=column, across=across, palette=palette)
                    yield Figure(board.task, dataset, board.protocol, f"TAD against {across}", svg(draw))


def _scatter(axes: Axes, points: Sequence[tuple[float, Row]], column: Column, across: str, palette: Palette) -> None:
    names = names_in([row for _, row in points])
    middle = (min(x for x, _ in points) + max(x for x, _ in points)) / 2
    for x, row in points:
        number, about = row.cells[column].number, colour(palette.of(row.model))
        axes.plot([x], [number.value], marker="o", markersize=6, color=about)
        if number.spread.known:
            axes.vlines([x], number.spread.low, number.spread.high, color=about, linewidth=1, alpha=0.6)
        place, side = ((6, 3), "left") if x <= middle else ((-6, 3), "right")
        axes.annotate(names[id(row)], (x, number.value), place, textcoords="offset points", ha=side, fontsize=8,
                      color=about)  # fmt: skip
    axes.set_xlabel(f"{across} (lower is better)", loc="left")
    axes.set_title(direction(column), fontsize=9.5, loc="left")
    axes.grid()


def attributes(boards: Sequence[Board], palette: Palette) -> Iterator[Figure]:
    """Every attribute's value of the models that lead, against PCA and the untrained encoder."""
    probed = {
        (cell.number.path, row.model, Shown.of(cell.number.record))
        for board in boards
        if board.task == "downstream"
        for row in board.rows
        for cell in row.cells.values()
    }
    for path in dict.fromkeys(path for path, *_ in probed if attributes_of(path)):
        found = panels(path)
        for shown, panel in found.items():
            dataset, sha, protocol, metric = shown
            several = len({key.data_sha256 for key in found if key.dataset == dataset}) > 1
            there = {model: values for model, values in panel.items() if (path, model, shown) in probed}
            ordered = sorted(there, key=lambda model: model.model in LEVELS)
            kept = {m: there[m] for m in ordered if m.model in LEVELS or _is_longest(m, there)}
            if len(kept) > 1:
                title = f"{metric.replace('_', ' ')} of every attribute{f', data {sha[:8]}' if several else ''}"
                drawn = _dots(kept, metric, palette)
                yield Figure("downstream", dataset, protocol, title, drawn, _numbers(kept))


def _is_longest(model: Model, panel: Panel) -> bool:
    """Whether no snapshot of the same model has seen more images, as far as rows say."""
    same = [images_seen(other) for other in panel if other.model == model.model and other.weights != "control"]
    return model.weights != "control" and images_seen(model) == max(same)


def _dots(panel: Panel, metric: str, palette: Palette) -> str:
    order, names = _by_gain(panel), named(panel)
    height = 0.9 + 0.27 * len(order)

    def draw(axes: Axes) -> None:
        for model, values in panel.items():
            control = {"untrained": "s", "pca": "^"}.get(model.model)
            about = colour(palette.of(model))
            known = [(i, values[name]) for i, name in enumerate(order) if name in values]
            for i, point in known:
                axes.hlines(i, point.low, point.high, color=about, linewidth=1, alpha=0.5)
            axes.plot([p.value for _, p in known], [i for i, _ in known], linestyle="none", marker=control or "o",
                      markersize=4.5 if control is None else 4, markerfacecolor="none" if control else about,
                      color=about, label=names[model])  # fmt: skip
        axes.set_yticks(range(len(order)), order, fontsize=8)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.grid(axis="both")
        axes.set_title(f"{metric.replace('_', ' ')} (higher is better)", fontsize=9.5, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.05), ncols=2, frameon=False, fontsize=8)

    return svg(draw, height=height + 0.2 * len(panel))


def _numbers(panel: Panel) -> dict[str, dict[str, Entry]]:
    """What `_dots` draws, in numbers: attribute (from top to bottom) -> model -> value and interval."""
    return {
        attribute: {
            name: Entry(point.value, written(point.value, 3), spread_text(Spread(point.low, point.high), 3))
            for model, name in named(panel).items()
            if (point := panel[model].get(attribute))
        }
        for attribute in reversed(_by_gain(panel))
    }


def _by_gain(panel: Panel) -> list[str]:
    """Attributes, those last (on top) in which the first model is furthest ahead of PCA, or of an untrained encoder."""
    model = next((m for m in panel if m.weights != "control"), next(iter(panel)))
    base = next((m for name in ("pca", "untrained") for m in panel if m.model == name), model)

    def gain(name: str) -> float:
        found = panel[model][name].value - panel[base][name].value if name in panel[base] else math.nan
        return -math.inf if np.isnan(found) else found

    known = [name for name in panel[model] if any(np.isfinite(p[name].value) for p in panel.values() if name in p)]
    return sorted(known, key=gain)
