"""What reproducing a table takes: checkpoints and data that are there, and what is missing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from baselines.cards import Card, cards
from baselines.load import BUILTIN
from benchmarks.reproduce.answers import Answer
from benchmarks.reproduce.tables import PRIOR_NFE, Cell, Run, Table
from benchmarks.results import Record
from dbae.data import open_data
from dbae.sample import BUILTIN_PRIOR
from dbae.support.errors import UserError
from dbae.support.files import sha256

BUILTIN_DATA = "faces"


@dataclasses.dataclass(frozen=True)
class StandIn:
    """A checkpoint in the place of published rows.

    Attributes:
        source: file or name, as the benchmark takes it.
        path: the file; None for an architecture without weights.
        cells: the published numbers it should reproduce.
    """

    source: str
    path: Path | None
    cells: tuple[Cell, ...]

    def measured(self, records: Sequence[Record]) -> list[Record]:
        """The records that are about it."""
        if self.path is None:
            return [r for r in records if self.cells and r.method == self.cells[0]["method"]]
        digest = sha256(self.path)
        return [r for r in records if r.checkpoint_sha256 == digest and r.weights == "trained"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One run of a benchmark, on no data where it is about the models alone."""

    run: Run
    data: str | None
    checkpoints: tuple[str, ...]

    @property
    def words(self) -> str:
        """What it is, in a line."""
        return " ".join(filter(None, (self.run.benchmark, *self.checkpoints, self.data and f"on {self.data}")))


@dataclasses.dataclass(frozen=True)
class Missing:
    """Something that rows need and that is not there."""

    what: str
    needed_for: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Steps in order; datasets: source -> name in records."""

    subjects: tuple[StandIn, ...]
    datasets: dict[str, str]
    steps: tuple[Step, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def is_published(self) -> bool:
        """Whether published numbers belong beside what is measured."""
        return any(subject.cells for subject in self.subjects)

    def answers(self, table: Table, records: Sequence[Record]) -> list[Answer]:
        """Every published number with every record that measures it."""
        found = []
        for subject in self.subjects:
            mine = subject.measured(records) if subject.cells else []
            for cell in subject.cells:
                source = table.source(cell)
                on_data = [r for r in mine if source is None or r.dataset == self.datasets.get(source)]
                found += [(cell, r) for r in on_data if table.answered_by(cell, r)]
        return found


def published(table: Table, rows: Sequence[str]) -> Plan:
    """The plan for published checkpoints under $DBAE_CHECKPOINTS, and for those that `rows` name, on $DBAE_DATA.

    Args:
        rows: METHOD/VARIANT=FILE each.

    Raises:
        UserError: a row that the table has not.
    """
    cells = table.cells()
    subjects = [_bound(row, cells, table) for row in rows]
    given = {id(cell) for subject in subjects for cell in subject.cells}
    missing = []
    for card in cards().values():
        wanted = tuple(cell for cell in cells if _stands_for(card, cell, table))
        lacking = [cell for cell in wanted if id(cell) not in given]
        if wanted and card.path is not None and card.path.is_file():
            subjects.append(StandIn(card.name, card.path, wanted))
        elif lacking:  # not what a row was named for
            where = card.path or f"$DBAE_CHECKPOINTS/{card.name}/{card.file}"
            missing.append(Missing(str(where), _methods(lacking), f"get it from {card.obtain}"))
    missing += _without_checkpoint(cells, subjects, table)
    return _on_data(table, subjects, missing)


def architectures(table: Table) -> Plan:
    """The plan for a table about models as such: it needs neither weights nor data."""
    cells = table.cells()
    subjects = tuple(
        StandIn(source, None, tuple(c for c in cells if c["method"] == method))
        for method, source in table.architectures.items()
    )
    named = tuple(s.source for s in subjects if s.cells)
    return Plan(subjects, {}, tuple(Step(run, None, named) for run in table.runs))


def builtin(table: Table) -> Plan:
    """The plan for the models that come with this package, on drawn faces; for a table about models, of their size."""
    if table.small_architectures:
        return Plan((), {}, tuple(Step(run, None, table.small_architectures) for run in table.builtin))
    subjects = tuple(StandIn(name, path, ()) for name, path in BUILTIN.items())
    steps = tuple(Step(_of(s.source, run), BUILTIN_DATA, (s.source,)) for run in table.builtin for s in subjects)
    return Plan(subjects, {}, steps)


def _of(source: str, run: Run) -> Run:
    """The run with the prior that comes with a built-in model, where it draws from one that has it; others as it is."""
    if run.benchmark != "generation" or source not in BUILTIN_PRIOR:
        return run
    return dataclasses.replace(run, options={**run.options, "prior": BUILTIN_PRIOR[source], "prior_nfe": PRIOR_NFE})


def _bound(row: str, cells: Sequence[Cell], table: Table) -> StandIn:
    name, _, file = row.partition("=")
    method, _, variant = name.partition("/")
    wanted = tuple(c for c in cells if c["method"] == method and variant in ("", c["variant"]) and table.source(c))
    if not file or not wanted:
        there = sorted({f"{c['method']}/{c['variant']}".rstrip("/") for c in cells})
        raise UserError(f"--row {row}: expected METHOD/VARIANT=FILE with a row of the table ({', '.join(there)}).")
    return StandIn(file, BUILTIN.get(file, Path(file)), wanted)


def _stands_for(card: Card, cell: Cell, table: Table) -> bool:
    return any(
        str(row["table"]).split("_")[0] == table.number
        and all(cell[column] == str(value) for column, value in row.items() if column != "table")
        and table.source(cell) is not None
        for row in card.reproduces
    )


def _without_checkpoint(cells: Sequence[Cell], subjects: Sequence[StandIn], table: Table) -> list[Missing]:
    """Rows of methods that this package knows, for which nobody publishes a checkpoint."""
    known = {card.method for card in cards().values()} | {"DDIM", "DDPM"}
    covered = {id(cell) for subject in subjects for cell in subject.cells}
    covered |= {id(c) for c in cells for card in cards().values() if _stands_for(card, c, table)}
    rows = {(c["method"], c["variant"]): c for c in cells if id(c) not in covered and table.source(c)}
    return [
        Missing(
            f"a checkpoint of {' '.join(filter(None, (method, variant)))}, {cell['dataset']}",
            f"its row of table {table.number}",
            f"none is published; give your own as --row '{'/'.join(filter(None, (method, variant)))}=FILE'",
        )
        for (method, variant), cell in rows.items()
        if method in known
    ]


def _on_data(table: Table, subjects: Sequence[StandIn], missing: list[Missing]) -> Plan:
    """The steps on the data that are there."""
    datasets: dict[str, str] = {}
    steps = []
    for source in dict.fromkeys(table.source(cell) for subject in subjects for cell in subject.cells):
        if source is None:
            continue
        theirs = [s for s in subjects if any(table.source(cell) == source for cell in s.cells)]
        try:
            datasets[source] = open_data(source, size=64).name
        except UserError as error:
            methods = _methods([cell for s in theirs for cell in s.cells])
            remedy = f"{error} `python -m dbae.data check {_located(source)}` tells more."
            missing.append(Missing(source, methods, remedy))
            continue
        names = dict.fromkeys(s.source for s in theirs)
        steps += [Step(run, source, (name,)) for run in table.runs for name in names]
    return Plan(tuple(subjects), datasets, tuple(steps), tuple(missing))


def _located(source: str) -> str:
    """The source with the folder that was looked in, which --images may have named; bare where none is named."""
    folder = os.environ.get("DBAE_DATA")
    return source if folder is None or ":" in source else f"{source}:{Path(folder) / source}"


def _methods(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(" ".join(filter(None, (c["method"], c["variant"]))) for c in cells))
