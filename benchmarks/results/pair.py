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
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.results.record import Record

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

    `ambiguous` are rows of either side that share their question with several; they are not in `only_...`.
    """

    pairs: list[Pair]
    only_before: list[Record]
    only_after: list[Record]
    conflicts: list[Conflict]
    ambiguous: list[Record]


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
    same = {_key(r, _SEEDED + _CONDITIONS) for r in left} & {_key(r, _SEEDED + _CONDITIONS) for r in right}
    unclear = [r for r in (*left, *right) if _key(r, _SEEDED + _CONDITIONS) in same]
    conflicts = [Conflict(a, b, _differences(a, b)) for a, b in near.items()]
    return Pairing(pairs, _rest(left, unclear), _rest(right, unclear), conflicts, unclear)


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
