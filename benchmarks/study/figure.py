"""Learning curves of the study: a metric against work, one line a row, named where it ends, above its controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.downstream.figure import COLOURS
from benchmarks.report.charts import name_ends
from dbae.support.files import atomic_path

if TYPE_CHECKING:
    import pandas


def over_seeds(line: pandas.DataFrame) -> pandas.DataFrame:
    """Mean `value` and `se` at the `units` at which every seed of this line was measured."""
    shared = line.groupby("units").filter(lambda point: len(point) == line["seed"].nunique())
    return shared.groupby("units")[["value", "se"]].mean()


def draw_curves(curve: pandas.DataFrame, table1: pandas.DataFrame, path: Path) -> None:
    """Write a PNG of `curve.csv`: a panel a metric, means over seeds, one standard error over images.

    A row whose z has another length than most has it in its name. From `table1.csv` come PCA of that length, a dotted
    line, and untrained encoders, a band.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(curve["metric"]))
    rows = list(dict.fromkeys(curve["row"]))
    lengths = curve.groupby("row")["latent_dim"].first()
    most = lengths.mode()[0]
    names = {row: row if lengths[row] == most else f"{row}, z of {lengths[row]}" for row in rows}
    controls = table1[table1["latent_dim"] == most]
    figure = Figure(figsize=(6 * len(metrics), 0.24 * len(rows) + 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        untrained = controls[controls["row"].str.startswith("untrained")][metric]
        if len(untrained):
            axes.axhspan(untrained.min(), untrained.max(), color="0.9", lw=0)
            axes.annotate("untrained", (0.01, untrained.max()), xycoords=("axes fraction", "data"), color="0.4", size=8)
        ends = [(float(value), "PCA of pixels", "0.4") for value in controls[controls["row"] == "pca"][metric]]
        for value, _, colour in ends:
            axes.axhline(value, color=colour, ls=":", lw=1)
        for i, row in enumerate(rows):
            means = over_seeds(curve[(curve["row"] == row) & (curve["metric"] == metric)])
            colour = COLOURS[i % len(COLOURS)]
            style = "-" if i < len(COLOURS) else "--"
            axes.errorbar(means.index, means["value"], means["se"], marker="o", ms=3, lw=1, ls=style, color=colour)
            if len(means):
                ends.append((float(means["value"].iloc[-1]), names[row], colour))
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=5)
        name_ends(axes, ends)
        axes.set_xlabel("trunk units")
        axes.set_title(metric.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
