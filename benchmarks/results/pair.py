"""Which numbers of two results files answer the same question.

The columns of a record fall into three groups:

    question    task, protocol, data, metric, n, evaluations, seed: must be equal, or the numbers cannot be compared
    manner      sampler and its options, x_T, how z was drawn, precision: equal where both files have such a row
    subject     model and weights: what a comparison is about

Rows are paired from the strictest agreement to the loosest: the same weights, the same training, the same name, then
any trained model (any untrained one, any control); each time in the same manner first. A pair is made only where one
row on either side qualifies: nothing is guessed. What stays alone on both sides and differs in the question by
protocol, n, version of the task or the data itself is a `Conflict`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.results.record import Record

_ASKED = ("task", "dataset", "split", "attribute", "metric", "nfe_requested", "seed")
_CONDITIONS = ("protocol", "task_version", "n", "data_sha256")
_MANNER = ("sampler", "grid", "churn", "eta", "boot_noise", "end_data", "x_T", "encode_nfe", "nfe", "z", "precision")
_SUBJECTS = (
    ("model", "method", "variant", "train_data", "latent_dim", "weights", "checkpoint_sha256"),
    ("model", "train_data", "weights"),
    ("model", "weights"),
    ("weights",),
)


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
    """Pairs in the order of the first file; rows without a partner; conflicts among those."""

    pairs: list[Pair]
    only_before: list[Record]
    only_after: list[Record]
    conflicts: list[Conflict]


def pair(before: Sequence[Record], after: Sequence[Record], *, force: bool = False, anybody: bool = False) -> Pairing:
    """Pair the rows of two files.

    Args:
        force: pair rows in conflict too.
        anybody: pair trained models with untrained ones and controls, too.
    """
    subjects = (*_SUBJECTS, ()) if anybody else _SUBJECTS
    found: dict[Record, Record] = {}
    left, right = list(dict.fromkeys(before)), list(dict.fromkeys(after))
    for subject in subjects:
        for manner in (_MANNER, ()):
            found |= _unique_matches(left, right, _ASKED + _CONDITIONS + manner + subject)
            left, right = _rest(left, found), _rest(right, found.values())
    near: dict[Record, Record] = {}
    for subject in subjects:
        for manner in (_MANNER, ()):
            near |= _unique_matches(_rest(left, near), _rest(right, near.values()), _ASKED + manner + subject)
    pairs = [Pair(a, found[a]) for a in before if a in found]
    if force:
        pairs += [Pair(a, b, forced=_differences(a, b)) for a, b in near.items()]
        left, right = _rest(left, near), _rest(right, near.values())
        near = {}
    return Pairing(pairs, left, right, [Conflict(a, b, _differences(a, b)) for a, b in near.items()])


def without_single_seeds(records: Sequence[Record]) -> list[Record]:
    """Leaves out single seeds where the file has their mean."""
    means = {_but_seed(r) for r in records if r.seed.startswith("mean of")}
    return [r for r in records if r.seed.startswith("mean of") or _but_seed(r) not in means]


def _but_seed(record: Record) -> tuple[object, ...]:
    return dataclasses.replace(record, seed="").identity


def _rest(rows: Iterable[Record], taken: Iterable[Record]) -> list[Record]:
    gone = set(taken)
    return [row for row in rows if row not in gone]


def _unique_matches(left: Iterable[Record], right: Iterable[Record], columns: Sequence[str]) -> dict[Record, Record]:
    """Rows that agree in `columns`, where one row on either side does."""
    groups: dict[tuple[object, ...], tuple[list[Record], list[Record]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((left, right)):
        for row in rows:
            groups[tuple(getattr(row, name) for name in columns)][side].append(row)
    return {a[0]: b[0] for a, b in groups.values() if len(a) == len(b) == 1}


def _differences(a: Record, b: Record) -> str:
    return ", ".join(
        f"{name} {_short(getattr(a, name))} and {_short(getattr(b, name))}"
        for name in _CONDITIONS
        if getattr(a, name) != getattr(b, name)
    )


def _short(cell: object) -> str:
    return str(cell)[:12]
