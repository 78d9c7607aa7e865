"""Reading what `torch.save` wrote: everything a checkpoint holds comes back. Hostile files: `test_hostile_files.py`."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from official_files import lightning_installed

from dbae.checkpoints import torchfile
from dbae.checkpoints.torchfile import ModelCheckpoint

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
    before = torch.serialization.get_safe_globals()
    torchfile.read(save({}))
    assert torch.serialization.get_safe_globals() == before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_a_zip_file_is_mapped_not_read(tmp_path):
    torch.save({"w": torch.zeros(1 << 16)}, tmp_path / "a.pt")
    found = torchfile.read(tmp_path / "a.pt")["w"]
    assert str(tmp_path / "a.pt") in Path("/proc/self/maps").read_text()
    assert found[0] == 0
