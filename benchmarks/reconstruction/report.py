"""What a person reads after a reconstruction run: a table and a figure of metric against evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Record
from benchmarks.results.models import told_apart
from dbae.support import text
from dbae.support.files import atomic_path

_OTHERS = ("split", "seed", "precision")
"""What else apart from its setting tells rows of one model apart."""
NOTE = "(± standard error over images; NFE: evaluations of decoding, + those that infer z or x_T)"


def format_sweep(rows: Sequence[Record]) -> str:
    """A text table: one line a setting, one column a metric, mean ± standard error over images.

    What all settings share stands above it; many metrics stand in blocks below one another.
    """
    rows = told_apart(rows)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = [["model", "data", "protocol", "sampler", "x_T", "end_data", "NFE", *_OTHERS, *metrics]]
    for wanted in dict.fromkeys(map(_setting, rows)):
        same = [row for row in rows if _setting(row) == wanted]
        row, cells = same[0], {r.metric: _cell(r) for r in same}
        nfe = f"{row.nfe}" + (f" + {row.encode_nfe}" if row.encode_nfe else "")
        end_data = "" if row.end_data is None else str(row.end_data)
        others = [getattr(row, name) for name in _OTHERS]
        setting = [row.model, row.dataset, row.protocol, _sampler(row), row.x_T, end_data, nfe, *others]
        lines.append(setting + [cells.get(metric, "") for metric in metrics])
    return f"{text.table(lines, 7 + len(_OTHERS), wrap=True)}\n{NOTE}"


def draw_sweep(rows: Sequence[Record], path: Path) -> None:
    """Write a PNG: each metric against counted evaluations of decoding, one line a model, data set and setting.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = told_apart(rows)
    metrics = [m for m in ("SSIM", "LPIPS", "MSE", "PSNR") if any(row.metric == m for row in rows)]
    others = [name for name in _OTHERS if len({getattr(row, name) for row in rows}) > 1]
    lines: dict[str, list[Record]] = {}
    for row in rows:
        lines.setdefault(", ".join([_label(row), *(f"{n} {getattr(row, n)}" for n in others)]), []).append(row)
    figure = Figure(figsize=(4.2 * len(metrics), 3.6 + 0.09 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for i, (label, of_line) in enumerate(lines.items()):
            same = sorted((r for r in of_line if r.metric == metric), key=lambda r: r.nfe or 0)
            nfe, means, errors = [r.nfe for r in same], [r.value for r in same], [r.stderr or 0 for r in same]
            style = "-" if i < 10 else "--"
            axes.errorbar(nfe, means, errors, marker="o", linestyle=style, color=f"C{i % 10}", capsize=2, label=label)
        axes.set_xscale("log")
        budgets = sorted({row.nfe for row in rows if row.nfe})
        axes.set_xticks(budgets, [str(nfe) for nfe in budgets], fontsize=8)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("network evaluations of decoding")
        axes.set_ylabel(metric)
        values = [row.value for row in rows if row.metric == metric]
        if min(values) > 0 and max(values) > 30 * min(values):  # inferred beside random x_T: decades apart
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _setting(row: Record) -> tuple[object, ...]:
    others = [getattr(row, name) for name in _OTHERS]
    return (_label(row), row.checkpoint_sha256, row.nfe_requested, row.nfe, row.encode_nfe, *others)


def _label(row: Record) -> str:
    end_data = "" if row.end_data is None else f", end_data {row.end_data}"
    return f"{row.model}, {row.dataset} n {row.n}, {row.protocol}, {_sampler(row)}, x_T {_x_T(row)}{end_data}"


def _x_T(row: Record) -> str:
    """Where x_T comes from and, where that costs evaluations, whether their number follows the budget (PDAE: - 1)."""
    if not row.encode_nfe:
        return row.x_T
    return f"{row.x_T} by {'as many' if (row.nfe or 0) - row.encode_nfe in (0, 1) else row.encode_nfe} evaluations"


def _sampler(row: Record) -> str:
    """Name of the sampler with what sets it apart: its grid, noise, or a start without noise."""
    parts = [row.sampler]
    parts += [f"{row.grid} grid"] if row.grid not in ("", "native") else []
    parts += [f"{name} {value}" for name in ("churn", "eta") if (value := getattr(row, name))]
    return " ".join(parts + (["eps=0"] if row.boot_noise is False else []))


def _cell(row: Record) -> str:
    return f"{row.value:.4f}" + ("" if row.stderr is None else f" ± {row.stderr:.4f}")
