"""Draw a metric against images seen, from a results file with rows of several snapshots of one training run.

Example:
  python -m benchmarks.downstream --ckpt runs/x/milestones/*.safetensors --data zip:x.zip --out x/downstream.csv
  python -m benchmarks.learning_curve x/downstream.csv

Writes x/downstream_learning_curve.png: one panel a metric, a curve a model, the controls as horizontal lines. Of one
data set and precision; a file with several is refused, unless --where leaves one.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from benchmarks.results import Record, RecordFile, beside
from benchmarks.results.pair import without_single_seeds
from benchmarks.results.where import Where
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
    where: tuple[str, ...] = ()
    """Only rows with these cells, COLUMN=VALUE with whole values, as dataset=faces-v1 precision=fp32."""


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
    where = Where(options.where)
    rows = where.of(rows)
    where.require(rows, str(options.results))
    _require_one(options.results, rows)
    figure = Figure(figsize=(4.5 * len(options.metrics), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    colours: dict[str, int] = {}  # of a model the same in all panels
    for axes, metric in zip(figure.subplots(1, len(options.metrics), squeeze=False)[0], options.metrics, strict=True):
        of_metric = [row for row in rows if row.metric == metric]
        curves = {
            name: learning_curve([row for row in of_metric if _trained(row) == key])
            for key, name in _models(of_metric).items()
        }
        if not any(curves.values()):
            raise UserError(f"{options.results}: no snapshot has rows of {metric}, protocol {options.protocol}.")
        for name, curve in curves.items():
            seen, means, errors = zip(*curve, strict=True)
            colour = f"C{colours.setdefault(name, len(colours)) % 10}"
            axes.errorbar(
                [n / 1000 for n in seen], means, errors, marker="o", markersize=4, capsize=2, color=colour, label=name
            )
        for name, (kind, value) in _controls(of_metric).items():
            axes.axhline(value, color=_GREYS[kind], linestyle=_LINES[kind], label=name)
        axes.set_xlabel("training images seen, thousands")
        axes.set_ylabel(metric.replace("_", " "))
        axes.grid(alpha=0.3)
    shown = {
        name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = max(1, 2 * len(options.metrics))
    figure.set_figheight(3.5 + 0.2 * -(-len(shown) // columns))
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    path = beside(options.results, "_learning_curve.png")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    log.info("%s", path)


def _require_one(path: Path, rows: Sequence[Record]) -> None:
    """Raise UserError where rows are of several data sets, precisions or versions, whose values are no one curve."""
    for name in ("dataset", "data_sha256", "precision", "task_version"):
        found = dict.fromkeys(str(getattr(row, name)) for row in rows)
        if len(found) > 1:
            raise UserError(
                f"{path}: expected rows of one {name}, found {', '.join(found)}. Choose with --where {name}=..."
            )


def _trained(row: Record) -> tuple[str, str, str, str]:
    """What the snapshots of one training have in common."""
    return row.model, row.method, row.variant, _SEEN.sub("", row.train_data)


def _models(rows: Sequence[Record]) -> dict[tuple[str, str, str, str], str]:
    """Trainings of which some row says how many images they had seen, by names that tell them apart."""
    keys = list(dict.fromkeys(_trained(row) for row in rows if _SEEN.search(row.train_data)))
    short = [key[0] for key in keys]
    return {key: key[0] if short.count(key[0]) == 1 else " ".join(filter(None, key)).strip() for key in keys}


def _controls(rows: Sequence[Record]) -> dict[str, tuple[str, float]]:
    """Name of a control -> its kind and value, a mean over seeds; every method has an untrained encoder of its own."""
    found: dict[str, list[Record]] = {}
    controls = [row for row in rows if row.weights in ("control", "untrained") and row.model in _LINES]
    lengths = {row.latent_dim for row in controls if row.latent_dim}
    for row in without_single_seeds(controls):
        about = [
            row.model,
            row.method,
            row.variant,
            f"of {row.latent_dim}" if row.latent_dim and len(lengths) > 1 else "",
        ]
        found.setdefault(" ".join(filter(None, about)), []).append(row)
    return {name: (some[0].model, sum(row.value for row in some) / len(some)) for name, some in found.items()}


def learning_curve(rows: Sequence[Record]) -> list[tuple[int, float, float]]:
    """(images seen, mean over seeds, its standard error) of every snapshot of one model, from rows of one metric.

    Raises:
        UserError: a snapshot has two numbers: of two trainings under one name, or of other seeds of the probe.
    """
    points: dict[int, list[Record]] = {}
    for row in rows:
        if seen := _SEEN.search(row.train_data or ""):
            points.setdefault(int(seen[1]), []).append(row)
    curve = []
    for images, found in sorted(points.items()):
        if len({row.checkpoint_sha256 for row in found}) > 1:
            raise UserError(
                f"{found[0].model}: expected the snapshots of one training, found two of {images} images with other "
                "weights. Measure each training into a results file of its own, or give each a --name when it begins."
            )
        row, *others = without_single_seeds(found)
        if others:
            raise UserError(
                f"{row.model}: expected one {row.metric} after {images} images, found those of the seeds "
                f"'{row.seed}' and '{others[0].seed}'. Choose with --where 'seed={row.seed}'."
            )
        curve.append((images, row.value, row.stderr or 0.0))
    return curve


if __name__ == "__main__":
    raise SystemExit(run(draw, Options, module="benchmarks.learning_curve", description=__doc__))
