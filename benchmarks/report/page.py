"""The page: one HTML file with everything in it, from the template beside this module."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import curves, points
from benchmarks.report.board import CONTROLS, PUBLISHED, Board, Cell, Row
from benchmarks.report.build import boards
from benchmarks.report.charts import SALT, Figure, Palette
from benchmarks.report.claims import changes, claims, told, verdict
from benchmarks.report.formats import Shown, arrow, caption, shown
from benchmarks.report.numbers import decimals, spread_text, written
from benchmarks.report.pictures import albums
from benchmarks.report.sources import ResultSet
from benchmarks.results import COLUMNS, LATER, Record

HERE = Path(__file__).parent
_TOLD = (*COLUMNS, *LATER)
_COMPARED = 10
"""Sets with results that all others can be compared with: the first. Every one with every other would grow with their
square."""
ABOUT = {
    "downstream": "What a linear probe reads from z: AP of yes-or-no attributes, Pearson r of continuous ones.",
    "reconstruction": "How close the decoded image is to the encoded one.",
    "generation": "How close the distribution of images is to that of real ones.",
    "disentanglement": "Whether single dimensions of z stand for single attributes.",
    "variation": "What other draws of x_T change in the image of one z.",
    "trajectories": "How straight the paths of moving images are in z.",
    "cost": "Parameters, arithmetic and time.",
    "training": "Training runs, as their logs have them.",
}


class Facts:
    """Where the numbers of a page come from: every text once, a row of references to them a number."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.rows: list[list[int]] = []
        self.places: dict[tuple[Path, tuple[object, ...]], int] = {}

    def add(self, path: Path, record: Record, name: str) -> int:
        """Number under which the page finds a record."""
        key = (path, record.identity)
        if key not in self.places:
            self.places[key] = len(self.rows)
            cells = [f"{name}/{path.name}", *(_text(getattr(record, column)) for column in _TOLD)]
            self.rows.append([self.texts.setdefault(cell, len(self.texts)) for cell in cells])
        return self.places[key]

    def plain(self) -> dict[str, Any]:
        return {"columns": ["file", *_TOLD], "texts": list(self.texts), "rows": self.rows}


def page(sets: Sequence[ResultSet], *, pictures: int = 8) -> str:
    """The page of the sets, as text."""
    import jinja2
    from markupsafe import Markup

    found = boards(sets)
    palette = Palette(row.model for board in found for row in board.rows)
    drawn = [*curves.sweeps(found, palette), *curves.learning(found, palette), *points.tradeoffs(found, palette)]
    drawn += [*points.attributes(found, palette), *curves.logs(sets, palette)]
    drawn = [dataclasses.replace(f, svg=Markup(f.svg.replace(SALT, f"f{i}"))) for i, f in enumerate(drawn)]
    facts = Facts()
    tables = [_table(board, facts, palette) for board in found]
    names = dict.fromkeys([board.task for board in found] + [figure.task for figure in drawn])
    sections = [{"task": task, "about": ABOUT.get(task, ""), "parts": _parts(task, tables, drawn)} for task in names]
    measured = _measured(sets)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=", ".join(one.name for one in sets),
        sets=[one.name for one in measured],
        compared=[one.name for one in measured[:_COMPARED]],
        counts=_counts(sets),
        claims=list(claims(found)),
        sections=sections,
        datasets=_unique(board.dataset for board in found),
        protocols=_unique(board.protocol for board in found),
        albums=[album for one in sets for album in albums(one, pictures)],
        facts=facts.plain(),
        changes=_changes(measured, facts),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        controls=CONTROLS,
        published=PUBLISHED,
        chip=palette.chip,
    )


def _measured(sets: Sequence[ResultSet]) -> list[ResultSet]:
    """The sets that have results; a training run without any has nothing to choose or to compare."""
    return [one for one in sets if any(one.files.values())]


def _parts(task: str, tables: Sequence[dict[str, Any]], drawn: Sequence[Figure]) -> list[dict[str, Any]]:
    """Tables and figures by data set and protocol; what a task has under another protocol than `standard` is folded."""
    keys = [(t["board"].dataset, t["board"].protocol) for t in tables if t["board"].task == task]
    keys = list(dict.fromkeys(keys + [(f.dataset, f.protocol) for f in drawn if f.task == task]))
    return [
        {
            "dataset": dataset,
            "protocol": protocol,
            "folded": protocol != "standard" and (dataset, "standard") in keys,
            "tables": [t for t in tables if (t["board"].task, t["board"].dataset, t["board"].protocol) == (task, *key)],
            "figures": [f for f in drawn if (f.task, f.dataset, f.protocol) == (task, *key)],
        }
        for key in keys
        for dataset, protocol in [key]
    ]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _counts(sets: Sequence[ResultSet]) -> str:
    files = [records for one in sets for records in one.files.values()]
    logs = sum(len(one.logs) for one in sets)
    return f"{sum(map(len, files)):,} numbers in {len(files)} results files, {logs} training logs"


def _table(board: Board, facts: Facts, palette: Palette) -> dict[str, Any]:
    """A board for the template: all rows and columns, those that do not lead marked as `more`."""
    whole = shown(board, everything=True)
    groups = [
        {"name": group, "rows": [_row(row, whole, facts, palette) for row in rows]}
        for group, rows in whole.rows.items()
    ]
    more = [(sum(not r.lead for r in board.rows), "rows"), (sum(not c.lead for c in whole.columns), "columns")]
    columns = [{"label": c.label, "arrow": arrow(c), "better": c.better, "lead": c.lead} for c in whole.columns]
    about = {"board": board, "caption": caption(board)}
    return about | {
        "settings": whole.settings,
        "columns": columns,
        "groups": groups,
        "published": _published(whole),
        "more": ", ".join(f"{count} more {what}" for count, what in more if count),
    }


def _published(whole: Shown) -> list[dict[str, Any]]:
    return [
        {"name": row.name, "source": row.source, "texts": [row.values.get(column, "") for column in whole.columns]}
        for row in whole.published
    ]


def _row(row: Row, whole: Shown, facts: Facts, palette: Palette) -> dict[str, Any]:
    cells = []
    for column in whole.columns:
        cell = row.cells.get(column)
        cells.append(None if cell is None else _cell(cell, whole.digits(column, cell), facts, row.set))
    settings = [row.settings.get(heading, "") for heading in whole.settings]
    return {"row": row, "chip": palette.chip(row.model), "settings": settings, "cells": cells}


def _cell(cell: Cell, digits: int, facts: Facts, name: str) -> dict[str, Any]:
    number = cell.number
    over = f"95 % interval over test {number.spread.over}" if number.spread.known else ""
    if not over and number.spread.error is not None:
        over = f"standard error over {number.spread.over}"
    return {
        "value": number.value,
        "text": written(number.value, digits),
        "spread": spread_text(number.spread, digits),
        "over": over,
        "mark": "best" if cell.best else "tied" if cell.tied else "",
        "fact": facts.add(number.path, number.record, name),
    }


def _changes(sets: Sequence[ResultSet], facts: Facts) -> dict[str, dict[int, list[str]]]:
    """Set that is compared with -> number of a fact -> the difference, its verdict, and to whom if to another model."""
    found: dict[str, dict[int, list[str]]] = {}
    for before in sets[:_COMPARED]:
        for after in (one for one in sets if one is not before):
            paths = {record.identity: path for path, records in after.files.items() for record in records}
            for change in changes(before, after):
                key = (paths[change.pair.after.identity], change.pair.after.identity)
                if key in facts.places:
                    a, b = change.pair.before, change.pair.after
                    against = "" if a.model == b.model else f"against {a.model}"
                    line = [told(change, decimals([b.value])), verdict(change), against]
                    found.setdefault(before.name, {})[facts.places[key]] = line
    return found


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
