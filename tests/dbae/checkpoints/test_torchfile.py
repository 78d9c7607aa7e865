"""Reading what `torch.save` wrote: everything a checkpoint holds comes back. Hostile files: `test_hostile_files.py`."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import lightning_installed

from dbae.checkpoints import torchfile
from dbae.checkpoints.torchfile import ModelCheckpoint
from dbae.support.errors import UserError

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    *(torch.int16, torch.int8, torch.uint8, torch.bool),
)


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    def save(content):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=request.param)
        return tmp_path / "a.pt"

    return save


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_kind(save, dtype):
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    found = torchfile.read(save({"w": tensor, "scalar": tensor[0, 0], "none": tensor[:0]}))
    assert torch.equal(found["w"], tensor)
    assert found["w"].dtype == dtype
    assert found["scalar"].shape == ()
    assert found["none"].shape == (0, 3)


def test_plain_values(save):
    content = {"a": [1, -1, 2**40, 0.5, True, None, "ü" * 300, ()], "b": {"c": (1, (2, 3))}, 7: "x", "": {}}
    assert torchfile.read(save(content)) == content


def test_modules_and_optimisers(save):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.zeros(2, 3, 5, 5)).sum().backward()
    optimiser.step()
    found = torchfile.read(save({"model": network.state_dict(), "optimizer": optimiser.state_dict()}))
    assert isinstance(found["model"], OrderedDict)
    network.load_state_dict(found["model"])
    optimiser.load_state_dict(found["optimizer"])


def test_parameters_views_and_tied_tensors(save):
    flat = torch.arange(12.0)
    content = {"p": torch.nn.Parameter(flat[2:8].view(2, 3)), "t": flat.view(3, 4).t(), "tied": flat[2:8].view(2, 3)}
    found = torchfile.read(save(content))
    assert all(torch.equal(found[key], value) for key, value in content.items())
    assert isinstance(found["p"], torch.nn.Parameter)


def test_lightning_keys_its_callbacks_by_class(save):
    with lightning_installed() as marker:
        path = save({"callbacks": {marker: {"best_model_score": torch.tensor(0.5)}}})
    found = torchfile.read(path)["callbacks"]
    assert found[ModelCheckpoint]["best_model_score"] == 0.5
    assert not vars(ModelCheckpoint).keys() - {"__module__", "__doc__", "__dict__", "__weakref__"}


def test_reading_leaves_what_torch_allows_as_it_was(save):
    before = set(torch.serialization.get_safe_globals())  # listed in no fixed order
    torchfile.read(save({}))
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_a_zip_file_is_mapped_not_read(tmp_path):
    torch.save({"w": torch.zeros(1 << 16)}, tmp_path / "a.pt")
    found = torchfile.read(tmp_path / "a.pt")["w"]
    assert str(tmp_path / "a.pt") in Path("/proc/self/maps").read_text()
    assert found[0] == 0


# --- files that people make themselves --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.bool_, np.float16, np.complex64])
def test_numbers_of_numpy_and_their_types_are_read(tmp_path, kind):
    torch.save({"w": torch.ones(3), "best": kind(1), "type": np.dtype(kind)}, tmp_path / "a.ckpt")
    found = torchfile.read(tmp_path / "a.ckpt")
    assert torch.equal(found["w"], torch.ones(3))
    assert found["best"] == 1
    assert type(found["best"]) is kind
    assert found["type"] == np.dtype(kind)


@pytest.mark.parametrize("value", [np.zeros(3), np.array([{}]), np.dtype("O"), np.dtype("V8"), np.dtype("f4,f4")])
def test_no_other_object_of_numpy_is(tmp_path, value):
    torch.save({"w": torch.ones(3), "x": value}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="refused for safety, it holds"):
        torchfile.read(tmp_path / "a.ckpt")


def test_ordinary_files_are_refused_with_the_way_out(tmp_path):
    tensors = {"w": torch.zeros(3)}
    torch.save({"state_dict": tensors, "args": argparse.Namespace(lr=1)}, tmp_path / "args.ckpt")
    torch.save({"state_dict": tensors, "x": np.zeros(3)}, tmp_path / "array.ckpt")
    torch.save(tensors, tmp_path / "proto4.ckpt", pickle_protocol=4)
    with zipfile.ZipFile(tmp_path / "last.ckpt.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tmp_path / "args.ckpt", "last.ckpt")
    alone = r"If it is your own, save the tensors alone: .*torch\.save\(c\['state_dict'\], 'weights\.pt'\)"
    for name, held, remedy in (
        ("args.ckpt", r"argparse\.Namespace", alone),
        ("array.ckpt", r"numpy\._core\.multiarray\._reconstruct", alone),
        ("proto4.ckpt", "the pickle instruction FRAME, that is pickle protocol 4", alone),
        ("last.ckpt.zip", r"a packed checkpoint, last\.ckpt", r"Unpack it \(unzip last\.ckpt\.zip\)"),
    ):
        with pytest.raises(UserError, match=f"refused for safety, it holds {held}.* {remedy}") as caught:
            torchfile.read(tmp_path / name)
        assert "get it again from its authors" not in str(caught.value)


def test_hostile_files_keep_their_warning(tmp_path):
    for function, name in ((os.system, r"posix\.system"), (eval, r"__builtin__\.eval")):
        torch.save({"f": function}, tmp_path / "a.ckpt")
        with pytest.raises(UserError, match=rf"it holds {name}\..* get it again from its authors"):
            torchfile.read(tmp_path / "a.ckpt")


def test_an_assertion_within_torch_is_damage(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise AssertionError

    torch.save({"w": torch.zeros(3)}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(torch, "load", broken)
    with pytest.raises(UserError, match=r"not a complete PyTorch file of tensors \(AssertionError\)"):
        torchfile.read(tmp_path / "a.ckpt")
