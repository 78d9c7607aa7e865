"""The checkpoints that the authors of these models publish, and which of them are here.

Examples:
  python -m baselines.list
  DBAE_CHECKPOINTS=/data/checkpoints python -m baselines.list diffae --long
  python -m baselines.list dbae/ffhq128 --long

A file that is kept as $DBAE_CHECKPOINTS/NAME/FILE opens under its name: --ckpt diffae/ffhq128.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tyro.conf import Positional

from baselines.cards import Card, cards, expected
from dbae.support.cli import run
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    name: Positional[str] = ""
    """A name or its beginning; without one, all."""
    long: bool = False
    """Also where to get each file, how images are prepared, and the values it should reproduce."""


def list_checkpoints(options: Options) -> None:
    """Run the command."""
    chosen = [card for name, card in cards().items() if name.startswith(options.name)]
    if not chosen:
        raise UserError(f"{options.name}: no published checkpoint has a name that begins so; leave it out to see all.")
    print("\n\n".join(long(card) for card in chosen) if options.long else "\n".join(map(short, chosen)))
    if "DBAE_CHECKPOINTS" not in os.environ:
        print("\nDBAE_CHECKPOINTS is not set: set it to the folder that holds NAME/FILE.")


def short(card: Card) -> str:
    """One line."""
    return f"{_mark(card)} {card.name:26} {card.file:22} {card.image_size:4} px  {card.contains}"


def long(card: Card) -> str:
    """A paragraph."""
    facts = {
        "file": f"{card.file} ({f'{card.size} bytes' if card.size else 'size not known'})",
        "here": card.path if _mark(card) == "*" else f"no; keep it as {card.path or '$DBAE_CHECKPOINTS/NAME/FILE'}",
        "get it": card.obtain,
        "announced": card.source,
        "trained on": card.train_data,
        "images": f"{card.image_size} px; {card.preprocessing}",
        "latent": card.latent_dim,
        "parameters": f"{card.parameters:,}" if card.parameters else "not known",
        "weights": card.weights,
        "sha256": card.sha256 or "not known",
        "note": card.note,
    }
    lines = [f"{card.name}: {card.method}, {card.contains}"]
    lines += [f"  {key:11} {value}" for key, value in facts.items() if value]
    lines += [f"  {'paper' if i == 0 else '':11} {line}" for i, line in enumerate(_expected(card))]
    return "\n".join(lines)


def _expected(card: Card) -> list[str]:
    """One line for each row of a table: its values by metric."""
    groups: dict[str, list[str]] = {}
    for row in expected(card):
        where = (row["table"].replace("table", "Table "), row["variant"], row["dataset"])
        nfe = f"NFE {row['nfe']}" if row["nfe"] else ""
        groups.setdefault(", ".join(filter(None, (*where, nfe))), []).append(f"{row['metric']} {row['value']}")
    return [f"{where}: {', '.join(values)}" for where, values in groups.items()]


def _mark(card: Card) -> str:
    return "*" if isinstance(card.path, Path) and card.path.is_file() else "-"


if __name__ == "__main__":
    raise SystemExit(run(list_checkpoints, Options, module="baselines.list", description=__doc__))
