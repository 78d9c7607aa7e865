"""`load(source)`: a checkpoint file or name -> a model that every benchmark can use.

    builtin:dbae            the model that comes with this package (drawn faces, 32 px)
    runs/x/...safetensors   written by `python -m dbae.train`
    ema_0.9999_1020000.pt   published by the DBAE authors

What a file is follows from its header, or from its keys and shapes; there is nothing to configure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from baselines.interface import RepresentationModel
from dbae import checkpoint, official
from dbae.errors import UserError
from dbae.files import sha256
from dbae.model import DBAE

BUILTIN = {"builtin:dbae": Path(checkpoint.__file__).parent / "builtin" / "dbae.safetensors"}


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model and where it comes from.

    Attributes:
        model: the model with its trained weights (EMA where the file has them), float32, on the CPU.
        name: name in result rows.
        method: e.g. "DBAE"; variant: e.g. "deterministic".
        train_data: what it was trained on, "" where the file does not say.
        weights: "trained", or "untrained" for a checkpoint that has seen no image.
        sha256: of the file.
        untrained: seed -> the same architecture with fresh weights, a function of the seed.
    """

    model: RepresentationModel
    name: str
    method: str
    variant: str
    train_data: str
    weights: Literal["trained", "untrained"]
    sha256: str
    untrained: Callable[[int], RepresentationModel]


def load(source: str | Path) -> LoadedModel:
    """Open a checkpoint.

    Raises:
        UserError: no such file or name, or a file that cannot be read or does not fit any known model.
    """
    path = BUILTIN.get(str(source), Path(source))
    if str(source).startswith("builtin:") and str(source) not in BUILTIN:
        raise UserError(f"{source}: no such built-in model; there is {', '.join(BUILTIN)}.")
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a checkpoint file in it, e.g. {_newest(path)}.")
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file, nor a built-in model ({', '.join(BUILTIN)}).")
    if path.suffix == ".safetensors":
        model, card = checkpoint.load(path)
        seen = f" ({card.images_seen} images seen)" if card.images_seen else ""
        return _dbae(model, path, train_data=f"{card.train_data.get('name', '')}{seen}", trained=card.images_seen > 0)
    return _dbae(official.load(path), path, train_data="", trained=True)


def _dbae(model: DBAE, path: Path, *, train_data: str, trained: bool) -> LoadedModel:
    def untrained(seed: int) -> DBAE:
        return _ready(DBAE.initialised(model.config, seed, name=model.name))

    return LoadedModel(
        model=_ready(model),
        name=model.name,
        method="DBAE",
        variant="stochastic" if model.config.stochastic else "deterministic",
        train_data=train_data,
        weights="trained" if trained else "untrained",
        sha256=sha256(path),
        untrained=untrained,
    )


def _ready(model: DBAE) -> DBAE:
    """For inference, in the memory layout that convolutions are fastest in."""
    return model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _newest(folder: Path) -> str:
    found = [p for p in folder.rglob("*.safetensors") if not p.name.endswith(".state.safetensors")]
    return str(max(found, key=lambda p: p.stat().st_mtime)) if found else f"{folder}/NAME.safetensors"
