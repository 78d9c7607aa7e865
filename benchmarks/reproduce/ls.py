"""What there is: models that open by name, kinds of data, benchmarks, and the paper's tables.

Examples:
  python -m benchmarks.reproduce.ls models
  python -m benchmarks.reproduce.ls tasks --json

`dbae-bench ls models` is the same.

models: what --ckpt takes by name (`dbae-bench list --long` says where to get each). data: the KINDs of --data. tasks:
the benchmarks with their protocols. tables: the published ones, and what measures them.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from tyro.conf import Positional

from baselines.cards import TABLES, cards
from baselines.load import BUILTIN
from benchmarks.__main__ import ROOT, commands
from benchmarks.reproduce.tables import TABLES_BY_NUMBER
from dbae.checkpoints import own
from dbae.data.kinds import KINDS
from dbae.pretrained import PRIORS, listed
from dbae.support import cli, text
from dbae.support.errors import UserError
from dbae.support.files import sha256

OTHERS = {
    "factors": "FactorVAE and DCI scores against known factors, of the papers of FDAE, DisDiff and DiffAE",
    "table1": "Table 1 of the preprint (arXiv, version 1); table1_camera_ready is that of the ICLR 2025 version",
    "table6": "the networks of DBAE: widths, depths and the rest of their hyperparameters, nothing to measure",
    "table7": "the networks of the latent prior: their hyperparameters, nothing to measure",
}
"""Published tables that no command of `reproduce` measures, in words."""
What = Literal["models", "data", "tasks", "tables"]
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """The command line."""

    what: Positional[What]
    """What to list."""
    json: bool = False
    """Print a JSON list of objects instead of a table."""


def models() -> list[Row]:
    """Built-in models, then published checkpoints; `here` tells whether their file is."""
    found = [_builtin(name, path) for name, path in (BUILTIN | PRIORS).items()]
    for card in cards().values():
        here = card.path is not None and card.path.is_file()
        about = f"{card.method}, {card.image_size} px: {card.contains}"
        found.append({"name": card.name, "here": here, "about": about, "obtain": card.obtain})
    return found


def _builtin(name: str, path: Path) -> Row:
    try:
        card = own.read(path)[0]
        if sha256(path) != listed(path.parent)[name][1]:
            raise UserError(f"{path}: expected the file that this package came with, found another SHA-256.")
    except (UserError, OSError) as error:
        return {"name": name, "here": False, "about": str(error), "obtain": "install this package again"}
    about = f"built-in {card.method}, trained on {card.train_data.get('name', 'unknown images')}"
    return {"name": name, "here": True, "about": about, "obtain": "comes with this package"}


def data() -> list[Row]:
    """Kinds of data; of a published one, `here` tells whether $DBAE_DATA/KIND is."""
    root = os.environ.get("DBAE_DATA")
    found: list[Row] = []
    for name, kind in KINDS.items():
        about, here = (importlib.import_module(kind.open.__module__).__doc__ or "").partition("\n")[0], None
        if published := kind.images or ((kind.layout.images,) if kind.layout else ()):
            about = f"As its authors publish it, {' or '.join(f'{images:,}' for images in published)} images."
            here = root is not None and Path(root, name).exists()
        found.append({"name": name, "here": here, "about": about, "options": list(kind.options)})
    return found


def tasks() -> list[Row]:
    """Benchmarks: what each measures, under which protocols, and whether on images (else of the models alone)."""
    found: list[Row] = []
    for module, line in commands().items():
        package, _, name = module.partition(".")
        if package != "benchmarks" or not (ROOT / package / name / "command.py").is_file():
            continue
        benchmark = getattr(importlib.import_module(f"{module}.command"), name.upper(), None)
        if benchmark is None:
            continue  # a command that measures nothing itself
        hint = get_type_hints(benchmark.options).get("protocol")
        protocols = list(get_args(get_args(hint)[0])) if hint else []
        images = "data" in {field.name for field in dataclasses.fields(benchmark.options)}
        found.append({"name": name, "about": line, "protocols": protocols, "images": images})
    return found


def tables() -> list[Row]:
    """Published tables; of those that can be measured, by which benchmarks, and by which command."""
    known = {table.published: table for table in TABLES_BY_NUMBER.values()}
    found: list[Row] = []
    for path in sorted(TABLES.glob("*.csv"), key=lambda path: (len(path.stem.partition("_")[0]), path.stem)):
        numbers = len(path.read_text(encoding="utf-8").splitlines()) - 1
        table = known.get(path.stem)
        row = {
            "name": path.stem,
            "numbers": numbers,
            "about": OTHERS.get(path.stem, "published values only"),
            "tasks": [],
            "command": "",
        }
        if table is not None:
            measured_by = list(dict.fromkeys(run.benchmark for run in table.runs))
            about = table.title + (", in the ICLR 2025 version" if path.stem.endswith("_camera_ready") else "")
            row |= {"about": about, "tasks": measured_by, "command": f"dbae-bench reproduce table{table.number}"}
        found.append(row)
    return found


LISTS: dict[What, Callable[[], list[Row]]] = {"models": models, "data": data, "tasks": tasks, "tables": tables}
SHOWN: dict[What, tuple[str, ...]] = {
    "models": ("name", "here", "about"),
    "data": ("name", "here", "options", "about"),
    "tasks": ("name", "protocols", "about"),
    "tables": ("name", "numbers", "command", "about"),
}
"""Columns of the table that is printed; the rest is in the JSON."""


def list_them(options: ListOptions) -> None:
    """Run the command."""
    rows = LISTS[options.what]()
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    shown = SHOWN[options.what]
    print(text.columns([shown, *([_cell(row[column]) for column in shown] for row in rows)]))


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return " ".join(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    raise SystemExit(cli.run(list_them, ListOptions, module="benchmarks.reproduce.ls", description=__doc__))
