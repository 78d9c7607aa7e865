"""Figures of what a results file has beside its means over all labels: AP and Pearson r against the number of labels.

A line a model, controls included. The point is the mean over draws of labels, small points are single draws, and the
bar is the 95 % interval from resamples of the test images (`benchmarks.results.evidence`). What all labels give stands
apart, at the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.downstream.figure import METRICS, styles_of
from benchmarks.metrics.bootstrap import of_resamples
from benchmarks.results import Record, RecordFile, beside
from benchmarks.results.evidence import evidence
from benchmarks.results.models import Model, names_of
from dbae.support.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = math.inf
"""Where all labels stand among numbers of them."""


class Point(NamedTuple):
    """A mean over attributes and seeds, its 95 % interval over test images (NaN if unknown), and that of every seed."""

    x: float
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


Panels = dict[tuple[str, str], dict[Model, list[Point]]]
"""(data set, metric) -> model -> its points by rising x."""


def label_curves(path: Path) -> Panels:
    """Of linear probes of protocol "standard" in the results file `path`, where it has some of few labels."""
    rows = [r for r in RecordFile(path).read() if r.protocol == "standard" and r.metric in METRICS and not r.at]
    found: Panels = {}
    for row in rows:
        if row.n_train is not None:
            found.setdefault((row.dataset, row.metric), {}).setdefault(Model.of(row), [])
    for (dataset, metric), models in found.items():
        for model in models:
            own = [r for r in rows if (r.dataset, r.metric, Model.of(r)) == (dataset, metric, model)]
            counts = sorted({ALL if r.n_train is None else r.n_train for r in own})
            models[model] = [_point(path, float(n), [r for r in own if (r.n_train or ALL) == n]) for n in counts]
    return found


def _point(path: Path, x: float, rows: Sequence[Record]) -> Point:
    """Of the rows of every seed and of their mean; where there are several means, that of most seeds."""
    best = max(rows, key=lambda row: (row.seed.startswith("mean of"), len(row.seed.split())))
    known = evidence(best, path).scores
    interval = known and of_resamples(best.value, np.nanmean(known.drawn, axis=1), known.units)
    low, high = (interval.low, min(interval.high, 1.0)) if interval else (math.nan, math.nan)
    seeds = best.seed.removeprefix("mean of ").split()
    return Point(x, best.value, low, high, tuple(r.value for r in rows if r.seed in seeds))


def draw_labels(path: Path) -> Path | None:
    """Write NAME_labels.png beside the results file `path`; its path, or None where no row is of few labels.

    Raises:
        UserError: a file cannot be read or written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not (found := label_curves(path)):
        return None
    names = names_of(row for row in RecordFile(path).read() if not row.at)
    models = list(dict.fromkeys(model for panel in found.values() for model in panel))
    styles = styles_of(models)
    datasets, metrics = list(dict.fromkeys(d for d, _ in found)), [m for m in METRICS if any(m == k for _, k in found)]
    size = (5 * len(metrics), 3.6 * len(datasets) + 0.2 * len(models))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    for line, dataset in zip(figure.subplots(len(datasets), len(metrics), squeeze=False), datasets, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            _draw(axes, found.get((dataset, metric), {}), styles, names)
            axes.set_title(f"{metric.replace('_', ' ')} on {dataset}, protocol standard", fontsize=9)
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=2, fontsize=8, frameon=False)
    with atomic_path(out := beside(path, "_labels.png")) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return out


def _draw(
    axes: Axes, panel: dict[Model, list[Point]], styles: dict[Model, dict[str, Any]], names: dict[Model, str]
) -> None:
    counts = sorted({point.x for points in panel.values() for point in points} - {ALL})
    right = 2.5 * max(counts)
    for i, (model, points) in enumerate(panel.items()):
        apart = 1.03 ** (i - (len(panel) - 1) / 2)  # bars side by side
        look = styles[model] | {"linestyle": "-", "markersize": 5}
        few, rest = [[p for p in points if (p.x == ALL) == whole] for whole in (False, True)]
        for shown, label in ((few, names[model]), (rest, None)):
            x = np.array([min(p.x, right) * apart for p in shown])
            value, low, high = (np.array([getattr(p, name) for p in shown]) for name in ("value", "low", "high"))
            axes.plot(x, value, label=label, **look)
            axes.vlines(x, low, high, color=look["color"], linewidth=1, alpha=0.6)
            for place, p in zip(x, shown, strict=True):
                axes.plot([place] * len(p.seeds), p.seeds, ".", color=look["color"], markersize=3, alpha=0.6)
    axes.set_xscale("log")
    axes.set_xticks([*counts, right], [*(f"{n:g}" for n in counts), "all"])
    axes.minorticks_off()
    axes.set_xlabel("labelled training images")
    axes.grid(alpha=0.3)
