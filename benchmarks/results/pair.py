"""Which numbers of two results files answer the same question.

The columns of a record fall into three groups:

    question    task, protocol, data, metric, n, evaluations, labels, times of z, seed: must be equal, or the numbers
                cannot be compared
    manner      sampler and its options, x_T, how z was drawn, precision: equal where both files have such a row
    subject     model and weights: what a comparison is about

Rows are paired from the strictest agreement to the loosest: the same weights, the same training, the same name, then
any trained model (any untrained one, any control, with a z as long); each time in the same manner first, then in
another, last with a row that depends on no seed (prevalence). A pair is made only where one row on either side
qualifies: nothing is guessed. What stays alone is reported: `Conflict` where both sides have it but differ in the
question by protocol, n, version of the task or the data itself; `ambiguous` where both sides have it, and more than
once; else `only`.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.results.record import Record, cell_text

_ASKED = ("task", "dataset", "split", "attribute", "metric", "nfe_requested", "n_train", "at")
_SEEDED = (*_ASKED, "seed")
_CONDITIONS = ("protocol", "task_version", "n", "data_sha256")
_MANNER = ("sampler", "grid", "churn", "eta", "boot_noise", "end_data", "x_T", "encode_nfe", "nfe", "z", "precision")
_SUBJECTS = (
    ("model", "method", "variant", "train_data", "latent_dim", "weights", "checkpoint_sha256"),
    ("model", "method", "variant", "train_data", "latent_dim", "weights"),
    ("model", "train_data", "weights"),
    ("model", "weights"),
    ("weights",),
)
_CHOICES = ("x_T", "sampler", "z", *_MANNER, "model", "variant", "train_data", "latent_dim", "checkpoint_sha256")
"""What may tell rows of one question apart, in the order in which a person is asked to choose."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two numbers that can be compared; `forced` names what differs where they should not be."""

    before: Record
    after: Record
    forced: str = ""


@dataclasses.dataclass(frozen=True)
class Conflict:
    """Two numbers that would be compared if their conditions agreed; `differ` says where they do not."""

    before: Record
    after: Record
    differ: str


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Pairs in the order of the first file; rows without a partner; conflicts among those.

    `ambiguous_...` are rows that share their question with several of the other side, or of their own; they are not in
    `only_...`.
    """

    pairs: list[Pair]
    only_before: list[Record]
    only_after: list[Record]
    conflicts: list[Conflict]
    ambiguous_before: list[Record]
    ambiguous_after: list[Record]

    @property
    def ambiguous(self) -> list[Record]:
        """Those of both sides."""
        return [*self.ambiguous_before, *self.ambiguous_after]


def pair(before: Sequence[Record], after: Sequence[Record], *, force: bool = False, anybody: bool = False) -> Pairing:
    """Pair the rows of two files.

    Args:
        force: pair rows in conflict too.
        anybody: pair trained models with untrained ones and controls, too.
    """
    subjects = (*_SUBJECTS, ()) if anybody else _SUBJECTS
    left, right = list(dict.fromkeys(before)), list(dict.fromkeys(after))
    found = _matches(left, right, subjects, _SEEDED + _CONDITIONS)
    left, right = _rest(left, found), _rest(right, found.values())
    found |= _seedless_matches(left, right, subjects)
    left, right = _rest(left, found), _rest(right, found.values())
    near = _matches(left, right, subjects, _SEEDED)
    pairs = [Pair(a, found[a]) for a in before if a in found]
    if force:
        pairs += [Pair(a, b, forced=_differences(a, b)) for a, b in near.items()]
        left, right = _rest(left, near), _rest(right, near.values())
        near = {}
    same = {*map(_question, left)} & {*map(_question, right)}
    unclear = [[r for r in side if _question(r) in same] for side in (left, right)]
    conflicts = [Conflict(a, b, _differences(a, b)) for a, b in near.items()]
    return Pairing(pairs, _rest(left, unclear[0]), _rest(right, unclear[1]), conflicts, *unclear)


def way_out(pairing: Pairing) -> str:
    """In what the ambiguous rows of a side differ, and a --where that leaves one of either; "" where nothing does.

    "they differ in x_T (decoded : inferred, random); name one of each: --where x_T=decoded x_T=inferred"
    """
    sides = pairing.ambiguous_before, pairing.ambiguous_after
    columns: list[str] = []
    for name in _CHOICES:
        if any(_differ(side, name, columns) for side in sides):
            columns.append(name)
    asked = defaultdict(list)
    for row in sides[1]:
        asked[_question(row)].append(row)
    partners = [(a, b) for a in sides[0] for b in asked[_question(a)]]
    if not columns or not partners:
        return ""
    found = {name: [dict.fromkeys(cell_text(getattr(r, name)) for r in side) for side in sides] for name in columns}
    told = [f"{name} ({' : '.join(', '.join(t or 'none' for t in side) for side in s)})" for name, s in found.items()]
    a, b = max(partners, key=lambda rows: sum(getattr(rows[0], n) == getattr(rows[1], n) for n in columns))
    wanted = dict.fromkeys(f"{name}={cell_text(getattr(row, name))}" for name in columns for row in (a, b))
    return f"they differ in {', '.join(told)}; name one of each: --where {shlex.join(wanted)}"


def _differ(rows: Sequence[Record], name: str, columns: Sequence[str]) -> bool:
    """Whether rows of one question that agree in `columns` differ in the column `name`."""
    cells: dict[tuple[object, ...], set[object]] = defaultdict(set)
    for row in rows:
        cells[(_question(row), *(getattr(row, column) for column in columns))].add(getattr(row, name))
    return any(len(some) > 1 for some in cells.values())


def without_single_seeds(records: Sequence[Record]) -> list[Record]:
    """Leaves out single seeds where the file has their mean."""
    means = {_but_seed(r) for r in records if r.seed.startswith("mean of")}
    return [r for r in records if r.seed.startswith("mean of") or _but_seed(r) not in means]


def _but_seed(record: Record) -> tuple[object, ...]:
    return dataclasses.replace(record, seed="").identity


def _rest(rows: Iterable[Record], taken: Iterable[Record]) -> list[Record]:
    gone = set(taken)
    return [row for row in rows if row not in gone]


def _matches(
    left: Sequence[Record], right: Sequence[Record], subjects: Sequence[Sequence[str]], asked: Sequence[str]
) -> dict[Record, Record]:
    """Pairs that agree in `asked`, from the strictest agreement in subject and manner to the loosest."""
    found: dict[Record, Record] = {}
    for subject in subjects:
        for manner in (_MANNER, ()):
            rows = _rest(left, found), _rest(right, found.values())
            found |= _unique_matches(*rows, (*asked, *manner, *subject))
    return found


def _seedless_matches(
    left: Sequence[Record], right: Sequence[Record], subjects: Sequence[Sequence[str]]
) -> dict[Record, Record]:
    """Pairs of which one row has no seed, as what is known without any."""
    found: dict[Record, Record] = {}
    for seeded in (True, False):
        rows = [r for r in left if bool(r.seed) is seeded], [r for r in right if bool(r.seed) is not seeded]
        found |= _matches(*rows, subjects, _ASKED + _CONDITIONS)
    return found


def _unique_matches(left: Iterable[Record], right: Iterable[Record], columns: Sequence[str]) -> dict[Record, Record]:
    """Rows that agree in `columns`, where one row on either side does."""
    groups: dict[tuple[object, ...], tuple[list[Record], list[Record]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((left, right)):
        for row in rows:
            groups[_key(row, columns)][side].append(row)
    return {a[0]: b[0] for a, b in groups.values() if len(a) == len(b) == 1}


def _question(row: Record) -> tuple[object, ...]:
    return _key(row, _SEEDED + _CONDITIONS)


def _key(row: Record, columns: Sequence[str]) -> tuple[object, ...]:
    """Where it is about what is no trained model, the length of z is part of it: PCA of 8 numbers is not that of 48."""
    length = (row.latent_dim,) if "weights" in columns and row.weights != "trained" else ()
    return (*(getattr(row, name) for name in columns), *length)


def _differences(a: Record, b: Record) -> str:
    return ", ".join(
        f"{name} {_short(getattr(a, name))} and {_short(getattr(b, name))}"
        for name in _CONDITIONS
        if getattr(a, name) != getattr(b, name)
    )


def _short(cell: object) -> str:
    return str(cell)[:12]
