"""What a person reads after a variation run: a table, and the maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from benchmarks.results import Record
from benchmarks.results.models import told_apart
from dbae.support.files import atomic_path
from dbae.support.text import columns


@dataclasses.dataclass(frozen=True)
class Shown:
    """Pictures of one setting: n images, the mean and standard deviation of their draws in [0, 1], a few draws."""

    title: str
    x0: UInt8[np.ndarray, "n 3 s s"]
    mean: Float32[np.ndarray, "n 3 s s"]
    std: Float32[np.ndarray, "n 3 s s"]
    draws: UInt8[np.ndarray, "n k 3 s s"]


def format_variation(rows: Sequence[Record]) -> str:
    """A text table: one line a setting, one column a metric, means over images."""
    rows = told_apart(rows)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = [["model", "data", "protocol", "z", "sampler", "churn", "x_T", "NFE", "seed", *metrics]]
    for wanted in dict.fromkeys(map(_setting, rows)):
        same = {row.metric: row for row in rows if _setting(row) == wanted}
        row = next(iter(same.values()))
        setting = [row.model, row.dataset, row.protocol, row.z, row.sampler, str(row.churn or 0), row.x_T]
        cells = [f"{same[metric].value:.6f}" if metric in same else "" for metric in metrics]
        lines.append([*setting, str(row.nfe), row.seed, *cells])
    return columns(lines)


def draw_maps(shown: Sequence[Shown], path: Path) -> None:
    """Write a PNG: for every setting and image x0, mean, standard deviation over draws (one scale), three draws.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(setting, i) for setting in shown for i in range(len(setting.x0))]
    wide = 3 + shown[0].draws.shape[1]
    figure = Figure(figsize=(1.3 * wide + 0.6, 1.3 * len(rows) + 0.25 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(" ", fontsize=7)  # room for the first title: titles are outside the layout, they may run over
    panels = figure.subplots(len(rows), wide, squeeze=False)
    top = max(float(setting.std.mean(axis=1).max()) for setting in shown) or 1.0
    for panel, (setting, i) in zip(panels, rows, strict=True):
        pictures = [setting.x0[i] / 255, setting.mean[i], setting.std[i].mean(axis=0), *(setting.draws[i] / 255)]
        for axes, picture in zip(panel, pictures, strict=True):
            image = picture.transpose(1, 2, 0) if picture.ndim == 3 else picture
            drawn = axes.imshow(image, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            axes.set_axis_off()
            if picture.ndim == 2:
                scale = drawn
        if i == 0:
            panel[0].text(0, 1.07, setting.title, transform=panel[0].transAxes, fontsize=7, in_layout=False)
    for axes, label in zip(panels[-1], ("image", "mean", "std", "draws"), strict=False):
        axes.text(0.5, -0.08, label, transform=axes.transAxes, ha="center", va="top", fontsize=8)
    figure.colorbar(scale, ax=panels[:, -1], fraction=0.1, label="standard deviation, pixels in [0, 1]")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _setting(row: Record) -> tuple[object, ...]:
    return tuple(cell for cell in dataclasses.replace(row, metric="-", value=0.0, better="lower").identity)
