"""Reading files that `torch.save` wrote, without trusting them.

A file passes two gates. `torchpickle` follows its pickle and refuses everything but tensors, plain values and the few
names that published checkpoints carry; the sizes of what it declares are compared with the size of the file. Then
`torch.load(weights_only=True)` reads it, with stand-ins for Lightning's names: an empty class and a plain dictionary.
Zip files (the format since PyTorch 1.6) are mapped, not read, so optimiser state that nobody asks for costs nothing.
"""

from __future__ import annotations

import codecs
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from dbae.checkpoints import torchpickle
from dbae.checkpoints.torchpickle import OrdinaryError, RefusedError, Storage
from dbae.support.errors import UserError

ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MAX_MEMBERS = 1 << 16
_DAMAGE: tuple[type[Exception], ...] = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, LookupError, EOFError)
_DAMAGE += (ValueError, OSError, AttributeError, TypeError, OverflowError, AssertionError)


class ModelCheckpoint:
    """Stands for Lightning's class of that name, which keys the state of callbacks."""


_STAND_INS: list[Any] = [(ModelCheckpoint, torchpickle.MARKERS[0].replace(" ", "."))]
_STAND_INS += [(OrderedDict, torchpickle.MAPPINGS[1].replace(" ", "."))]
_STAND_INS += [(scalar, name.replace(" ", ".")) for name in torchpickle.SCALARS]
_STAND_INS += [np.dtype, codecs.encode, *(type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "efdgFDG?")]


def begins(path: Path) -> bool:
    """Whether a file begins as those of `torch.save` do."""
    with open(path, "rb") as file:
        return file.read(len(LEGACY)).startswith((ZIP, LEGACY))


def read(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` put into a file: tensors (on the CPU, possibly views of the mapped file), numbers, containers.

    Never runs code from the file; time and memory are bounded by its size.

    Raises:
        UserError: no such file, not a complete PyTorch file, or one that holds more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file.")
    size = path.stat().st_size
    try:
        zipped = _check(path, size)
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OrdinaryError as error:
        raise UserError(
            f"{path} ({size} bytes): refused for safety, it holds {error}. {_remedy(path)} "
            "If it is somebody else's, do not open it with other programs unless you trust its authors."
        ) from error
    except RefusedError as error:
        raise UserError(
            f"{path} ({size} bytes): refused for safety, it holds {error}. A file of weights needs no such thing: "
            "do not open it with other programs, and get it again from its authors."
        ) from error
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} ({size} bytes): not a complete PyTorch file of tensors ({reason}). "
            "It may be truncated: copy or download it again."
        ) from error


def _remedy(path: Path) -> str:
    """How the maker of a file makes one that can be read."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist()[:MAX_MEMBERS] if not name.endswith("/")]
        if not any(name.endswith("data.pkl") for name in inside):
            return f"Unpack it (unzip {path.name}) and name the checkpoint in it."
    return (
        f"If it is your own, save the tensors alone: c = torch.load('{path.name}', weights_only=False), then "
        "torch.save(c['state_dict'], 'weights.pt') with the key under which yours are, or torch.save(c, 'weights.pt') "
        "where it is nothing but them."
    )


def own_copy(tensor: Tensor) -> Tensor:
    """A copy that holds on to no mapped file and no shared storage, convolutions in the layout they are fastest in."""
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    return tensor.detach().clone(memory_format=layout)


def _check(path: Path, size: int) -> bool:
    """Whether the file is a zip file; raises unless what it declares fits what it has."""
    with open(path, "rb") as file:
        head = file.read(len(LEGACY))
        if head == LEGACY:
            file.seek(0)
            storages, tensor_bytes = _check_legacy(file.read(5 * torchpickle.MAX_BYTES))
            room: dict[str, int] = {}
        elif head.startswith(ZIP):
            storages, tensor_bytes, room = _check_zip(path, size)
        else:
            raise ValueError("it does not begin like one")
    stored = {key: storage.numel * storage.item_bytes for key, storage in storages.items()}
    cut = [key for key, length in stored.items() if length > room.get(key, 0 if room else size)]
    if cut or sum(stored.values()) > size:
        raise ValueError(f"its tensors take {sum(stored.values())} bytes")
    # Two keys may name one tensor (the latent networks' do); more than that is a trick to fill the memory.
    if tensor_bytes > 2 * sum(stored.values()):
        raise RefusedError(f"tensors of {tensor_bytes} bytes in storages of {sum(stored.values())}")
    return head.startswith(ZIP)


def _check_zip(path: Path, size: int) -> tuple[dict[str, Storage], int, dict[str, int]]:
    """Storages and bytes of the tensors of a zip file, and the bytes it has for every storage."""
    if _members(path, size) > MAX_MEMBERS:
        raise RefusedError("too many members for a file of tensors")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if not any(name.endswith("data.pkl") for name in members) and any(map(_is_checkpoint, members)):
            raise OrdinaryError(f"a packed checkpoint, {sorted(filter(_is_checkpoint, members))[0]}")
        if len(members) != len(archive.infolist()):
            raise RefusedError("two members of one name")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members.values()):
            raise RefusedError("compressed members")
        if sum(info.file_size for info in members.values()) > size:
            raise RefusedError("members that overlap")
        pickles = [name for name in members if name.endswith(".pkl")]
        if len(pickles) != 1 or pickles[0].count("/") != 1 or not pickles[0].endswith("/data.pkl"):
            raise RefusedError(f"the members {sorted(members)[:3]} in place of one data.pkl")
        summary = torchpickle.summarise(archive.read(pickles[0]))
    folder = pickles[0].removesuffix("data.pkl") + "data/"
    room = {name.removeprefix(folder): info.file_size for name, info in members.items() if name.startswith(folder)}
    return summary.storages, summary.tensor_bytes, room or {"": 0}


def _is_checkpoint(name: str) -> bool:
    return name.endswith((".pt", ".pth", ".ckpt", ".safetensors"))


def _members(path: Path, size: int) -> int:
    """Number of members by the end record, so that a directory of millions is not read."""
    with open(path, "rb") as file:
        file.seek(max(0, size - (1 << 16) - 98))
        tail = file.read()
    record, wide = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    if record < 0:
        raise ValueError("the end of the zip file is missing")
    start, width = (wide + 32, 8) if wide >= 0 else (record + 10, 2)
    return int.from_bytes(tail[start : start + width], "little")


def _check_legacy(data: bytes) -> tuple[dict[str, Storage], int]:
    """Storages and bytes of the tensors of a file in the format before PyTorch 1.6: five pickles, then the data."""
    for _ in range(3):  # magic number, protocol, byte order
        data = data[torchpickle.summarise(data).length :]
    content = torchpickle.summarise(data)
    keys = torchpickle.summarise(data[content.length :])
    if keys.storages:
        raise RefusedError("storages among the names of storages")
    return content.storages, content.tensor_bytes
