"""The checkpoints that the authors of these models publish: `cards/*.yaml`, one file a method.

Each card says where users get a file, what is in it, how images have to be prepared, and which cells of the paper's
tables it should reproduce. Size and hash are there only where they are known.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import os
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from dbae.support.errors import UserError

_INSTALLED = Path(__file__).resolve().parent / "paper"
TABLES = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parent.parent / "results" / "paper"
"""The published tables: in a wheel they lie in this package (setup.py), in a checkout in `results/paper`."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A published checkpoint.

    Attributes:
        name: what `load` calls it, "method/data".
        method: name of the method in the tables.
        source: where its authors announce it; obtain: where the file itself is.
        file: its name there. Users keep it as `$DBAE_CHECKPOINTS/NAME/FILE`.
        contains: what is in it.
        train_data: what it was trained on.
        image_size: pixels; latent_dim: length of z.
        preprocessing: how images become its input.
        weights: which averages the file holds.
        parameters: of all its parts; None where not known.
        size: bytes; sha256: hex; None where not known.
        options: what the file does not tell about its network, by the names that `load` takes.
        reproduces: rows of the paper's tables, as {"table": name, column: value, ...}.
        note: what else to know.
    """

    name: str
    method: str
    source: str
    obtain: str
    file: str
    contains: str
    train_data: str
    image_size: int
    latent_dim: int
    preprocessing: str
    weights: str
    parameters: int | None = None
    size: int | None = None
    sha256: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    reproduces: tuple[dict[str, Any], ...] = ()
    note: str = ""

    @property
    def path(self) -> Path | None:
        """Where the file is looked for; None if `$DBAE_CHECKPOINTS` is not set."""
        root = os.environ.get("DBAE_CHECKPOINTS")
        return Path(root).expanduser() / self.name / self.file if root else None


@functools.cache
def cards() -> dict[str, Card]:
    """All cards by name."""
    found = {}
    for file in sorted(resources.files("baselines").joinpath("cards").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            family = yaml.safe_load(file.read_text())
            for values in family.pop("checkpoints"):
                rows = tuple(values.pop("reproduces", ()))
                card = Card(**family, **values, reproduces=rows)
                found[card.name] = card
    return found


def find(name: str) -> tuple[Card, Path]:
    """The card called `name` and the file it stands for.

    Raises:
        UserError: no such card, or its file is not there.
    """
    card = cards().get(name)
    if card is None:
        near = [other for other in cards() if other.startswith(name.split("/")[0] + "/")]
        raise UserError(
            f"{name}: no such file or published checkpoint{'; there is ' + ', '.join(near) if near else ''}. "
            "`python -m baselines.list` shows all of them."
        )
    if card.path is None:
        raise UserError(f"{name}: set DBAE_CHECKPOINTS to the folder that holds {name}/{card.file}.")
    if not card.path.is_file():
        raise UserError(f"{name}: expected {card.path}, found no such file. Get it from {card.obtain}.")
    return card, card.path


def card_of(path: Path) -> Card | None:
    """The card of a file: FILE.yaml beside it, which users may write, or one of ours whose place it has.

    Raises:
        UserError: a FILE.yaml that is no card.
    """
    own = path.with_name(f"{path.name}.yaml")
    if own.is_file():
        return _own_card(path, own)
    for card in cards().values():
        if card.path is not None and card.path.is_file() and path.exists() and card.path.samefile(path):
            return card
    return None


def _own_card(path: Path, yaml_file: Path) -> Card:
    """A card of the user's; what it leaves out is taken for unknown."""
    text = {field.name: "" for field in dataclasses.fields(Card) if field.type == "str"}
    unknown: dict[str, Any] = text | {"name": path.stem, "file": path.name, "image_size": 0, "latent_dim": 0}
    try:
        values = yaml.safe_load(yaml_file.read_text())
        return Card(**(unknown | values))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{yaml_file}: expected a card, for example 'options: {{heads: 4, schedule: linear}}' ({reason})."
        ) from error


def expected(card: Card) -> list[dict[str, str]]:
    """Rows of the paper's tables that the checkpoint should reproduce."""
    rows = []
    for wanted in card.reproduces:
        columns = {key: str(value) for key, value in wanted.items() if key != "table"}
        table = f"table{wanted['table']}"
        for row in _table(table):
            if all(row[column] == value for column, value in columns.items()):
                rows.append(row | {"table": table})
    return rows


@functools.cache
def _table(name: str) -> list[dict[str, str]]:
    path = TABLES / f"{name}.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
