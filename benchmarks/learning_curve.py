"""Draw a metric against images seen, from a results file with rows of several snapshots of one training run.

Example:
  python -m benchmarks.downstream --ckpt runs/x/milestones/*.safetensors --data zip:x.zip --out x/downstream.csv
  python -m benchmarks.learning_curve x/downstream.csv

Writes x/downstream_learning_curve.png: one panel a metric, the controls as horizontal lines.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from benchmarks.results.file import beside
from benchmarks.results.record import Record, RecordFile
from dbae.support.cli import run
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

log = logging.getLogger(__name__)
_SEEN = re.compile(r"\((\d+) images seen\)$")
_STYLES = {"untrained": ("tab:orange", "--"), "pca": ("tab:green", "-."), "prevalence": ("black", ":")}


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

    rows = [
        row
        for row in RecordFile(options.results).read()
        if row.protocol == options.protocol and row.split == "test" and row.attribute == "mean"
    ]
    figure = Figure(figsize=(4.5 * len(options.metrics), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(options.metrics), squeeze=False)[0], options.metrics, strict=True):
        curve = learning_curve([row for row in rows if row.metric == metric])
        if not curve:
            raise UserError(f"{options.results}: no snapshot has rows of {metric}, protocol {options.protocol}.")
        axes.errorbar(*zip(*curve, strict=True), marker="o", markersize=4, capsize=2, label="model")
        for name, (colour, line) in _STYLES.items():
            if values := [row.value for row in rows if row.model == name and row.metric == metric]:
                axes.axhline(sum(values) / len(values), color=colour, linestyle=line, label=name)
        axes.set_xlabel("training images seen")
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    path = beside(options.results, "_learning_curve.png")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    log.info("%s", path)


def learning_curve(rows: Sequence[Record]) -> list[tuple[int, float, float]]:
    """(images seen, mean over seeds, its standard error) of every snapshot, from the rows of one metric."""
    points = {}
    for row in rows:
        seen = _SEEN.search(row.train_data or "")
        if seen and (row.seed.startswith("mean of") or int(seen[1]) not in points):
            points[int(seen[1])] = (row.value, row.stderr or 0.0)
    return [(images, *points[images]) for images in sorted(points)]


if __name__ == "__main__":
    raise SystemExit(run(draw, Options, module="benchmarks.learning_curve", description=__doc__))
