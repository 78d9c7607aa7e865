"""What a person reads after a reconstruction run: a table and a figure of metric against evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.records import Record
from dbae.files import atomic_path


def format_sweep(rows: Sequence[Record]) -> str:
    """A text table: one line a setting, one column a metric, mean ± standard error over images."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = [["model", "data", "protocol", "sampler", "end_data", "NFE", *metrics]]
    for wanted in dict.fromkeys(map(_setting, rows)):
        same = [row for row in rows if _setting(row) == wanted]
        row, cells = same[0], {r.metric: f"{r.value:.4f} ± {r.stderr:.4f}" for r in same}
        setting = [row.model, row.dataset, row.protocol, _sampler(row), str(row.end_data), str(row.nfe)]
        lines.append(setting + [cells[metric] for metric in metrics])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def draw_sweep(rows: Sequence[Record], path: Path, metrics: Sequence[str] = ("SSIM", "MSE", "PSNR")) -> None:
    """Write a PNG: each metric against counted evaluations, one line a model, data set, protocol and sampler.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(metrics), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for label in dict.fromkeys(map(_label, rows)):
            same = sorted((r for r in rows if r.metric == metric and _label(r) == label), key=lambda r: r.nfe or 0)
            nfe, values, errors = zip(*((r.nfe, r.value, r.stderr) for r in same), strict=True)
            axes.errorbar(nfe, values, errors, marker="o", capsize=2, label=label)
        axes.set_xscale("log")
        axes.set_xlabel("network evaluations")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _setting(row: Record) -> tuple[object, ...]:
    return (_label(row), row.checkpoint_sha256, row.nfe_requested, row.nfe)


def _label(row: Record) -> str:
    return f"{row.model}, {row.dataset}, {row.protocol}, {_sampler(row)}, end_data {row.end_data}"


def _sampler(row: Record) -> str:
    """Name of the sampler with what sets it apart: churn, or a start without noise."""
    return row.sampler + (f" churn {row.churn}" if row.churn else "") + (" eps=0" if row.boot_noise is False else "")
