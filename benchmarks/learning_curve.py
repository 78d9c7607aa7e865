"""Draw a metric against images seen, from a results file with rows of several snapshots of one training run.

Example:
  python -m benchmarks.downstream --ckpt runs/x/milestones/*.safetensors --data zip:x.zip --out x/downstream.csv
  python -m benchmarks.learning_curve x/downstream.csv

Writes x/downstream_learning_curve.png: one panel a metric, a curve a model, the controls as horizontal lines.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from benchmarks.results import Record, RecordFile, beside
from dbae.support.cli import run
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

log = logging.getLogger(__name__)
_SEEN = re.compile(r"\((\d+) images seen\)$")
_LINES = {"untrained": "--", "pca": "-.", "prevalence": ":"}
_GREYS = {"untrained": "0.6", "pca": "0.3", "prevalence": "0.0"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    results: Positional[Path]
    """A results file of `benchmarks.downstream`."""
    protocol: str = "standard"
    """Protocol whose rows are drawn."""
    metrics: tuple[str, ...] = ("AP", "Pearson_r")
    """Metrics to draw, one panel each."""


def draw(options: Options) -> None:
    """Run the command."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not options.results.is_file():
        raise UserError(f"{options.results}: no such results file.")
    rows = [
        row
        for row in RecordFile(options.results).read()
        if row.protocol == options.protocol and row.split == "test" and row.attribute == "mean" and not row.partial
    ]
    figure = Figure(figsize=(4.5 * len(options.metrics), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(options.metrics), squeeze=False)[0], options.metrics, strict=True):
        of_metric = [row for row in rows if row.metric == metric]
        curves = {name: learning_curve([row for row in of_metric if row.model == name]) for name in _models(of_metric)}
        if not any(curves.values()):
            raise UserError(f"{options.results}: no snapshot has rows of {metric}, protocol {options.protocol}.")
        for name, curve in curves.items():
            seen, means, errors = zip(*curve, strict=True)
            axes.errorbar([n / 1000 for n in seen], means, errors, marker="o", markersize=4, capsize=2, label=name)
        for (name, method), values in _controls(of_metric).items():
            axes.axhline(
                sum(values) / len(values), color=_GREYS[name], linestyle=_LINES[name], label=f"{name} {method}"
            )
        axes.set_xlabel("training images seen, thousands")
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path = beside(options.results, "_learning_curve.png")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    log.info("%s", path)


def _models(rows: Sequence[Record]) -> list[str]:
    """Names of the models of which some row says how many images they had seen."""
    return list(dict.fromkeys(row.model for row in rows if _SEEN.search(row.train_data)))


def _controls(rows: Sequence[Record]) -> dict[tuple[str, str], list[float]]:
    """(name, method) of a control -> its values; every method has an untrained encoder of its own."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.model in _LINES:
            found.setdefault((row.model, row.method), []).append(row.value)
    return found


def learning_curve(rows: Sequence[Record]) -> list[tuple[int, float, float]]:
    """(images seen, mean over seeds, its standard error) of every snapshot of one model, from rows of one metric."""
    points = {}
    for row in rows:
        seen = _SEEN.search(row.train_data or "")
        if seen and (row.seed.startswith("mean of") or int(seen[1]) not in points):
            points[int(seen[1])] = (row.value, row.stderr or 0.0)
    return [(images, *points[images]) for images in sorted(points)]


if __name__ == "__main__":
    raise SystemExit(run(draw, Options, module="benchmarks.learning_curve", description=__doc__))
