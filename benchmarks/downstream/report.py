"""What a person reads after a downstream run: a table of means."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from benchmarks.results import Record
from benchmarks.results.difference import Difference, difference
from benchmarks.results.evidence import forget
from benchmarks.results.pair import Pair
from dbae.support import text

Measured = dict[tuple[str, str], Float64[np.ndarray, "seeds k"]]
"""(metric, split) -> values of k attributes for every seed; one row where no seed enters."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers of one model and its controls on one data set under one protocol.

    Attributes:
        names: metric -> attribute names, in the order of the values.
        columns: model or control -> values; the model comes first.
        used: metric -> which attributes its means are over.
        leads: control -> (metric, split) -> the model's mean minus the control's.
    """

    title: str
    names: dict[str, tuple[str, ...]]
    columns: dict[str, Measured]
    used: dict[str, Bool[np.ndarray, " k"]]
    leads: dict[str, dict[tuple[str, str], Difference]]

    @property
    def model(self) -> str:
        """Name of the first column: what controls are compared with."""
        return next(iter(self.columns))


NOTE = "(± standard error over seeds; prevalence: a constant score, for MSE the training mean, in units of the labels)"


def format_table(table: Table) -> str:
    """Two text tables: means over attributes with standard errors over seeds, and the model's leads over two controls.

    They stand below one another: side by side no terminal is wide enough. A lead is the difference of the means, as
    `benchmarks.compare` gives it: its 95 % interval is over test images, or over what it says.
    """
    means, leads = [["", *table.columns]], [["difference [95 % interval]", *(f"to {name}" for name in table.leads)]]
    for key in table.columns[table.model]:
        name, used = " ".join(key).removesuffix(" test"), table.used[key[0]]
        cells = [
            mean_and_error(measured[key][:, used]) if key in measured else "-" for measured in table.columns.values()
        ]
        means.append([name, *cells])
        leads.append([name, *(_lead(found.get(key)) for found in table.leads.values())])
    parts = [table.title, text.columns(means), NOTE, *([text.columns(leads)] if table.leads else [])]
    return "\n".join(parts)


def mean_and_error(values: Float64[np.ndarray, "seeds k"]) -> str:
    """The mean, and where there are several seeds its standard error over them."""
    if not values.shape[1]:
        return "-"
    means = values.mean(axis=1)
    error = f" ± {means.std(ddof=1) / np.sqrt(len(means)):.4f}" if len(means) > 1 else ""
    return f"{means.mean():.4f}{error}"


def leads_over_controls(
    rows: Mapping[str, Sequence[Record]], model: str, path: Path
) -> dict[str, dict[tuple[str, str], Difference]]:
    """What `model` is ahead of its untrained encoder and of PCA by, from mean rows that are in the results file `path`.

    Args:
        rows: model or control -> its mean rows, one a metric and split.
    """
    forget()  # what was measured just now
    found: dict[str, dict[tuple[str, str], Difference]] = {}
    for control in ("untrained", "pca"):
        others = {(r.metric, r.split): r for r in rows.get(control, ())}
        pairs = {(r.metric, r.split): Pair(others[r.metric, r.split], r) for r in rows[model]} if others else {}
        if pairs:
            found[control] = {key: difference(pair, path, path, math.inf) for key, pair in pairs.items()}
    return found


def _lead(found: Difference | None) -> str:
    if found is None or math.isnan(found.value):
        return "-"
    if found.over and math.isnan(found.low):
        return f"{found.text} (no interval: {found.note})"
    return found.text + (f" over {found.over}" if found.over else "")
