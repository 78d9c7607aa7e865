"""Published numbers that a table may stand beside: of the same data, metric and evaluations, measured as in the paper.

They are shown as printed, in a group of their own, and are never marked. Trials on few images are no reproduction, and
nothing published stands beside them.
"""

from __future__ import annotations

from collections import defaultdict

from benchmarks.report.board import CONTROLS, Board, Column, Published
from benchmarks.reproduce.tables import TABLES_BY_NUMBER, Cell, Table
from benchmarks.results import Record

FEWEST = {"generation": 10_000}
"""Images below which a number is a trial; of other tasks 2,000."""


def published(board: Board) -> tuple[Published, ...]:
    """What the paper prints about the data of a board, of metrics that a model's row of it answers."""
    if board.protocol == "standard":
        return ()
    found: dict[tuple[str, str], dict[Column, str]] = defaultdict(dict)
    for table in TABLES_BY_NUMBER.values():
        if board.dataset in table.sources.values():
            for cell in table.cells():
                column = _column(board, table, cell)
                if column is not None:
                    found[_name(cell), cell["source"]].setdefault(column, cell["value"])
    return tuple(Published(name, source, values) for (name, source), values in found.items())


def _column(board: Board, table: Table, cell: Cell) -> Column | None:
    """The first column with a row that measures what was published."""
    if table.source(cell) != board.dataset or cell["value"] == "NA":
        return None
    for column in board.columns:
        records = [r.cells[column].number.record for r in board.rows if column in r.cells and r.group != CONTROLS]
        if any(table.answered_by(cell, record) and _enough(record) for record in records):
            return column
    return None


def _enough(record: Record) -> bool:
    return record.n >= FEWEST.get(record.task, 2_000) and not record.partial


def _name(cell: Cell) -> str:
    trained = cell["dataset"].partition("train=")[2].partition(";")[0]
    about = [f"trained on {trained}" if trained else "", f"NFE {cell['nfe']}" if cell["nfe"] else ""]
    return ", ".join([" ".join(filter(None, (cell["method"], cell["variant"]))), *filter(None, about)])
