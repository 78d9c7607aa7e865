"""The study's tables, from OUT alone: its results files, what lies beside them, and its register of runs.

table1.csv       what a linear probe reads from z of `latent_dim` numbers: AP, Pearson r, MSE
table2.csv       reconstruction: a line a row, endpoint and sampler, `nfe` evaluations and `encode_nfe` for the endpoint
table3.csv       TAD and ATTRS
groups.csv       AP, Pearson r, MSE of groups of attributes, where some were named
differences.csv  which rows of table1.csv differ by more than noise (`benchmarks.study.differences`)
curve.csv        AP and Pearson r at every point of the learning curve
training.csv     one line a run: parameters, work, learning rate, `errors` after a tenth by which it was chosen among
                 others (RATE:ERROR, inf where training diverged, empty where it was not), hardware, seconds, command

A value is a mean over seeds; `se` is its standard error over test images, which all models share, and `seed_sd` the
standard deviation over seeds, empty for one seed.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from benchmarks.results import Record
from benchmarks.results.evidence import evidence
from benchmarks.study.differences import differences, means, probed
from benchmarks.study.found import Points, grouped, points_of, records_of
from benchmarks.study.register import Register, Run
from benchmarks.study.rows import ROWS, parameters, units
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

METRICS = {
    "table1": ("downstream", ("AP", "Pearson_r", "MSE")),
    "table2": ("reconstruction", ("SSIM", "PSNR", "MSE")),
    "table3": ("disentanglement", ("TAD", "ATTRS")),
}
SETTING = {"downstream": ("latent_dim",), "disentanglement": ("latent_dim",),
           "reconstruction": ("x_T", "sampler", "nfe", "encode_nfe")}  # fmt: skip
"""Columns that tell lines of a label apart: a code of several times (DRL) has its own PCA beside it."""
Line = dict[str, Any]
PRINTED = "%.6g"
"""How tables have numbers that are no whole ones."""


def write_tables(register: Register) -> dict[str, pandas.DataFrame]:
    """Write all tables of the registered runs, from rows about their data; name -> table.

    Raises:
        UserError: what a table has of a run has gone from the results files, or from the folder of scores beside them.
    """
    out, data, order = register.out, register.study["data"], [*ROWS]
    runs = sorted(register.runs().values(), key=lambda run: (order.index(run.row), run.seed))
    points = points_of(runs)
    found = {name: table_lines(name, points, out, data) for name in METRICS}
    rows = probed(points, out, data, METRICS["table1"][1], register.groups())  # of resamples that are still at hand
    found |= {"differences": differences(rows), "groups": means(rows), "curve": curve_lines(points, register)}
    scored = {row for of_metric in rows for row, _ in of_metric.of}
    labels = {run.of_row.label for run in runs}
    for name, lines in found.items():
        there = scored if name in ("differences", "groups") else {line["row"] for line in lines}
        before = _read(out / f"{name}.csv")
        _require_kept(out / f"{name}.csv", before, labels - there)
        _keep_errors(before, lines)
    found["training"] = [_training(run, register) for run in runs]
    tables = {name: pandas.DataFrame(lines) for name, lines in found.items() if lines}
    for name in found.keys() - tables.keys():  # one of other rows would stand beside the tables of these
        (out / f"{name}.csv").unlink(missing_ok=True)
    for name, table in tables.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format=PRINTED)
    return tables


def _require_kept(path: Path, before: Sequence[Line], without: set[str]) -> None:
    """Raises UserError if the lines of the table that is there are of rows that the new one is without."""
    if lost := sorted(without & {line["row"] for line in before}):
        raise UserError(
            f"{path}: expected measurements of {', '.join(lost)} in the results files of {path.parent} and the folders "
            "beside them, found none. Nothing was written. Put them back, or remove the table to do without."
        )


def _keep_errors(before: Sequence[Line], lines: Sequence[Line]) -> None:
    """Errors that the lines from before have of the same values, where what they were computed from is gone."""

    def key(line: Line) -> tuple[str, ...]:
        return tuple(_printed(line[name]) for name in names)

    names = [name for name in (lines[0] if lines else ()) if not name.endswith("se")]
    if not before or not set(names) <= before[0].keys():
        return
    known = {key(line): line for line in before}
    for line in lines:
        for name in [name for name, value in line.items() if name.endswith("se") and value is None]:
            if text := known.get(key(line), {}).get(name):
                line[name] = float(text)


def _printed(value: Any) -> str:
    missing = value is None or value != value
    return "" if missing else PRINTED % value if isinstance(value, float) else str(value)


def _read(path: Path) -> list[Line]:
    """The lines of a table, all cells as texts; none where there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_lines(name: str, points: Points, out: Path, data: str) -> list[Line]:
    """The lines of table1, table2 or table3."""
    task, metrics = METRICS[name]
    lines = []
    for (model, *setting), rows in grouped(records_of(out, task, metrics, data), points, SETTING[task]).items():
        line: Line = {"row": model, **dict(zip(SETTING[task], setting, strict=True))}
        for metric in metrics:
            line |= _cells(metric, [row for row in rows if row.metric == metric], out / f"{task}.csv")
        lines.append(line)
    return lines


def _cells(metric: str, rows: Sequence[Record], path: Path) -> Line:
    if not rows:
        return {metric: None, f"{metric}_se": None, f"{metric}_seed_sd": None}
    errors = [error for row in rows if (error := standard_error(row, path)) is not None]
    values = [row.value for row in rows]
    return {
        metric: statistics.fmean(values),
        f"{metric}_se": statistics.fmean(errors) if errors else None,
        f"{metric}_seed_sd": statistics.stdev(values) if len(values) > 1 else None,
    }


def standard_error(row: Record, path: Path) -> float | None:
    """Over test images, of a row of the results file `path`; None where what lies beside it does not tell."""
    known = evidence(row, path)
    if known.scores is not None:
        return float(np.nanmean(known.scores.drawn, axis=1).std(ddof=1))
    if known.images is not None:
        values = known.images.values
        return float(values.std(ddof=1) / np.sqrt(len(values)))
    return None if known.noise is None else known.noise.error


def curve_lines(points: Points, register: Register) -> list[Line]:
    """The lines of curve.csv."""
    lines = []
    for row in records_of(register.out, "downstream", ("AP", "Pearson_r"), register.study["data"]):
        if point := points.get(row.checkpoint_sha256):
            run = point.run
            done = run.of_row.spent(register.study["units"], point.images / run.images)
            about = {"row": run.of_row.label, "latent_dim": row.latent_dim, "seed": run.seed, "units": done}
            error = standard_error(row, register.out / "downstream.csv")
            lines.append(about | {"metric": row.metric, "value": row.value, "se": error})
    return lines


def _training(run: Run, register: Register) -> Line:
    row, preset = run.of_row, register.study["preset"]
    each = units(row, preset)
    return {
        "row": row.label,
        "seed": run.seed,
        "parameters": parameters(row, preset),
        "learning_rate": run.learning_rate,
        "errors": " ".join(f"{rate}:{error:.4g}" for rate, error in run.errors.items()),
        "images": run.images,
        "units_an_image": round(each, 4),
        "own_units": round(run.images * each),
        "units": register.study["units"],
        "frozen_network": row.builds_on and ("free" if row.free else "half of the units"),
        "hardware": run.hardware,
        "seconds": run.seconds,
        "command": run.command,
    }
