"""Single attributes of all models in a results file, as a figure: AP and Pearson r, with intervals over test images.

One row of panels a data set and protocol, attributes in the same order in all of them: that of their mean over models
in the first. A bar is the 95 % percentile interval over resamples of the test images, where scores of single images lie
beside the file (`benchmarks.results.evidence`); a point without one has no known noise.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.results import Record, RecordFile, beside
from benchmarks.results.evidence import evidence
from benchmarks.results.models import Model, data_names, names_of
from dbae.support.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

METRICS = ("AP", "Pearson_r")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#882255", "#44AA99")
"""Told apart by colour-blind readers (Okabe and Ito; Tol)."""
_CONTROLS = {"untrained": "s", "pca": "^", "random": "x", "prevalence": "|"}


class Point(NamedTuple):
    """A value and its 95 % interval; NaN where the noise is not known."""

    value: float
    low: float
    high: float


Panel = dict[Model, dict[str, Point]]
"""Model -> attribute -> its value, mean over seeds."""


class Shown(NamedTuple):
    """What a panel is of: a data set by name and fingerprint, a protocol, a metric."""

    dataset: str
    data_sha256: str
    protocol: str
    metric: str

    @classmethod
    def of(cls, row: Record) -> Shown:
        """The panel that has a row."""
        return cls(*(getattr(row, name) for name in cls._fields))


def panels(path: Path) -> dict[Shown, Panel]:
    """What the results file `path` and the files beside it have; of several precisions, fp32 or the first."""
    seeds: dict[Shown, dict[Model, dict[str, list[float]]]] = defaultdict(dict)
    precisions: dict[tuple[Shown, Model], str] = {}
    rows = RecordFile(beside(path, "_attributes.csv")).read()
    rows = [row for row in rows if row.metric in METRICS and row.split == "test" and not row.partial]
    for row in sorted(rows, key=lambda row: row.precision != "fp32"):
        key, model = Shown.of(row), Model.of(row)
        if precisions.setdefault((key, model), row.precision) == row.precision:
            seeds[key].setdefault(model, {}).setdefault(row.attribute, []).append(row.value)
    bars = _intervals(path, precisions)
    return {
        key: {
            model: {
                name: Point(float(np.mean(values)), *bars.get((key, model), {}).get(name, (math.nan, math.nan)))
                for name, values in attributes.items()
            }
            for model, attributes in models.items()
        }
        for key, models in seeds.items()
    }


def _intervals(
    path: Path, precisions: Mapping[tuple[Shown, Model], str]
) -> dict[tuple[Shown, Model], dict[str, tuple[float, float]]]:
    rows: dict[tuple[Shown, Model], Record] = {}
    for row in RecordFile(path).read():
        key = (Shown.of(row), Model.of(row))
        wanted = precisions.get(key) == row.precision and not row.partial and row.split == "test"
        if wanted and (row.seed.startswith("mean of") or key not in rows):
            rows[key] = row
    known = {key: evidence(row, path).scores for key, row in rows.items()}
    return {
        key: dict(zip(found.names, zip(*np.nanpercentile(found.drawn, (2.5, 97.5), axis=0), strict=True), strict=True))
        for key, found in known.items()
        if found is not None
    }


def draw_attributes(path: Path) -> Path:
    """Write NAME_attributes.png beside the results file `path`, of everything that is in it; its path.

    Raises:
        UserError: a file cannot be read or written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = panels(path)
    rows = sorted(dict.fromkeys(key[:3] for key in found), key=lambda row: row[2] != "standard")
    metrics = [metric for metric in METRICS if any(key.metric == metric for key in found)]
    wanted = {metric: [Shown(*row, metric) for row in rows] for metric in metrics}
    orders = {metric: _order([found[key] for key in keys if key in found]) for metric, keys in wanted.items()}
    data = data_names(RecordFile(path).read())
    models = list(dict.fromkeys(model for panel in found.values() for model in panel))
    names = _names(path, models)
    styles = styles_of(models)
    height = 0.26 * max(map(len, orders.values())) + 0.9
    figure = Figure(figsize=(6.5 * len(metrics), height * len(rows) + 0.25 * len(models)), layout="constrained")
    FigureCanvasAgg(figure)
    for line, row in zip(figure.subplots(len(rows), len(metrics), squeeze=False), rows, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            if panel := found.get(Shown(*row, metric)):
                _draw(axes, panel, orders[metric], styles)
                dataset = data.get(row[:2], row[0])
                axes.set_title(f"{metric.replace('_', ' ')} on {dataset}, protocol {row[2]}", fontsize=9)
            else:
                axes.set_axis_off()
    handles = {label: handle for axes in figure.axes for handle, label in zip(*_legend(axes, names), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", ncols=2, fontsize=8, frameon=False)
    out = beside(path, "_attributes.png")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return out


def _names(path: Path, models: Sequence[Model]) -> dict[str, str]:
    """What the legend calls a model, by `repr`: as `benchmarks.compare` does."""
    names = names_of(row for row in RecordFile(path).read() if not row.partial)
    return {repr(model): names.get(model, model.model) for model in models}


def styles_of(models: Sequence[Model]) -> dict[Model, dict[str, Any]]:
    """Marker and colour of every model; controls are grey."""
    colours = iter(COLOURS * (len(models) // len(COLOURS) + 1))
    greys = iter(("0.15", "0.45", "0.6", "0.75") * len(models))
    return {
        model: {"marker": _CONTROLS[model.model], "color": next(greys)}
        if model.model in _CONTROLS
        else {"marker": "o", "color": next(colours)}
        for model in models
    }


def _order(panels: Sequence[Panel]) -> list[str]:
    """Attributes, best last: by their mean over models in the first panel, then those that only others have."""
    values: dict[str, list[float]] = defaultdict(list)
    for attributes in panels[0].values():
        for name, point in attributes.items():
            values[name].append(point.value)
    means = {name: -math.inf if np.isnan(v).all() else float(np.nanmean(v)) for name, v in values.items()}
    others = dict.fromkeys(name for panel in panels for attributes in panel.values() for name in attributes)
    return sorted(means, key=means.__getitem__) + [name for name in others if name not in means]


def _draw(axes: Axes, panel: Panel, order: Sequence[str], styles: dict[Model, dict[str, Any]]) -> None:
    places = {name: place for place, name in enumerate(order)}
    for i, (model, attributes) in enumerate(panel.items()):
        apart = 0.7 * ((i + 0.5) / len(panel) - 0.5)
        y = [places[name] - apart for name in attributes]
        value, low, high = np.array(list(attributes.values())).T
        axes.hlines(y, low, high, color=styles[model]["color"], linewidth=1, alpha=0.6)
        axes.plot(value, y, linestyle="none", markersize=4, label=repr(model), **styles[model])
    axes.set_yticks(range(len(order)), order, fontsize=7)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.grid(axis="x", alpha=0.3)
    axes.hlines(np.arange(len(order) - 1) + 0.5, *axes.get_xlim(), color="0.93", linewidth=0.6, zorder=0)


def _legend(axes: Axes, names: dict[str, str]) -> tuple[list[Artist], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return handles, [names[label] for label in labels]
