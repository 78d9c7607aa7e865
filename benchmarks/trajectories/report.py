"""What a person reads after a run: a table with intervals, and a few paths in their principal plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.metrics.bootstrap import FEWEST
from benchmarks.results import Record
from benchmarks.results.models import Model, told_apart
from dbae.support.files import atomic_path
from dbae.support.text import columns

NOTE = "(means over n sequences{}; of the same frames only can they be compared)"


@dataclasses.dataclass(frozen=True)
class Panel:
    """The paths of some sequences in the codes of one subject; `row` is any of its rows about them."""

    row: Record
    paths: Sequence[Float[np.ndarray, "_ 2"]]


def format_rows(rows: Sequence[Record]) -> str:
    """A text table: one line a subject and data set."""
    rows = told_apart(rows)
    lines = [["model", "data", "n", "dimensions", "straightness", "curvature (degrees)"]]
    for key in dict.fromkeys(map(_subject, rows)):
        same = {row.metric: row for row in rows if _subject(row) == key}
        row = same["straightness"]
        cells = [_cell(same, "straightness", 3), _cell(same, "curvature", 1)]
        lines.append([row.model, row.dataset, str(row.n), str(row.latent_dim), *cells])
    sizes = {row.n for row in rows}
    about = " with 95 % intervals over sequences" if max(sizes) >= FEWEST else ""
    about += f"; fewer than {FEWEST} have no interval" if min(sizes) < FEWEST else ""
    return f"{columns(lines)}\n{NOTE.format(about)}"


def draw_paths(panels: Sequence[Panel], path: Path) -> None:
    """Write a PNG: a row a data set, a column a subject, the first frame of every path as a dot.

    A control that several models share is drawn once.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    datasets = panels_of(panels)
    wide = max(map(len, datasets.values()))
    figure = Figure(figsize=(2.3 * wide, 2.6 * len(datasets)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (name, shown) in zip(figure.subplots(len(datasets), wide, squeeze=False), datasets.items(), strict=True):
        row[0].set_ylabel(name, fontsize=7)
        for axes in row[len(shown) :]:
            axes.set_axis_off()
        for axes, panel in zip(row, shown, strict=False):
            for one in panel.paths:
                (line,) = axes.plot(*one.T, marker=".", markersize=3, linewidth=1)
                axes.plot(*one[0], marker="o", color=line.get_color())
            axes.set_title(panel.row.model, fontsize=8)
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_xticks([])
            axes.set_yticks([])
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def panels_of(panels: Sequence[Panel]) -> dict[str, list[Panel]]:
    """Data set -> its panels, one a subject, in their order, with names that tell subjects apart."""
    found: dict[str, list[Panel]] = {}
    unique = {_subject(panel.row): panel for panel in panels}.values()
    for panel, row in zip(unique, told_apart([panel.row for panel in unique]), strict=True):
        found.setdefault(row.dataset, []).append(dataclasses.replace(panel, row=row))
    return found


def _subject(row: Record) -> tuple[object, ...]:
    return Model.of(row), row.dataset, row.data_sha256, row.precision


def _cell(same: dict[str, Record], name: str, digits: int) -> str:
    ends = [same.get(f"{name}_{end}") for end in ("low", "high")]
    interval = f" [{', '.join(f'{end.value:.{digits}f}' for end in ends if end)}]" if all(ends) else ""
    return f"{same[name].value:.{digits}f}{interval}"
