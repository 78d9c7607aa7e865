"""One way to open any checkpoint."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from golden_fill import fill
from small_model import narrow_celeba64, small_card, small_model

from baselines import load as module
from baselines.interface import RepresentationModel
from baselines.load import BUILTIN, load
from dbae import pretrained
from dbae.checkpoints import official
from dbae.checkpoints import own as checkpoint
from dbae.model import DBAE
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.files import sha256


def written(path, *, stochastic=True, **fields):
    model = small_model(stochastic=stochastic)
    checkpoint.save(path, small_card(model, **fields), raw=small_model(seed=1).state_dict(), ema=model.state_dict())
    return model


@pytest.mark.parametrize("stochastic", [True, False])
def test_own_checkpoint(tmp_path, stochastic):
    path = tmp_path / "a.safetensors"
    model = written(path, stochastic=stochastic, images_seen=128, train_data={"name": "pixels"})
    found = load(path)
    assert load(str(path)).sha256 == found.sha256 == sha256(path)
    assert isinstance(found.model, RepresentationModel)
    assert all(torch.equal(v, found.model.state_dict()[k]) for k, v in model.state_dict().items())
    assert (found.name, found.method, found.weights) == ("small", "DBAE", "trained")
    assert found.variant == ("stochastic" if stochastic else "deterministic")
    assert found.train_data == "pixels (128 images seen)"


def test_checkpoint_that_has_seen_nothing_is_untrained(tmp_path):
    written(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").weights == "untrained"


def test_fresh_weights_are_a_function_of_the_seed(tmp_path):
    written(tmp_path / "a.safetensors", images_seen=1)
    before = torch.random.get_rng_state()
    found = load(tmp_path / "a.safetensors")
    models = [found.untrained(seed) for seed in (5, 5, 6)]
    assert all(isinstance(m, DBAE) and not m.training and m.config == found.model.config for m in models)
    first, again, other = (m.encoder.input_blocks[0][0].weight for m in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, found.model.encoder.input_blocks[0][0].weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_published_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(official, "celeba64", narrow_celeba64)
    with torch.device("meta"):
        state = {official.official_key(k): v for k, v in DBAE(narrow_celeba64(32, False)).state_dict().items()}
    torch.save(OrderedDict(fill(state)), tmp_path / "ema_0.9999_5.pt")
    found = load(tmp_path / "ema_0.9999_5.pt")
    assert (found.name, found.method, found.variant) == ("ema_0.9999_5", "DBAE", "deterministic")
    assert (found.weights, found.train_data) == ("trained", "")
    assert found.sha256 == sha256(tmp_path / "ema_0.9999_5.pt")


def test_options_for_a_file_with_a_card(tmp_path):
    written(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: expected no options, since its card tells all; found heads"):
        load(f"{tmp_path / 'a.safetensors'}?heads=1")


def test_unknown_builtin():
    with pytest.raises(
        UserError, match=r"^builtin:dbea: no such built-in model; there is builtin:dbae[,.] .*ls models"
    ):
        load("builtin:dbea")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: no such checkpoint file, nor a built-in model \(builtin:dbae[,)]"):
        load(tmp_path / "none.pt")


def test_folder_names_its_newest_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"a folder; name a checkpoint file in it, e\.g\. .*/NAME\.safetensors"):
        load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    written(tmp_path / "checkpoints" / "b.safetensors")
    (tmp_path / "checkpoints" / "b.state.safetensors").touch()
    with pytest.raises(UserError, match=r"e\.g\. .*/checkpoints/b\.safetensors\.$"):
        load(tmp_path)


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin_model(name):
    path = BUILTIN[name]
    assert path.is_file(), f"{path} is part of the package and is missing"
    found = load(name)
    assert (found.weights, found.weights_used, found.model.image_size) == ("trained", "EMA", 32)
    assert found.train_data.startswith("faces-v")
    assert path.stat().st_size < 3e6
    card, _ = checkpoint.read(path)
    assert re.match(r"python -m (dbae|baselines)\.train .*--preset faces32", card.command)
    assert card.train_data["fingerprint"]
    assert card.images_seen > 0
    assert card.expected
    x0 = torch.zeros(1, 3, 32, 32)
    z = x0.flatten(1) if found.model.encode_nfe else found.model.encode(x0)
    once = found.model.samplers[0] == "one_step"
    sampler = SamplerConfig(found.model.samplers[0], nfe=1 if once else 2)
    noise = PerImageNoise(0, range(1))
    assert found.model.decode(z, sampler=sampler, noise=noise).images.shape == x0.shape


def test_names_in_result_rows_tell_builtin_models_apart():
    names = [checkpoint.read(path)[0].name for path in BUILTIN.values()]
    assert len(set(names)) == len(names)


def test_the_list_of_hashes_has_every_builtin_model_of_other_methods():
    folder = Path(module.__file__).parent / "builtin"
    there = set(folder.glob("*.safetensors"))
    listed = pretrained.listed(folder)
    assert {path for path, _ in listed.values()} == there == {p for p in BUILTIN.values() if p.parent == folder}
    assert all(sha256(path) == digest for path, digest in listed.values())


def test_builtin_models_of_other_methods_open_by_name(tmp_path, monkeypatch):
    written(tmp_path / "mine.safetensors")
    monkeypatch.setitem(BUILTIN, "builtin:mine", tmp_path / "mine.safetensors")
    assert load("builtin:mine").path == tmp_path / "mine.safetensors"
    with pytest.raises(UserError, match=r"builtin:mine: no such built-in model; .*`python -m baselines\.encode`"):
        pretrained.load("builtin:mine")


@pytest.mark.parametrize("name", ["builtin:dbae", "builtin:diffae", "builtin:pdae", "builtin:vae"])
def test_images_of_another_size_have_no_z(name):
    """Networks of convolutions would answer, and nobody would see that z means nothing."""
    model = load(name).model
    with pytest.raises(ValueError, match=r"\b32\b.*found .*16"):
        model.encode(torch.zeros(2, 3, 16, 16))
    if model.samplers[0] != "one_step":
        with pytest.raises(ValueError, match=r"expected x_T of shape \(b, 3, 32, 32\), found \(2, 3, 16, 16\)"):
            model.decode(torch.zeros(2, model.latent_dim), x_T=torch.zeros(2, 3, 16, 16))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["builtin:dbae", "builtin:diffae", "builtin:ddim", "builtin:pdae", "builtin:vae"])
def test_z_of_another_model_is_not_decoded(name):
    model = load(name).model
    length = model.latent_dim
    noise = PerImageNoise(0, range(2))
    for z, message in (
        (torch.zeros(2, length + 1), rf"expected z of shape \(b, {length}\), found \(2, {length + 1}\)"),
        (torch.zeros(length), rf"expected z of shape \(b, {length}\), found \({length},\)"),
        (torch.zeros(2, 1, length), rf"expected z of shape \(b, {length}\), found \(2, 1, {length}\)"),
        (torch.zeros(2, length).double(), r"expected z of torch\.float32, as the weights are, found torch\.float64"),
        (torch.zeros(2, length).numpy(), "found ndarray: make it a tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            model.decode(z, noise=noise)
    if model.samplers[0] != "one_step":
        with pytest.raises(ValueError, match="expected one x_T for each z, found 3 for 2"):
            model.decode(torch.zeros(2, length), x_T=torch.zeros(3, 3, 32, 32))
    with pytest.raises(ValueError, match=r"expected images of torch\.float32, .*found torch\.uint8"):
        model.encode(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_z_of_less_precision_is_decoded_under_autocast():
    model, z = small_model().eval(), torch.zeros(2, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.decode(z, sampler=SamplerConfig("ddbm_euler", nfe=1)).images.shape == (2, 3, 16, 16)
        with pytest.raises(ValueError, match=r"found torch\.float64"):
            model.decode(z.double())
    with pytest.raises(ValueError, match=r"found torch\.bfloat16"):
        model.decode(z)


def test_a_file_of_ours_opens_whatever_its_name_ends_in(tmp_path):
    written(tmp_path / "a.safetensors")
    file = (tmp_path / "a.safetensors").rename(tmp_path / "a.pt")
    assert (load(file).name, pretrained.load(file).model.name) == ("small", "small")
    assert module.no_model(file) is None
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"a\.pt .* not a complete safetensors file .*truncated"):
        load(file)
    file.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=r"a\.pt .* not a complete PyTorch file"):
        load(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_pytorch_under_the_name_of_ours_is_told_apart_from_a_truncated_one(tmp_path, zipped):
    torch.save({"state_dict": {}}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    file = (tmp_path / "a.pt").rename(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors .* a file of PyTorch's: give it a name that ends in \.pt"):
        load(file)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="truncated"):
        load(file)
