"""A DBAE that is ready to use, whoever wrote its checkpoint; `load(source)` takes

builtin:dbae            comes with this package (faces it drew itself, 32 px), as do builtin:dbae-d and builtin:dbae-tc
runs/x/...safetensors   written by `python -m dbae.train`
ema_0.9999_1020000.pt   published by the DBAE authors; architecture and sizes are read off the file
dbae/ffhq128            the file in $DBAE_CHECKPOINTS/dbae/ffhq128
mine.pt?head_channels=64&attention_order=legacy&bridge=vp   by their program, of no published configuration
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl

import torch

from dbae.checkpoints import official
from dbae.checkpoints import own as checkpoint
from dbae.model import DBAE
from dbae.support.errors import UserError
from dbae.support.files import sha256

SUMS = "SHA256SUMS"
"""The list of a folder's files and their hashes, which `sha256sum -c` checks and `benchmarks.reproduce.pack` writes."""


def listed(folder: Path) -> dict[str, tuple[Path, str]]:
    """The files of `SHA256SUMS` in `folder`, sorted by name (`builtin:` and the file's own), and their hashes, hex."""
    return dict(
        sorted((f"builtin:{Path(file).stem}", (folder / file, digest)) for file, digest in sums(folder).items())
    )


def sums(folder: Path) -> dict[str, str]:
    """File -> hash, hex, as `SHA256SUMS` in `folder` has them; none where there is no list.

    Raises:
        UserError: a line that is none of `sha256sum`.
    """
    path, found = folder / SUMS, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        match = re.fullmatch(r"(\w+) [ *](.+)", line)
        if match:
            found[match[2]] = match[1]
        elif line.strip() and not line.startswith("#"):
            raise UserError(f"{path}: expected a hash, two spaces and a name in every line, found {line!r}. Repair it.")
    return found


_FILES = {name: path for name, (path, _) in listed(Path(__file__).parent / "builtin").items()}
PRIORS = {"builtin:prior": _FILES.pop("builtin:prior")}
"""Of the latents of `builtin:dbae` (`dbae.prior`)."""
BUILTIN = _FILES
"""The DBAEs that come with this package; `baselines.load` has all models."""


@dataclasses.dataclass(frozen=True)
class LoadedDBAE:
    """A model and the file it came from.

    Attributes:
        model: evaluation mode, float32, on the CPU, EMA weights where the file has them.
        path: the file; sha256: its hash, hex.
        train_data: what it was trained on, "" where the file does not say.
    """

    model: DBAE
    path: Path
    sha256: str
    train_data: str = ""


def load(source: str | Path) -> LoadedDBAE:
    """Open a checkpoint file or a built-in model.

    Raises:
        UserError: no such file or name, or a file that is damaged or no DBAE.
    """
    name, _, query = (str(source), "", "") if Path(source).exists() else str(source).partition("?")
    path, options = find(name), dict(parse_qsl(query, keep_blank_values=True))
    train_data = ""
    if not checkpoint.is_own(path):
        model = official.load(path, options=options)
    elif options:
        raise UserError(f"{path}: expected no options, since its card tells all; found {', '.join(options)}.")
    else:
        model, card = checkpoint.load(path)
        train_data = str(card.train_data.get("name", ""))
    # The memory layout that convolutions are fastest in.
    model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return LoadedDBAE(model, path, sha256(path), train_data)


def find(source: str | Path, models: Mapping[str, Path] = BUILTIN) -> Path:
    """The file that `source` names: a path, a built-in model, or the one checkpoint in a folder of `$DBAE_CHECKPOINTS`.

    Args:
        models: the built-in ones there are, beside `PRIORS`.

    Raises:
        UserError: no such file or built-in model, or no single checkpoint in the folder.
    """
    named = {**models, **PRIORS}
    if str(source).startswith("builtin:") and str(source) not in named:
        raise UserError(
            f"{source}: no such built-in model; there is {', '.join(models)}. `dbae-bench ls models` shows all; those "
            "of other methods open with `python -m baselines.encode`, `reconstruct` and `sample`, and in benchmarks."
        )
    path = named.get(str(source)) or _kept(Path(source)) or Path(source)
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a checkpoint file in it, e.g. {_newest(path)}.")
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file, nor a built-in model ({', '.join(models)}).")
    return path


def _kept(name: Path) -> Path | None:
    """The checkpoint that users keep under a relative `name` in `$DBAE_CHECKPOINTS`; None where there is none."""
    root = os.environ.get("DBAE_CHECKPOINTS")
    if not root or name.is_absolute() or name.exists() or not (folder := Path(root) / name).is_dir():
        return None
    found = [p for p in sorted(folder.iterdir()) if p.suffix in (".pt", ".ckpt", ".safetensors")]
    if len(found) != 1:
        shown = ", ".join(p.name for p in found[:5]) or "none"
        raise UserError(f"{folder}: expected one checkpoint, found {shown}. Name the file itself.")
    return found[0]


def _newest(folder: Path) -> str:
    found = [p for p in folder.rglob("*.safetensors") if not p.name.endswith(".state.safetensors")]
    return str(max(found, key=lambda p: p.stat().st_mtime)) if found else f"{folder}/NAME.safetensors"
