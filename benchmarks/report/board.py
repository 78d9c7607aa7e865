"""Tables of results: a row is a model in a setting, a column a metric, a table what can be compared.

A board has the numbers of one task, data set and protocol. Its rows stand in groups, because a number of one says
nothing about one of another: reconstructions that keep an image-sized x_T beside z and those that do not, new images
and autoencoded ones, controls. The best of a group is marked in every column, and so is what no test tells from it
(95 %, paired over test images); a variation of 0 of a model that draws nothing is not. `lead` rows and columns are
those that a reader needs first: the longest training of a model, the number of evaluations that most models have, the
metric in its usual convention.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict

from benchmarks.report.numbers import Number
from benchmarks.results import Record
from benchmarks.results.models import Model

CONTROLS = "controls: what a model has to beat"
PUBLISHED = "published, as printed; not measured here"
SEEN = re.compile(r"\((\d+) images seen\)$")


def images_seen(model: Model) -> int:
    """Training images that the rows of a model say it had seen; 0 where they do not."""
    found = SEEN.search(model.train_data)
    return int(found[1]) if found else 0


@dataclasses.dataclass(frozen=True)
class Column:
    """A metric. `label` says split and n where the table has several of them, and the unit of a cost."""

    metric: str
    attribute: str
    split: str
    n: int
    better: str
    label: str
    lead: bool


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number in its place; `best` of its group, or no worse as far as a test can tell (`tied`)."""

    number: Number
    best: bool = False
    tied: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A model in a setting.

    Attributes:
        set: the result set that it comes from; group: with which rows it is compared.
        settings: heading -> text, of what tells rows of a table apart; those of all rows alike are the board's.
        lead: whether it is shown at first.
    """

    model: Model
    name: str
    set: str
    group: str
    settings: dict[str, str]
    cells: dict[Column, Cell]
    lead: bool = True

    @property
    def images_seen(self) -> int:
        """Training images at this snapshot; 0 where the row does not say."""
        return images_seen(self.model)

    @property
    def first(self) -> Record:
        """A record of the row."""
        return next(iter(self.cells.values())).number.record


@dataclasses.dataclass(frozen=True)
class Published:
    """A row of a published table, its numbers as printed; `source` says which table."""

    name: str
    source: str
    values: dict[Column, str]


@dataclasses.dataclass(frozen=True)
class Board:
    """One table; `shared` are the settings of all its rows, `published` rows that may stand beside them."""

    task: str
    dataset: str
    protocol: str
    version: int
    data_sha256: str
    shared: dict[str, str]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published: tuple[Published, ...] = ()

    @property
    def title(self) -> str:
        """What it is about, in words."""
        return f"{self.task} on {self.dataset}, protocol {self.protocol}"

    def groups(self) -> dict[str, list[Row]]:
        """Rows by group, controls last, best first in the first column."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in sorted(self.rows, key=lambda row: (row.group == CONTROLS, row.group)):
            found[row.group].append(row)
        column = self.columns[0]
        return {group: sorted(rows, key=lambda row: rank(row, column)) for group, rows in found.items()}


def draws_nothing(record: Record) -> bool:
    """Whether a model that leaves nothing to chance has this number: the variation of its draws is 0, but for rounding.

    It is what the model is, and no merit beside those whose draws differ.
    """
    squared = record.metric.endswith("_pairwise")
    return record.task == "variation" and (squared or record.metric == "std") and record.value < _EQUAL ** (1 + squared)


_EQUAL = 1e-6
"""Standard deviation of pixels in [0, 1] below which draws are equal: float32 rounds to a tenth of it."""


def rank(row: Row, column: Column) -> float:
    """Smaller is better; infinite where there is no number, or the model has it by drawing nothing."""
    if column not in row.cells or math.isnan(value := row.cells[column].number.value):
        return math.inf
    if draws_nothing(row.cells[column].number.record):
        return math.inf
    return -value if column.better == "higher" else value
