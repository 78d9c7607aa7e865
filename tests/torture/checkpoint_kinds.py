"""Checkpoints that are damaged, made to do harm, or whose cards lie. `python -m baselines.inspect` opens each."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sandbox
import torch
from damage import broken_bytes, broken_json, pick
from kind import Kind
from small_model import small_card, small_model
from systems import tiny

from baselines.methods import METHODS, vae
from baselines.methods.ddim import DDIMConfig
from baselines.methods.drl import DRLConfig
from baselines.methods.infodiffusion import InfoDiffusionConfig
from baselines.methods.sami import SAMIConfig
from baselines.options import in_sizes
from dbae.checkpoints import official, own
from dbae.model import DBAE


def small_files(folder: Path) -> dict[str, Path]:
    """A safetensors checkpoint of a few thousand parameters for every method that trains on its own, by method."""
    model = small_model()
    found = {"dbae": folder / "dbae.safetensors"}
    own.save(found["dbae"], small_card(model), raw=model.state_dict(), ema=model.state_dict())
    configs: dict[str, Any] = {name: vae.config_of(name, tiny()) for name in ("ae", "vae", "beta_tcvae")}
    configs |= {"infodiffusion": in_sizes(InfoDiffusionConfig, tiny()), "sami": in_sizes(SAMIConfig, tiny())}
    configs |= {"drl": in_sizes(DRLConfig, tiny()), "diffae": tiny(), "ddim": DDIMConfig(8, tiny().unet)}
    for method, config in configs.items():
        made = METHODS[method].fresh(config, 0, "small")
        card = own.Card(method=method, name="small", config=own.as_json(dataclasses.asdict(config)))
        found[method] = folder / f"{method}.safetensors"
        own.save(found[method], card, ema=made.state_dict())
    return found


def opened(path: Path, folder: Path) -> str:
    """A complaint about `baselines.inspect`, which opens a file as every benchmark does."""
    return sandbox.run(f"baselines.inspect {path}", folder / "log").refused_or_done([path.name])


class Weights(Kind):
    """Bytes of safetensors files."""

    name, held = "safetensors", "status 0, or 2 with a line that names the file; time and memory bounded"

    def prepare(self) -> None:
        """One of every method."""
        self.files = small_files(self.home)

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """Broken bytes, more often in the header than it is long."""
        method = pick(rng, sorted(self.files))
        data, how = broken_bytes(rng, self.files[method].read_bytes())
        path = folder / f"{method}.safetensors"
        path.write_bytes(data)
        return f"{method}: {how}", opened(path, folder)


class Cards(Kind):
    """Cards with other types, out of bounds, with entries gone or new."""

    name, held = "cards", Weights.held
    prepare = Weights.prepare
    files: dict[str, Path]

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One entry of the card, or of the list of tensors."""
        method = pick(rng, sorted(self.files))
        data = self.files[method].read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.85:
            card, how = broken_json(rng, json.loads(header["__metadata__"]["card"]))
            header["__metadata__"]["card"] = json.dumps(card)
        else:
            header, how = broken_json(rng, header)
        packed = json.dumps(header).encode()
        path = folder / f"{method}.safetensors"
        path.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + length :])
        return f"{method}: {how}", opened(path, folder)


class Call:
    """Unpickling an instance calls `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Pickles(Kind):
    """torch.save's files: broken bytes, and instructions that would run code."""

    name: ClassVar[str] = "torch files"
    held: ClassVar[str] = "as for safetensors; and no code of the file runs, which would leave a file behind"

    def prepare(self) -> None:
        """The published layout of DBAE with few numbers, in torch's new format and in its old one."""
        model: DBAE = small_model()
        state = {official.official_key(key): value for key, value in model.state_dict().items()}
        for name, new in (("new", True), ("old", False)):
            torch.save(state, self.home / f"{name}.pt", _use_new_zipfile_serialization=new)

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One of three: bytes of the file, bytes of its pickle, or a call in it."""
        name = pick(rng, ("new", "old"))
        data = (self.home / f"{name}.pt").read_bytes()
        canary, path = folder / "canary", folder / "ema_0.9999_1.pt"
        way = pick(rng, ("file", "pickle", "call"))
        if way == "call":
            data, how = self._hostile(rng, data, canary)
        elif way == "pickle" and name == "new":
            hows: list[str] = []
            data = _with_pickle(data, lambda old: _noted(broken_bytes(rng, old), hows))
            how = f"pickle {hows[0]}"
        else:
            data, how = broken_bytes(rng, data)
        path.write_bytes(data)
        complaint = opened(path, folder)
        return f"{name}: {how}", f"code of the file ran: {how}" if canary.exists() else complaint

    def _hostile(self, rng: np.random.Generator, data: bytes, canary: Path) -> tuple[bytes, str]:
        import os
        import subprocess

        calls = {
            "os.system": Call(os.system, f"touch {canary}"),
            "subprocess.Popen": Call(subprocess.Popen, ["touch", str(canary)]),
            "builtins.exec": Call(exec, f"open({str(canary)!r}, 'w')"),
            "builtins.eval": Call(eval, f"open({str(canary)!r}, 'w')"),
            "pathlib.Path.touch": Call(Path.touch, canary),
            "torch.load": Call(torch.load, str(canary)),
            "io.open": Call(io.open, str(canary), "w"),
        }
        name = pick(rng, sorted(calls))
        protocol = int(pick(rng, (0, 2, 4)))
        content = pickle.dumps({"state_dict": {}, "x": calls[name]}, protocol=protocol)
        if rng.random() < 0.3:
            return content, f"{name}, protocol {protocol}, a bare pickle"
        if rng.random() < 0.5 or data[:2] != b"PK":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("archive/data.pkl", content)
                archive.writestr("archive/version", "3\n")
            return buffer.getvalue(), f"{name}, protocol {protocol}, in a zip"
        return _with_pickle(data, lambda _: content), f"{name}, protocol {protocol}, in a checkpoint"


def _noted(found: tuple[bytes, str], into: list[str]) -> bytes:
    into.append(found[1])
    return found[0]


def _with_pickle(data: bytes, change: Any) -> bytes:
    """A zip of torch.save with another data.pkl."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("/data.pkl") else content)
    return buffer.getvalue()
