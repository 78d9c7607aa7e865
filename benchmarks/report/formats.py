"""Tables as Markdown, LaTeX (booktabs) and JSON, all from the same boards.

The best of a group is bold; what no test tells from it (95 %, paired over test images) is in italics or underlined.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.report.board import PUBLISHED, Board, Cell, Column, Published, Row
from benchmarks.report.numbers import digits_of, spread_text, written

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
NOTE = (
    "Bold: best of its group; what no test tells from it is marked too. [ ]: 95 % interval over test images (people "
    "where the data knows them); ±: standard error over seeds, folds or repetitions. Without intervals the order of "
    "close numbers may be chance."
)


@dataclasses.dataclass(frozen=True)
class Shown:
    """What of a board is shown: all, or what leads.

    Attributes:
        settings: headings of the settings that tell its rows apart.
        values: column -> all its numbers.
    """

    board: Board
    columns: list[Column]
    rows: dict[str, list[Row]]
    settings: list[str]
    values: dict[Column, list[float]]
    published: list[Published]

    def digits(self, column: Column, cell: Cell) -> int:
        """Digits after the point of a cell."""
        return digits_of(cell.number, self.values[column])


def shown(board: Board, *, everything: bool = False) -> Shown:
    """The lead rows and columns of a board, or all of them."""
    groups = {group: [r for r in rows if r.lead or everything] for group, rows in board.groups().items()}
    groups = {group: rows for group, rows in groups.items() if rows}
    kept = [row for rows in groups.values() for row in rows]
    columns = [c for c in board.columns if (c.lead or everything) and any(c in row.cells for row in kept)]
    settings = list(dict.fromkeys(h for row in kept for h in row.settings))
    settings = [h for h in settings if any(row.settings.get(h) for row in kept)]
    values = {c: [row.cells[c].number.value for row in kept if c in row.cells] for c in columns}
    beside = [row for row in board.published if any(column in row.values for column in columns)]
    return Shown(board, columns, groups, settings, values, beside)


def caption(board: Board) -> str:
    """What all rows of a board share, in words."""
    sizes = sorted({column.n for column in board.columns if column.lead})
    about = [f"{heading} {text}" for heading, text in board.shared.items() if text and heading != "set"]
    n = f"n {' and '.join(f'{size:,}' for size in sizes)}" if board.task != "cost" else ""
    data = f"data {board.data_sha256[:8]}" if board.data_sha256 else ""
    return "; ".join(filter(None, [n, *about, data, f"version {board.version} of the task"]))


def arrow(column: Column) -> str:
    """Which direction is good."""
    return "↑" if column.better == "higher" else "↓"


@dataclasses.dataclass(frozen=True)
class Style:
    """How a format writes text, and puts marks around it."""

    escape: Callable[[str], str]
    best: str
    tied: str
    small: str = "{}"


def markdown(boards: Sequence[Board], *, everything: bool = False) -> str:
    """Pipe tables below headings."""
    parts, style = [], Style(_pipe, "**{}**", "*{}*")
    for board in boards:
        table = shown(board, everything=everything)
        head = ["", *table.settings, *(f"{c.label} {arrow(c)}" for c in table.columns)]
        lines = [head, ["---"] * (1 + len(table.settings)) + ["---:"] * len(table.columns)]
        for group, rows in _lines(table, style).items():
            lines += [[f"*{_pipe(group)}*"] + [""] * (len(head) - 1), *rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"### {_pipe(board.title)}\n\n{_pipe(caption(board))}\n\n{body}")
    return "\n\n".join([*parts, NOTE]) + "\n"


def latex(boards: Sequence[Board], *, everything: bool = False) -> str:
    """Table environments for the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    style = Style(tex, r"\textbf{{{}}}", r"\underline{{{}}}", r"{{\scriptsize {}}}")
    for board in boards:
        table = shown(board, everything=everything)
        head = ["", *map(tex, table.settings), *(tex(f"{c.label} {arrow(c)}") for c in table.columns)]
        lines = [" & ".join(head) + r" \\"]
        for group, rows in _lines(table, style).items():
            lines += [r"\midrule", rf"\multicolumn{{{len(head)}}}{{l}}{{\emph{{{tex(group)}}}}} \\"]
            lines += [" & ".join(row) + r" \\" for row in rows]
        layout = "l" * (1 + len(table.settings)) + "r" * len(table.columns)
        body = "\n".join([rf"\begin{{tabular}}{{{layout}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
        words = tex(f"{board.title[0].upper()}{board.title[1:]}. {caption(board)}.")
        parts.append(f"\\begin{{table}}\n\\centering\n\\caption{{{words}}}\n{body}\n\\end{{table}}")
    return "\n\n".join([*parts, f"% {NOTE}"]) + "\n"


def as_json(boards: Sequence[Board], *, everything: bool = False) -> str:
    """A list of tables; a cell has its value, interval, marks, and the whole record."""
    return json.dumps([_plain(shown(board, everything=everything)) for board in boards], indent=1) + "\n"


FORMATS = {"markdown": markdown, "latex": latex, "json": as_json}


def _lines(table: Shown, style: Style) -> dict[str, list[list[str]]]:
    """Name of a group -> its rows as text, published ones last."""
    found = {group: [_row(row, table, style) for row in rows] for group, rows in table.rows.items()}
    if table.published:
        blank = [""] * len(table.settings)
        found[PUBLISHED] = [
            [style.escape(row.name), *blank, *(style.escape(row.values.get(c, "")) for c in table.columns)]
            for row in table.published
        ]
    return found


def _row(row: Row, table: Shown, style: Style) -> list[str]:
    line = [style.escape(text) for text in (row.name, *(row.settings.get(h, "") for h in table.settings))]
    for column in table.columns:
        cell = row.cells.get(column)
        line.append("" if cell is None else _marked(cell, table.digits(column, cell), style))
    return line


def _marked(cell: Cell, digits: int, style: Style) -> str:
    mark = style.best if cell.best else style.tied if cell.tied else "{}"
    value = mark.format(style.escape(written(cell.number.value, digits)))
    spread = style.escape(spread_text(cell.number.spread, digits))
    return f"{value} {style.small.format(spread)}" if spread else value


def _pipe(text: str) -> str:
    """Text in a cell of a Markdown table, where nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\|*_`[]<>" else c for c in text)


def tex(text: str) -> str:
    """Text in LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


def _plain(table: Shown) -> dict[str, Any]:
    board = table.board
    about = {name: getattr(board, name) for name in ("task", "dataset", "protocol", "version", "data_sha256", "shared")}
    rows = [
        {
            "model": row.name,
            "set": row.set,
            "group": group,
            "settings": row.settings,
            "cells": {c.label: _cell(row.cells[c]) for c in table.columns if c in row.cells},
        }
        for group, rows in table.rows.items()
        for row in rows
    ]
    beside = [
        {"name": row.name, "source": row.source, "cells": {c.label: text for c, text in row.values.items()}}
        for row in table.published
    ]
    return about | {"columns": [dataclasses.asdict(c) for c in table.columns], "rows": rows, "published": beside}


def _cell(cell: Cell) -> dict[str, Any]:
    spread = cell.number.spread
    record = {name: _finite(value) for name, value in dataclasses.asdict(cell.number.record).items()}
    numbers = {"value": cell.number.value, "low": spread.low, "high": spread.high, "stderr": spread.error}
    marks = {"over": spread.over, "best": cell.best, "tied": cell.tied}
    return {name: _finite(value) for name, value in numbers.items()} | marks | {"record": record}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: the first is null, the second a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
