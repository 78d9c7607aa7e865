"""Rewrite any checkpoint that `baselines.load` opens in this package's format: safetensors with a card.

Examples:
  python -m baselines.convert ema_0.9999_1020000.pt dbae-ffhq.safetensors
  python -m baselines.convert runs/faces32/checkpoints/images-000600000.safetensors small.safetensors --dtype float16

The file holds the weights that benchmarks use (EMA where there is one), not the training state.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from tyro.conf import Positional

from baselines.load import load
from dbae import checkpoint
from dbae.cli import run
from dbae.errors import UserError
from dbae.model import DBAE

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    source: Positional[Path]
    """The checkpoint to read."""
    out: Positional[Path]
    """The .safetensors file to write."""
    dtype: Literal["float32", "float16"] = "float32"
    """Precision of the stored weights; loading always gives float32."""
    expected: Path | None = None
    """A results CSV of this model: its means over seeds go into the card, for users to compare with."""
    note: str = ""
    """A sentence for the card."""


def convert(options: Options) -> None:
    """Run the command."""
    if options.out.suffix != ".safetensors":
        raise UserError(f"{options.out}: expected a name that ends in .safetensors.")
    loaded = load(options.source)
    if not isinstance(loaded.model, DBAE):
        raise UserError(f"{options.source}: a {loaded.method} checkpoint; only DBAE has this format so far.")
    card = _card(options.source, loaded.model)
    expected = _expected(options.expected, loaded.name) if options.expected else card.expected
    card = dataclasses.replace(card, expected=expected, note=options.note or card.note)
    dtype = getattr(torch, options.dtype)
    checkpoint.save(options.out, card, ema=loaded.model.state_dict(), dtype=dtype)
    log.info("%s: %.2f MB", options.out, options.out.stat().st_size / 1e6)


def _card(source: Path, model: DBAE) -> checkpoint.Card:
    if source.suffix == ".safetensors":
        return checkpoint.load(source)[1]
    return checkpoint.Card(
        method="dbae", name=model.name, config=dataclasses.asdict(model.config), note=f"converted from {source.name}"
    )


def _expected(path: Path, model: str) -> dict[str, Any]:
    """Means over seeds of `model` in a results file, by "data set, protocol, split, metric"."""
    with open(path, newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["model"] == model and r["seed"].startswith("mean of")]
    if not rows:
        raise UserError(f"{path}: expected rows of {model} with means over seeds, found none.")
    columns = ("dataset", "protocol", "split", "metric")
    return {", ".join(r[c] for c in columns): round(float(r["value"]), 4) for r in rows}


if __name__ == "__main__":
    raise SystemExit(run(convert, Options, module="baselines.convert", description=__doc__))
