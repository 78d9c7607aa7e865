r"""Reproduce a table of the paper: every row whose checkpoint and data are there, beside its published values.

With the authors' files under $DBAE_CHECKPOINTS/NAME/FILE (`python -m baselines.list`) and data under $DBAE_DATA/KIND
(`python -m dbae.data check celeba`):

    python -m benchmarks.reproduce table2

What would be done, what is missing and how to get it, and how long it takes:

    python -m benchmarks.reproduce table2 --checkpoints /models --images /data --dry-run

Your own checkpoint in the place of a published row:

    python -m benchmarks.reproduce table3 --row 'DBAE/+TC=runs/tc/checkpoints/images-100000000.safetensors'

Without checkpoints and data, the same code on the built-in model and drawn faces, into results/builtin/:

    python -m benchmarks.reproduce table1

Costs (tables 5 and 8) of the paper's networks, which need no checkpoint, instead of small ones:

    python -m benchmarks.reproduce table8 --full-size

What a step lacks is said before anything is measured, and a step that fails does not keep the others from their rows.

results/table2.csv has one line an answer to a published number: value, standard error, published value, difference, and
what tells it from the other answers (SSIM in three conventions, end_data as trained and as released, three protocols of
TAD: see docs/deviations.md). results/table2_measured.csv has the records behind it. A killed run continues where it
stopped.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from benchmarks.reproduce import plan
from benchmarks.reproduce.answers import format_answers, format_measured, write_answers, write_measured
from benchmarks.reproduce.plan import Missing, Plan
from benchmarks.reproduce.prepare import describe, measure, prepare, require_writable
from benchmarks.reproduce.tables import TABLES_BY_NUMBER, Table
from benchmarks.results import Record, beside
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.precision import Precision

Name = Literal["table1", "table2", "table3", "table4", "table5", "table8", "table9", "table10", "table11"]
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Options of the command."""

    table: Positional[Name]
    """The table to reproduce."""
    checkpoints: Path | None = None
    """Folder of published checkpoints; default: $DBAE_CHECKPOINTS."""
    images: Path | None = None
    """Folder of data sets; default: $DBAE_DATA."""
    row: tuple[str, ...] = ()
    """METHOD/VARIANT=FILE: a checkpoint for the published row of that method and variant (METHOD=FILE: all of them)."""
    prior: str | None = None
    """Prior over z for autoencoders without one of their own (tables 3, 4, 11): a file or a name."""
    out: Path | None = None
    """The results file; default: results/TABLE.csv, or results/builtin/TABLE.csv."""
    limit: int | None = None
    """Use only the first LIMIT images: a trial, whose numbers are no reproduction."""
    batch_size: int | None = None
    """Images at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Arithmetic of the networks."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1."""
    full_size: bool = False
    """Tables 5 and 8: the paper's networks with fresh weights, without checkpoints too; else those of built-in size."""
    dry_run: bool = False
    """Print the plan, with network evaluations and an estimate of the time; measure nothing."""


def main(options: ReproduceOptions) -> None:
    """Reproduce, or show the plan."""
    from baselines.load import load

    for variable, folder in (("DBAE_CHECKPOINTS", options.checkpoints), ("DBAE_DATA", options.images)):
        if folder is not None:
            os.environ[variable] = str(folder)
    table = TABLES_BY_NUMBER[options.table.removeprefix("table")]
    _require_both(table, options)
    found = planned(table, options)
    given = {name: getattr(options, name) for name in ("prior", "limit", "batch_size", "precision", "device")}
    metrics = {cell["metric"] for subject in found.subjects for cell in subject.cells}
    ready, missing = prepare(found, given, load, metrics, estimate=options.dry_run)
    _say(_missing([*found.missing, *missing]))
    if not ready:
        raise UserError(f"{options.table}: nothing to measure; what is missing stands above.")
    if options.dry_run:
        print(describe(ready))
        return
    out = options.out or Path("results" if found.is_published else "results/builtin", f"{options.table}.csv")
    require_writable(out.parent)
    records, failed = measure(ready, beside(out, "_measured.csv"), load)
    if distributed.is_main():
        report(table, found, records, out)
    if failed:
        raise UserError("\n".join([f"{len(failed)} of {len(ready)} steps failed, the others are in {out}:", *failed]))


def _require_both(table: Table, options: ReproduceOptions) -> None:
    """Checkpoints alone, or data alone, are no reason to measure built-in models on drawn faces."""
    missing = [name for name in ("DBAE_CHECKPOINTS", "DBAE_DATA") if name not in os.environ]
    named = options.checkpoints or options.images
    if named and missing and not options.row and not table.architectures:
        option = {"DBAE_CHECKPOINTS": "--checkpoints", "DBAE_DATA": "--images"}[missing[0]]
        raise UserError(
            f"{named}: expected a folder of checkpoints and one of data sets, found one of the two. Name the other "
            f"with {option} or ${missing[0]}, or neither, for built-in models on drawn faces."
        )


def planned(table: Table, options: ReproduceOptions) -> Plan:
    """Published checkpoints and data where they are named; else built-in models on drawn faces."""
    at_hand = bool(options.row) or ("DBAE_CHECKPOINTS" in os.environ and "DBAE_DATA" in os.environ)
    if table.architectures and (at_hand or options.full_size):
        return plan.architectures(table)
    return plan.published(table, options.row) if at_hand else plan.builtin(table)


def report(table: Table, found: Plan, records: list[Record], out: Path) -> None:
    """Write and print the answers to published numbers, or the records where there are none."""
    if found.is_published:
        answers = found.answers(table, records)
        write_answers(out, answers, table.incomparable)
        print(format_answers(answers, table.incomparable))
    else:
        write_measured(out, [r for r in records if r.attribute == "mean"])
        print(format_measured([r for r in records if r.attribute == "mean" and r.weights != "control"]))
    log.info("%s, %s", out, beside(out, "_measured.csv"))


def _missing(missing: Sequence[Missing]) -> str:
    return "\n".join(f"missing: {m.what}\n    needed for {m.needed_for}\n    {m.remedy}" for m in missing)


def _say(text: str) -> None:
    if text:
        log.warning("%s", text)


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.reproduce`; returns the exit status."""
    return cli.run(main, ReproduceOptions, module="benchmarks.reproduce", description=__doc__, arguments=arguments)
