r"""Compare results files: which numbers changed, by how much, and whether that is more than noise.

Two runs of the same benchmark:

    python -m benchmarks.compare results/utkface/downstream.csv runs/downstream.csv

Any number of files, each against the first; fail (status 1) if anything got worse by more than .005:

    python -m benchmarks.compare results/utkface/downstream.csv 'runs/*/downstream.csv' --tolerance 0.005

The models within one file, each against one of them:

    python -m benchmarks.compare results/utkface/downstream.csv --baseline untrained

Numbers are joined on what makes them comparable: task, protocol, data, split, metric, n, evaluations, seed
(`benchmarks/results/pair.py`). Files that differ in protocol, n, version of the task or the data itself are refused
(status 2) unless --force. A difference has a 95 % interval by paired bootstrap where values of single attributes
(NAME_attributes.csv) or images (NAME_images/) lie beside both files; else the two standard errors judge it, if there
are any. Worse beyond --tolerance counts as a regression unless the interval, or two standard errors, hold zero.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from benchmarks.results import text
from benchmarks.results.difference import Difference, difference
from benchmarks.results.pair import Pairing, pair, without_single_seeds
from benchmarks.results.record import Record, RecordFile
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.files import atomic_path


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    files: Positional[tuple[str, ...]]
    """Results files or globs; the first is what the others are compared with."""
    baseline: str = ""
    """With one file: the model that its other models are compared with; default: its first."""
    tolerance: float = 0.0
    """How much worse a number may be, in its own unit."""
    force: bool = False
    """Compare across protocols, n, task versions and data too; such lines are marked."""
    out: Path | None = None
    """Write the comparison as CSV too."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the things compared: records with the file they come from."""

    label: str
    path: Path
    records: list[Record]


def main(options: Options) -> None:
    """Compare, print, and end with status 1 if there is a regression."""
    files = _files(options)
    one_file = len(files) == 1
    sides = _models(files[0], options.baseline) if one_file else files
    tolerance = math.inf if one_file else options.tolerance  # a model that is worse than another is no regression
    found: list[Difference] = []
    for side in sides[1:]:
        pairing = pair(sides[0].records, side.records, force=options.force, anybody=one_file)
        _require_comparable(pairing, sides[0], side, one_file)
        differences = [difference(p, sides[0].path, side.path, tolerance) for p in pairing.pairs]
        print(_report(sides[0], side, differences, pairing), end="\n\n")
        found += differences
    if options.out:
        _write(options.out, found)
    worse = [d for d in found if d.regression]
    judged = "" if one_file else f", {len(worse)} worse by more than {tolerance:g} and the noise"
    print(f"{len(found)} numbers compared{judged}.")
    if worse:
        sys.exit(1)


def _files(options: Options) -> list[Side]:
    paths = [Path(name) for pattern in options.files for name in sorted(glob.glob(pattern)) or [pattern]]
    if not paths:
        raise UserError("expected results files, found none; name two CSV files, e.g. runs/a.csv runs/b.csv.")
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such results file.")
    if options.baseline and len(paths) > 1:
        raise UserError(f"--baseline {options.baseline}: only for the models of one file, found {len(paths)} files.")
    return [Side(str(path), path, _results(path)) for path in paths]


def _results(path: Path) -> list[Record]:
    return without_single_seeds([record for record in RecordFile(path).read() if not record.diagnostic])


def _models(file: Side, baseline: str) -> list[Side]:
    """The models of one file as sides, the baseline first."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in file.records:
        groups[record.model, record.train_data if record.weights == "trained" else ""].append(record)
    order = sorted(groups, key=lambda name: baseline != name[0]) if baseline else list(groups)
    if len(order) < 2 or (baseline and order[0][0] != baseline):
        raise UserError(
            f"{file.path}: expected two or more models{f', {baseline} among them' if baseline else ''}, found "
            f"{', '.join(sorted({name for name, _ in order})) or 'none'}. Name a second file, or another --baseline."
        )
    return [Side(", ".join(filter(None, name)), file.path, groups[name]) for name in order]


def _require_comparable(pairing: Pairing, before: Side, after: Side, one_file: bool) -> None:
    if pairing.conflicts:
        first = pairing.conflicts[0]
        raise UserError(
            f"{after.label} cannot be compared with {before.label}: {len(pairing.conflicts)} numbers were measured "
            f"under other conditions, e.g. {first.before.metric} of {first.before.dataset} ({first.differ}). Measure "
            "both alike, or add --force to compare them all the same."
        )
    if not pairing.pairs and not one_file:
        raise UserError(
            f"{after.label} has no number that {before.label} has too: they are about {_about(after)} and "
            f"{_about(before)}. Name files of one benchmark on one data set."
        )


def _about(side: Side) -> str:
    return ", ".join(sorted({f"{r.task} on {r.dataset}" for r in side.records})) or "nothing"


def _report(before: Side, after: Side, differences: Sequence[Difference], pairing: Pairing) -> str:
    head = ["task", "data", "protocol", "model", "metric", "NFE", before.label, after.label, "difference [95 %]", ""]
    lines = [head, *(_line(d) for d in differences)]
    notes = [
        f"{len(rows)} numbers only in {side.label}"
        for side, rows in ((before, pairing.only_before), (after, pairing.only_after))
        if rows
    ]
    return "\n".join([text.columns(lines), *notes])


def _line(d: Difference) -> list[str]:
    a, b = d.pair.before, d.pair.after
    model = a.model if a.model == b.model else f"{a.model} : {b.model}"
    metric = a.metric if a.attribute == "mean" else f"{a.metric} {a.attribute}"
    split = "" if a.split in ("test", "all") else f" {a.split}"
    evaluations = "" if a.nfe_requested is None else str(a.nfe_requested)
    values = [f"{r.value:.4f}" + ("" if r.stderr is None else f" ± {r.stderr:.4f}") for r in (a, b)]
    return [a.task, a.dataset + split, a.protocol, model, metric, evaluations, *values, d.text, d.verdict]


def _write(path: Path, differences: Sequence[Difference]) -> None:
    """One line a pair: what both records share or where they differ, and the difference."""
    names = [n for n in Record.__dataclass_fields__ if n not in ("value", "stderr", "seconds", "peak_mib")]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, "before", "after", "difference", "low", "high", "verdict", "conditions"])
        for d in differences:
            a, b = d.pair.before, d.pair.after
            shared = [_both(getattr(a, n), getattr(b, n)) for n in names]
            writer.writerow([*shared, a.value, b.value, d.value, d.low, d.high, d.verdict, d.pair.forced])


def _both(a: object, b: object) -> object:
    return a if a == b else f"{a} : {b}"


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="benchmarks.compare", description=__doc__))
