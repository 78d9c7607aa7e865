"""Opening DBAE checkpoints by file or name."""

from __future__ import annotations

import pytest
import torch
from small_model import narrow_celeba64, small_card, small_model

from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.official import official_key
from dbae.model import DBAE
from dbae.pretrained import BUILTIN, PRIORS, find, listed, load
from dbae.support.errors import UserError
from dbae.support.files import sha256


def test_builtin_model_encodes_what_it_draws():
    loaded = load("builtin:dbae")
    assert loaded.model.name == "dbae-faces32"
    assert not loaded.model.training
    assert loaded.sha256 == sha256(loaded.path)


def test_the_list_of_hashes_has_every_file_beside_it():
    folder = BUILTIN["builtin:dbae"].parent
    assert {*BUILTIN.values(), *PRIORS.values()} == set(folder.glob("*.safetensors"))
    assert all(sha256(path) == digest for path, digest in listed(folder).values())


def test_built_in_files_are_those_that_the_list_names(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("# checked with sha256sum -c\n\nab  dbae-x.safetensors\n")
    found = listed(tmp_path)
    assert found == {"builtin:dbae-x": (tmp_path / "dbae-x.safetensors", "ab")}
    mine = {name: path for name, (path, _) in found.items()}
    with pytest.raises(UserError, match=r"dbae-x\.safetensors: no such checkpoint file, nor a .* \(builtin:dbae-x\)"):
        find("builtin:dbae-x", mine)
    mine["builtin:dbae-x"].touch()
    assert find("builtin:dbae-x", mine) == mine["builtin:dbae-x"]
    assert find("builtin:prior", mine) == PRIORS["builtin:prior"]
    with pytest.raises(UserError, match=r"builtin:dbae: no such built-in model; there is builtin:dbae-x\. "):
        find("builtin:dbae", mine)


def test_file_written_by_training(tmp_path):
    model = small_model()
    checkpoint.save(tmp_path / "a.safetensors", small_card(model), ema=model.state_dict())
    loaded = load(tmp_path / "a.safetensors").model
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_official_file_is_recognised(tmp_path, monkeypatch):
    config = narrow_celeba64(latent_dim=32)
    monkeypatch.setattr("dbae.checkpoints.official.celeba64", lambda latent_dim, stochastic: config)
    model = DBAE.initialised(config, 0)
    torch.save({official_key(k): v for k, v in model.state_dict().items()}, tmp_path / "ema_0.9999_1020000.pt")
    loaded = load(str(tmp_path / "ema_0.9999_1020000.pt")).model
    assert loaded.name == "ema_0.9999_1020000"
    assert torch.equal(loaded.encoder.out[3].weight, model.encoder.out[3].weight)


def test_names_that_are_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"builtin:other: no such built-in model; there is builtin:dbae"):
        load("builtin:other")
    with pytest.raises(UserError, match=r"a\.pt: no such checkpoint file, nor a built-in model"):
        load(tmp_path / "a.pt")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "images-1.safetensors").touch()
    with pytest.raises(UserError, match=r"a folder; name a checkpoint file in it, e\.g\. .*images-1\.safetensors"):
        load(tmp_path)


def test_a_name_is_looked_up_where_checkpoints_are_kept(tmp_path, monkeypatch):
    """As the benchmarks take it: $DBAE_CHECKPOINTS/NAME/FILE."""
    model = small_model()
    monkeypatch.setenv("DBAE_CHECKPOINTS", str(tmp_path))
    folder = tmp_path / "dbae" / "mine"
    with pytest.raises(UserError, match="dbae/mine: no such checkpoint file"):
        load("dbae/mine")
    checkpoint.save(folder / "a.safetensors", small_card(model), ema=model.state_dict())
    assert load("dbae/mine").path == folder / "a.safetensors"
    checkpoint.save(folder / "b.safetensors", small_card(model), ema=model.state_dict())
    with pytest.raises(UserError, match=r"expected one checkpoint, found a\.safetensors, b\.safetensors"):
        load("dbae/mine")
