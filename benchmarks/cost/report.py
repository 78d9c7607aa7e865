"""What a person reads after a cost run: one table, a column a model."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Record
from benchmarks.results.models import told_apart
from dbae.support.text import columns

UNITS = {
    "parameters_M": "millions",
    "trainable_parameters_M": "millions",
    "training_time": "ms/image",
    "testing_time": "ms/image/NFE",
    "encode_time": "ms/image",
    "endpoint_time": "ms/image",
    "total_time_ms": "ms/image",
}

NOTE = "(times: medians ± standard error over repetitions)"


def unit_of(metric: str) -> str:
    """What a quantity of this benchmark is in; "" of ratios, of evaluations, and of other benchmarks' metrics."""
    return UNITS.get(metric, "GFLOP/image" if metric.startswith("GFLOPs") else "")


def format_costs(rows: Sequence[Record]) -> str:
    """A text table: one line a quantity, one column a model; medians ± standard error, and ratios below their times."""
    rows = told_apart(rows)
    models = list(dict.fromkeys((row.model, row.checkpoint_sha256) for row in rows))
    lines = [["", "unit", *(name for name, _ in models)]]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    for quantity in sorted(dict.fromkeys(map(_quantity, rows)), key=lambda found: metrics.index(found[0])):
        cells = {(r.model, r.checkpoint_sha256): _cell(r) for r in rows if _quantity(r) == quantity}
        metric, attribute, x_T, steps = quantity
        about = f" ({attribute})" if attribute != "mean" else ""
        about += f", x_T {x_T}" if x_T else ""
        about += f" in {steps} steps" if steps else ""
        lines.append([metric + about, unit_of(metric), *(cells.get(model, "-") for model in models)])
    where = dict.fromkeys(
        f"{r.protocol}, batches of {r.n}, {r.precision}" for r in rows if r.protocol != "architecture"
    )
    return "\n".join([*where, columns(lines), NOTE])


def _quantity(row: Record) -> tuple[str, str, str, int | None]:
    return row.metric, row.attribute, row.x_T, row.encode_nfe


def _cell(row: Record) -> str:
    text = f"{row.value:.4g}" if row.metric.startswith(("NFE", "parameters", "trainable")) else f"{row.value:.3f}"
    return text + ("" if row.stderr is None else f" ± {row.stderr:.3f}")
