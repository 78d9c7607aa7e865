"""What decides: the best of every table against what it has to beat, with the interval of the difference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from benchmarks.report.board import CONTROLS, Board, Column, Row, rank
from benchmarks.report.numbers import digits_in, written
from benchmarks.report.sources import ResultSet
from benchmarks.results import Record
from benchmarks.results.difference import Difference, difference
from benchmarks.results.pair import Pair, pair, without_single_seeds

_NO_RIVALS = ("random", "prevalence", "real", "factors")
"""Controls that are none: chance, and what nothing can be ahead of."""
_METRICS = 2
"""Of a table, how many metrics have a claim."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """`best` of a group against `other`: the best control, or the next best model where there is no control."""

    board: Board
    column: Column
    group: str
    best: Row
    other: Row
    difference: Difference

    def text(self, row: Row) -> str:
        """The number of one of the two."""
        return written(row.cells[self.column].number.value, self._digits(row))

    def _digits(self, row: Row) -> int:
        values = [r.cells[self.column].number.value for r in (self.best, self.other)]
        return digits_in(row.cells[self.column].number.value, values)

    @property
    def setting(self) -> str:
        """What sets the best row apart from others of its model."""
        about = self.best.settings
        told = [f"{about[name]} {name}" for name in ("images seen", "NFE") if about.get(name)]
        return ", ".join([*told, *(about[name] for name in ("sampler",) if about.get(name))])

    @property
    def lead(self) -> str:
        """The difference, in the metric's own direction, with its interval."""
        return told(self.difference, self._digits(self.other))

    @property
    def verdict(self) -> str:
        return verdict(self.difference)


def told(found: Difference, digits: int) -> str:
    """A difference with its interval: +0.041 [+0.034, +0.048]; with more digits where it takes them to see it."""
    if found.value and math.isfinite(found.value):
        digits = max(digits, min(6, -math.floor(math.log10(abs(found.value)))))
    ends = (
        "" if math.isnan(found.low) else ", ".join(written(end, digits, sign=True) for end in (found.low, found.high))
    )
    return written(found.value, digits, sign=True) + (f" [{ends}]" if ends else "")


def verdict(found: Difference) -> str:
    """Ahead, behind, within noise, equal, or no verdict where the noise is not known."""
    if found.value == 0:
        return "equal"
    if found.significant is None:
        return "no verdict"
    return "within noise" if not found.significant else "ahead" if found.gain > 0 else "behind"


def claims(boards: Sequence[Board]) -> Iterator[Claim]:
    """Of every group of models and the first metrics of its table; of protocols, of `standard` where there is one."""
    usual = {(b.task, b.dataset) for b in boards if b.protocol == "standard"}
    for board in boards:
        if board.protocol != "standard" and (board.task, board.dataset) in usual:
            continue
        groups = board.groups()
        rivals = [row for row in groups.pop(CONTROLS, []) if row.lead and row.model.model not in _NO_RIVALS]
        for column in [c for c in board.columns if c.lead][:_METRICS]:
            for group, rows in groups.items():
                found = [row for row in rows if row.lead and rank(row, column) < math.inf]
                best = next((row for row in found if row.cells[column].best), found[0] if found else None)
                others = [row for row in rivals if rank(row, column) < math.inf] or [
                    row for row in found if best is not None and row.model.model != best.model.model
                ]
                if best is not None and others:
                    other = min(others, key=lambda row: rank(row, column))
                    yield Claim(board, column, group, best, other, _between(best, other, column))


def _between(best: Row, other: Row, column: Column) -> Difference:
    a, b = other.cells[column].number, best.cells[column].number
    return difference(Pair(a.record, b.record), a.path, b.path, math.inf)


def changes(before: ResultSet, after: ResultSet) -> list[Difference]:
    """Every number of `after` that `before` has too, and what changed."""
    old, new = ({r: path for path, records in one.files.items() for r in _shown(records)} for one in (before, after))
    return [difference(p, old[p.before], new[p.after], math.inf) for p in pair([*old], [*new]).pairs]


def _shown(records: Sequence[Record]) -> list[Record]:
    return without_single_seeds([record for record in records if not record.diagnostic])
