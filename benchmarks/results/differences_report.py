"""What a person reads after a comparison: tables of differences, what could not be compared, and what chance does."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.results.difference import LEVEL, Difference
from benchmarks.results.models import Model
from benchmarks.results.pair import Pairing, way_out
from benchmarks.results.record import Record, columns_of
from dbae.support import text
from dbae.support.files import atomic_path

_LISTED = 4
"""Kinds of rows that could not be compared which a line names."""


def format_comparison(
    before: str, after: str, differences: Sequence[Difference], pairing: Pairing, names: Mapping[Model, str]
) -> str:
    """A text table, one line a pair, and a line for each kind of row without one; `names` are those of all models.

    What is compared and what all pairs share stands above the table.
    """
    head = ["task", "data", "protocol", "model", "NFE", "metric", "before", "after", "difference [95 %]", ""]
    lines = [head, *(_line(d, names) for d in differences)]
    if all(line[3] == f"{before} : {after}" for line in lines[1:]):
        lines = [line[:3] + line[4:] for line in lines]
    notes = [_alone(f"only in {before}", pairing.only_before), _alone(f"only in {after}", pairing.only_after)]
    unclear = _alone("ambiguous: several of a model, no one with the same sampler and settings", pairing.ambiguous)
    notes.append("; ".join(filter(None, [unclear, way_out(pairing)])))
    if pairing.conflicts:
        first, some = pairing.conflicts[0], len(pairing.conflicts)
        notes += [f"{some} of them measured under other conditions, as {_number(first.before)}: {first.differ}"]
    keys = lines[0].index("metric")
    compared = f"before: {before}; after: {after}\n"
    table = compared + text.table(lines, keys) if differences else f"{after} against {before}: nothing to compare."
    return "\n".join([table, *filter(None, notes)])


def summary(differences: Sequence[Difference], tolerance: float | None, *, holm: bool) -> str:
    """How many numbers, regressions (with a tolerance) and verdicts, and how many of these chance would make."""
    worse = sum(d.regression for d in differences)
    regressions = "" if tolerance is None else f", {worse} worse by more than {tolerance:g} and the noise"
    judged = sum(d.judged for d in differences)
    about = f"{judged} with a verdict, {len(differences) - judged} without"
    chance = f"{(1 - LEVEL) * judged:.1f} verdicts of better or worse are expected by chance if nothing differs"
    if holm:
        chance = f"corrected by Holm: {1 - LEVEL:.0%} chance of any wrong verdict of better or worse"
    return f"{len(differences)} numbers compared{regressions}; {about}" + (f" ({chance})." if judged else ".")


COMPARED = ("before", "after", "difference", "low", "high", "verdict", "conditions", "p", "over")
"""Columns of a comparison's CSV, after those of results."""


def write_csv(path: Path, differences: Sequence[Difference]) -> None:
    """One line a pair: what both records share or where they differ, and the difference."""
    records = [r for d in differences for r in (d.pair.before, d.pair.after)]
    names = [n for n in columns_of(records) if n not in ("value", "stderr", "seconds", "peak_mib")]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *COMPARED])
        for d in differences:
            a, b = d.pair.before, d.pair.after
            shared = [_both(getattr(a, n), getattr(b, n)) for n in names]
            low, high, p = ("" if math.isnan(number) else number for number in (d.low, d.high, d.p))
            writer.writerow([*shared, a.value, b.value, d.value, low, high, d.verdict, d.pair.forced, p, d.over])


def _line(d: Difference, names: Mapping[Model, str]) -> list[str]:
    a, b = d.pair.before, d.pair.after
    model = " : ".join(dict.fromkeys(names[Model.of(r)] for r in (a, b)))
    split = "" if a.split in ("test", "all") else f" {a.split}"
    evaluations = "" if a.nfe_requested is None else str(a.nfe_requested)
    values = [f"{r.value:.4f}" + ("" if r.stderr is None else f" ± {r.stderr:.4f}") for r in (a, b)]
    return [a.task, a.dataset + split, a.protocol, model, evaluations, _metric(a), *values, d.text, d.verdict]


def _metric(record: Record) -> str:
    labels = "" if record.n_train is None else f"of {record.n_train} labels"
    attribute = "" if record.attribute == "mean" else record.attribute
    return " ".join(filter(None, [record.metric, attribute, labels, record.at]))


def _number(record: Record) -> str:
    about = [_metric(record), record.protocol, record.split, record.sampler, record.x_T]
    nfe = "" if record.nfe_requested is None else f"NFE {record.nfe_requested}"
    return " ".join(filter(None, [*about, nfe, record.seed and f"seed {record.seed}"]))


def _alone(why: str, rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    numbers = Counter(map(_number, rows))
    listed = [f"{name} ({count} times)" if count > 1 else name for name, count in [*numbers.items()][:_LISTED]]
    left = len(rows) - sum([*numbers.values()][:_LISTED])
    return f"{len(rows)} numbers {why}: {', '.join(listed)}{f' and {left} more' if left else ''}"


def _both(a: object, b: object) -> object:
    return a if a == b else f"{a} : {b}"
