"""Which numbers of a table are marked: the best of a group, and what no test tells from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from benchmarks.report.board import CONTROLS, Cell, Column, Row, rank
from benchmarks.report.numbers import Number
from benchmarks.results.difference import difference
from benchmarks.results.pair import Pair


def marked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows with the best lead one of each group marked in every column, where there are several to choose from.

    Controls are not marked, however good they are.
    """
    cells = [dict(row.cells) for row in rows]
    for column in columns:
        for group in dict.fromkeys(row.group for row in rows if row.group != CONTROLS):
            same = [i for i, row in enumerate(rows) if row.group == group and row.lead and rank(row, column) < math.inf]
            best = min(same, key=lambda i, c=column: rank(rows[i], c), default=0)  # type: ignore[misc]
            if len(same) > 1:
                for i, cell in _compared(same, best, cells, column):
                    cells[i][column] = cell
    return [dataclasses.replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]


def _compared(
    same: Sequence[int], best: int, cells: Sequence[dict[Column, Cell]], column: Column
) -> Iterator[tuple[int, Cell]]:
    first = cells[best][column].number
    for i in same:
        number = cells[i][column].number
        equal = number.value == first.value
        yield i, Cell(number, best=equal, tied=not equal and _undecided(first, number))


def _undecided(best: Number, other: Number) -> bool:
    """Whether a test finds no difference. Intervals that do not overlap need none: paired, it would be narrower."""
    a, b = best.spread, other.spread
    if a.known and b.known and (a.low > b.high or b.low > a.high):
        return False
    return difference(Pair(other.record, best.record), other.path, best.path, math.inf).significant is False
