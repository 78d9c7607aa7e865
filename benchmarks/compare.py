r"""Compare results files: which numbers changed, by how much, and whether that is more than noise.

Two runs of the same benchmark:

    python -m benchmarks.compare results/utkface/downstream.csv runs/downstream.csv

Any number of files, each against the first; fail (status 1) if anything got worse by more than .005:

    python -m benchmarks.compare results/utkface/downstream.csv 'runs/*/downstream.csv' --tolerance 0.005

The models within one file, each against one of them, or each against its own untrained encoder:

    python -m benchmarks.compare results/utkface/downstream.csv --baseline pca
    python -m benchmarks.compare results/utkface/downstream.csv --baseline untrained

One model, some numbers:

    python -m benchmarks.compare results/utkface/downstream.csv --baseline pca --models 200000 --where metric=AP

Numbers are joined on what makes them comparable: task, protocol, data, split, metric, n, evaluations, seed
(`benchmarks/results/pair.py`). Files that differ in protocol, n or the data itself are refused (status 2), as are
numbers of different versions of a task, unless --force. What could not be compared is listed; of what is ambiguous,
also the --where that tells it apart.

A difference has a 95 % interval, paired between the two models, and a verdict where what lies beside the files tells
what other images would give (`benchmarks/results/difference.py`, docs/intervals.md); else there is "no verdict", and
no regression. --resample attributes asks what other attributes of the same images would give instead. Of many verdicts
some are wrong by chance; how many is said, and --holm corrects for it.
"""

from __future__ import annotations

import dataclasses
import glob
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from benchmarks.metrics.bootstrap import holm
from benchmarks.results import Record, RecordFile
from benchmarks.results.difference import LEVEL, Difference, Resample, difference
from benchmarks.results.differences_report import format_comparison, summary, write_csv
from benchmarks.results.evidence import forget
from benchmarks.results.models import Model, counterparts, find, names_of
from benchmarks.results.pair import Pairing, pair, way_out, without_single_seeds
from benchmarks.results.recordfile import is_results
from benchmarks.results.where import Where
from dbae.support import cli
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    files: Positional[tuple[str, ...]]
    """Results files or globs; the first is what the others are compared with."""
    baseline: str = ""
    """With one file: the model that its other models are compared with, by its whole name, in any case, else by words
    of it (method, training data, first digits of the hash); default: its first. Several, as untrained: each model with
    that of its own method."""
    models: tuple[str, ...] = ()
    """With one file: the models to compare with the baseline, named like it; default: all."""
    where: tuple[str, ...] = ()
    """Compare only rows with these cells: metric=AP protocol=standard. Of a column named twice either cell will do."""
    resample: Resample = "images"
    """What an interval is about: other test images, other attributes, or both."""
    holm: bool = False
    """Correct the verdicts for their number (Holm); intervals stay as they are."""
    tolerance: float = 0.0
    """How much worse a number may be, in its own unit."""
    force: bool = False
    """Compare across protocols, n, task versions and data too; such lines are marked."""
    out: Path | None = None
    """Write the comparison as CSV too."""

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise UserError(f"--tolerance: expected 0 or more, found {self.tolerance:g}; change --tolerance.")


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the things compared: records with the file they come from."""

    label: str
    path: Path
    records: list[Record]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two sides, and what came of it."""

    before: Side
    after: Side
    pairing: Pairing
    differences: list[Difference]


def main(options: Options) -> None:
    """Compare, print, and end with status 1 if there is a regression."""
    forget()
    files = _files(options)
    _require_one_version(files, options)
    one_file = len(files) == 1
    sides = _models(files[0], options) if one_file else [(files[0], side) for side in files[1:]]
    tolerance = math.inf if one_file else options.tolerance  # a model that is worse than another is no regression
    found = [_compare(before, after, tolerance, options, one_file=one_file) for before, after in sides]
    if options.holm:
        found = _corrected(found)
    names = names_of(record for side in files for record in side.records)
    for one in found:
        print(format_comparison(one.before.label, one.after.label, one.differences, one.pairing, names), end="\n\n")
    differences = [d for one in found for d in one.differences]
    if options.out:
        write_csv(options.out, differences)
    print(summary(differences, None if one_file else tolerance, holm=options.holm))
    if any(d.regression for d in differences):
        sys.exit(1)
    compared = any(d.pair.before.weights == "trained" for d in differences)
    if not one_file and not compared and any(one.pairing.ambiguous for one in found):
        ways = [f"; {way}." for one in found if (way := way_out(one.pairing))]
        other = ". Name files of one model each, or compare the models of one file with --baseline."
        raise UserError(
            f"no model was compared: a file has several, none of which the other has{ways[0] if ways else other}"
        )


def _compare(before: Side, after: Side, tolerance: float, options: Options, *, one_file: bool) -> Comparison:
    pairing = pair(before.records, after.records, force=options.force, anybody=one_file)
    if not one_file:
        _require_comparable(pairing, before, after)
    judged = [difference(p, before.path, after.path, tolerance, resample=options.resample) for p in pairing.pairs]
    return Comparison(before, after, pairing, judged)


def _files(options: Options) -> list[Side]:
    paths = [Path(name) for pattern in options.files for name in sorted(glob.glob(pattern)) or [pattern]]
    if not paths:
        raise UserError("expected results files, found none; name two CSV files, e.g. runs/a.csv runs/b.csv.")
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such results file.")
    if len(paths) > 1 and (options.baseline or options.models):
        option = "--baseline" if options.baseline else "--models"
        raise UserError(f"{option}: only for the models of one file, found {len(paths)} files.")
    if options.out and is_results(options.out):
        raise UserError(f"--out {options.out}: expected a new file, found results, which are kept. Name another file.")
    where = Where(options.where)
    sides = [Side(str(path), path, where.of(_results(path))) for path in paths]
    for side in sides:
        where.require(side.records, side.label)
    return sides


def _results(path: Path) -> list[Record]:
    return without_single_seeds([record for record in RecordFile(path).read() if not record.diagnostic])


def _require_one_version(files: Sequence[Side], options: Options) -> None:
    """Numbers of two versions of a task's protocol mean different things, in one file or in two."""
    versions: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for side in files:
        for record in side.records:
            versions[record.task, record.protocol].setdefault(record.task_version, side.label)
    for (task, protocol), found in versions.items():
        if len(found) > 1 and not options.force:
            listed = ", ".join(f"{version} in {label}" for version, label in sorted(found.items()))
            raise UserError(
                f"{task}, protocol {protocol}: expected numbers of one task_version, found {listed}. They mean "
                "different things: measure the older ones again, name those wanted with --where task_version=..., or "
                "add --force to compare them all the same."
            )


def _models(file: Side, options: Options) -> list[tuple[Side, Side]]:
    """The models of one file as sides: every one that was asked for, with its baselines."""
    names = names_of(file.records)
    listed = ", ".join(names.values()) or "none"
    baselines = find(options.baseline, names) if options.baseline else list(names)[:1]
    if not baselines or len(names) < 2:
        among = f", {options.baseline} among them" if options.baseline else ""
        raise UserError(
            f"{file.path}: expected two or more models{among}, found {listed}. "
            "Name a second file, or another --baseline."
        )
    wanted = {model for text in options.models for model in _found(text, names, file, listed)}
    others = [model for model in names if model not in baselines and (model in wanted or not options.models)]

    def side(model: Model) -> Side:
        return Side(names[model], file.path, [r for r in file.records if Model.of(r) == model])

    return [(side(baseline), side(model)) for model in others for baseline in counterparts(model, baselines)]


def _found(text: str, names: dict[Model, str], file: Side, listed: str) -> list[Model]:
    if not (found := find(text, names)):
        raise UserError(f"{file.path}: expected a model {text}, found {listed}. Name another with --models.")
    return found


def _require_comparable(pairing: Pairing, before: Side, after: Side) -> None:
    if pairing.conflicts:
        first = pairing.conflicts[0]
        raise UserError(
            f"{after.label} cannot be compared with {before.label}: {len(pairing.conflicts)} numbers were measured "
            f"under other conditions, e.g. {first.before.metric} of {first.before.dataset} ({first.differ}). Measure "
            "both alike, or add --force to compare them all the same."
        )
    if not pairing.pairs and (way := way_out(pairing)):
        raise UserError(
            f"{after.label} cannot be compared with {before.label}: there are several of a number, and which belong "
            f"together is not known; {way}."
        )
    if not pairing.pairs and _about(after) == _about(before):
        apart = _apart(pairing.only_before, pairing.only_after) or "several of a model or setting each"
        raise UserError(
            f"{after.label} has no number that {before.label} has too. Both are about {_about(after)}, and differ in: "
            f"{apart}. Measure both with the same options."
        )
    if not pairing.pairs:
        raise UserError(
            f"{after.label} has no number that {before.label} has too: they are about {_about(after)} and "
            f"{_about(before)}. Name files of one benchmark on one data set."
        )


def _apart(before: Sequence[Record], after: Sequence[Record]) -> str:
    """The columns in which no row of one side is like any of the other, with what they have: seed (0 : mean of 0 1)."""
    found = []
    for name in (
        "protocol",
        "split",
        "metric",
        "seed",
        "nfe_requested",
        "sampler",
        "x_T",
        "n",
        "n_train",
        "z",
        "model",
    ):
        a, b = (dict.fromkeys(str(getattr(row, name)) for row in rows) for rows in (before, after))
        if a and b and not a.keys() & b.keys():
            found.append(f"{name} ({', '.join(a)} : {', '.join(b)})")
    return ", ".join(found)


def _about(side: Side) -> str:
    return ", ".join(sorted({f"{r.task} on {r.dataset}" for r in side.records})) or "nothing"


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """Verdicts that stand when all of them are looked at."""
    p = np.array([d.p for one in found for d in one.differences if d.judged])
    stands = iter(holm(p, level=LEVEL).tolist())
    return [
        dataclasses.replace(one, differences=[d.corrected(next(stands)) if d.judged else d for d in one.differences])
        for one in found
    ]


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="benchmarks.compare", description=__doc__))
