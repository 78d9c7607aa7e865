"""Figures of what a results file has beside the means over all labels: AP and Pearson r against labels, or times of z.

    labels    a line a model, controls included; small points are single draws of labels. What all labels give stands
              apart, at the right
    times     a line a model and its untrained encoder; level lines are z at the time that is best on validation images
              (dashed) and z of several times side by side (dotted)

A point is the mean over attributes and seeds, its bar the 95 % interval from resamples of the test images
(`benchmarks.results.evidence`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.downstream.figure import METRICS, styles_of
from benchmarks.metrics.bootstrap import of_resamples
from benchmarks.results import Record, RecordFile, beside
from benchmarks.results.evidence import evidence
from benchmarks.results.models import Model, data_names, names_of
from dbae.support.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = math.inf
"""Where all labels stand among numbers of them."""
BEST, TOGETHER = -1.0, -2.0
"""Where the best time and several times stand among times."""


class Point(NamedTuple):
    """A mean over attributes and seeds, its 95 % interval over test images (NaN if unknown), and that of every seed."""

    x: float
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


Panels = dict[tuple[str, str], dict[Model, list[Point]]]
"""(data set, metric) -> model -> its points by rising x; of times, whatever the length of z."""


def label_curves(path: Path) -> Panels:
    """Of linear probes of protocol "standard" in the results file `path`, of models with few labels."""
    rows = [(row, float(row.n_train or ALL)) for row in _rows(path) if not row.at]
    return _with_curves(_panels(path, rows))


def time_curves(path: Path) -> Panels:
    """Of z at times."""
    return _with_curves(_panels(path, [(row, _time(row)) for row in _rows(path) if row.at]))


def _time(row: Record) -> float:
    one = re.fullmatch(r"t=(\d+)", row.at)
    return float(one[1]) if one else BEST if row.at == "best t" else TOGETHER


def _rows(path: Path) -> list[Record]:
    return [
        r for r in RecordFile(path).read() if r.protocol == "standard" and r.split == "test" and r.metric in METRICS
    ]


def _model(row: Record) -> Model:
    model = Model.of(row)
    return model._replace(latent_dim=None) if row.at else model


def _panels(path: Path, rows: Sequence[tuple[Record, float]]) -> Panels:
    groups: dict[tuple[str, str], dict[Model, dict[float, list[Record]]]] = {}
    data = data_names(row for row, _ in rows)
    for row, x in rows:
        models = groups.setdefault((data[row.dataset, row.data_sha256], row.metric), {})
        models.setdefault(_model(row), {}).setdefault(x, []).append(row)
    return {
        key: {model: [_point(path, x, points[x]) for x in sorted(points)] for model, points in models.items()}
        for key, models in groups.items()
    }


def _with_curves(panels: Panels) -> Panels:
    """Without models that have no more than points apart."""
    apart = {ALL, BEST, TOGETHER}
    found = {
        key: {model: points for model, points in models.items() if {point.x for point in points} - apart}
        for key, models in panels.items()
    }
    return {key: models for key, models in found.items() if models}


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
    return _draw(path, label_curves(path), "_labels.png", _over_labels)


def draw_times(path: Path) -> Path | None:
    """Likewise NAME_times.png, where rows are of z at times."""
    return _draw(path, time_curves(path), "_times.png", _over_times)


def _draw(path: Path, found: Panels, ending: str, draw: Callable[..., None]) -> Path | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not found:
        return None
    models = list(dict.fromkeys(model for panel in found.values() for model in panel))
    styles, names = styles_of(models), _names(path, models)
    datasets, metrics = list(dict.fromkeys(d for d, _ in found)), [m for m in METRICS if any(m == k for _, k in found)]
    size = (5 * len(metrics), 3.6 * len(datasets) + 0.2 * len(models))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    for line, dataset in zip(figure.subplots(len(datasets), len(metrics), squeeze=False), datasets, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            panel = found.get((dataset, metric), {})
            for i, (model, points) in enumerate(panel.items()):
                draw(axes, points, styles[model] | {"label": names[model]}, i - (len(panel) - 1) / 2)
            axes.set_title(f"{metric.replace('_', ' ')} on {dataset}, protocol standard", fontsize=9)
            axes.grid(alpha=0.3)
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=2, fontsize=8, frameon=False)
    with atomic_path(out := beside(path, ending)) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return out


def _names(path: Path, models: Sequence[Model]) -> dict[Model, str]:
    rows = [replace(row, latent_dim=_model(row).latent_dim) for row in _rows(path)]
    return names_of(row for row in rows if Model.of(row) in models)


def _over_labels(axes: Axes, points: Sequence[Point], look: dict[str, Any], place: float) -> None:
    few = [point for point in points if point.x != ALL]
    _line(axes, few, look, [point.x * 1.03**place for point in few])  # bars side by side
    right = 2.5 * max(point.x for point in few)
    _line(axes, [p for p in points if p.x == ALL], look | {"label": None}, [right * 1.03**place])
    axes.set_xscale("log")
    axes.set_xticks([*(point.x for point in few), right], [*(f"{point.x:g}" for point in few), "all"])
    axes.minorticks_off()
    axes.set_xlabel("labelled training images")


def _over_times(axes: Axes, points: Sequence[Point], look: dict[str, Any], place: float) -> None:
    curve = [point for point in points if point.x >= 0]
    _line(axes, curve, look, [point.x + 4 * place for point in curve])
    for point in points:
        if point.x < 0:
            axes.axhline(point.value, color=look["color"], linestyle="--" if point.x == BEST else ":", linewidth=1)
    axes.set_xlabel("t of z(t): dashed the best on validation,\ndotted several side by side")


def _line(axes: Axes, points: Sequence[Point], look: dict[str, Any], x: Sequence[float]) -> None:
    """A line through points, their bars, and single seeds."""
    axes.plot(x[: len(points)], [p.value for p in points], **look | {"linestyle": "-", "markersize": 5})
    for at, point in zip(x, points, strict=False):
        axes.vlines(at, point.low, point.high, color=look["color"], linewidth=1, alpha=0.6)
        axes.plot([at] * len(point.seeds), point.seeds, ".", color=look["color"], markersize=3, alpha=0.6)
