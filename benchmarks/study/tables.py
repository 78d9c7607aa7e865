"""The study's tables, from its records and the folders of its runs.

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

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from benchmarks.results import Record
from benchmarks.results.evidence import evidence
from benchmarks.study.differences import Groups, differences, means, probed
from benchmarks.study.found import Points, grouped, points_of, records_of
from benchmarks.study.plan import Training
from benchmarks.study.rows import parameters, units
from dbae.checkpoints.own import read
from dbae.data import parse_source
from dbae.support.files import atomic_path
from dbae.training.folder import read_log

METRICS = {
    "table1": ("downstream", ("AP", "Pearson_r", "MSE")),
    "table2": ("reconstruction", ("SSIM", "PSNR", "MSE")),
    "table3": ("disentanglement", ("TAD", "ATTRS")),
}
SETTING = {"downstream": ("latent_dim",), "disentanglement": ("latent_dim",),
           "reconstruction": ("x_T", "sampler", "nfe", "encode_nfe")}  # fmt: skip
"""Columns that tell lines of a label apart: a code of several times (DRL) has its own PCA beside it."""
Line = dict[str, Any]


def write_tables(trainings: Sequence[Training], out: Path, data: str, groups: Groups) -> dict[str, pandas.DataFrame]:
    """Write all tables of complete trainings, from rows about the data of this fingerprint; name -> table.

    Means over `groups` of attributes have lines of their own.
    """
    points = points_of(trainings)
    found: dict[str, list[Line]] = {"table1": _table("table1", points, out, data)}
    rows = probed(points, out, data, METRICS["table1"][1], groups)  # of resamples that are still at hand
    found |= {"differences": differences(rows), "groups": means(rows)}
    found |= {name: _table(name, points, out, data) for name in METRICS if name not in found}
    found["curve"] = _curve(points, out, data)
    found["training"] = [_training(training) for training in trainings]
    tables = {name: pandas.DataFrame(lines) for name, lines in found.items() if lines}
    for name in found.keys() - tables.keys():  # one of other rows would stand beside the tables of these
        (out / f"{name}.csv").unlink(missing_ok=True)
    for name, table in tables.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    return tables


def _table(name: str, points: Points, out: Path, data: str) -> list[Line]:
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


def _curve(points: Points, out: Path, data: str) -> list[Line]:
    lines = []
    for row in records_of(out, "downstream", ("AP", "Pearson_r"), data):
        if point := points.get(row.checkpoint_sha256):
            training = point.training
            done = training.units_after(point.images)
            about = {"row": training.row.label, "latent_dim": row.latent_dim, "seed": training.seed, "units": done}
            value = {"metric": row.metric, "value": row.value, "se": standard_error(row, out / "downstream.csv")}
            lines.append(about | value)
    return lines


def _training(training: Training) -> Line:
    each = units(training.row, training.scale.preset)
    logged = read_log(training.folder.log_file)
    images = max(logged["images"], default=0)  # the last steps of a run of an earlier version have no row
    return {
        "row": training.row.label,
        "seed": training.seed,
        "parameters": parameters(training.row, training.scale.preset),
        "learning_rate": training.rate,
        "errors": " ".join(f"{rate}:{error:.4g}" for rate, error in training.errors().items()),
        "images": training.images,
        "units_an_image": round(each, 4),
        "own_units": round(training.images * each),
        "units": training.scale.units,
        "frozen_network": training.row.builds_on and ("free" if training.row.free else "half of the units"),
        "hardware": read(training.checkpoint())[0].versions.get("hardware", ""),
        "seconds": round(sum(logged["seconds"]) / images * training.images) if images else None,
        "command": _portable(training),
    }


def _portable(training: Training) -> str:
    """The command with the names of data and folders that it has on any machine."""
    runs, pretrained = Path("RUNS"), training.pretrained
    pretrained = pretrained and runs / pretrained.relative_to(training.runs)
    data = parse_source(training.data).portable
    told = dataclasses.replace(training, data=data, runs=runs, pretrained=pretrained)
    return " ".join(["python", *told.command(training.images)])
