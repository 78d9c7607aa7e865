"""`python -m baselines.encode`, `reconstruct` and `sample`: the commands of `dbae` with models of any method."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys

import numpy as np
import pandas
import pytest
import torch
from latent_networks import small_prior
from PIL import Image
from saved_models import saved
from small_model import Pixels

from baselines.load import load
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import as_json
from dbae.data.named import read_images
from dbae.decoding import starting_point
from dbae.images import save_png
from dbae.noise import PerImageNoise
from dbae.prior import METHOD
from dbae.samplers import SamplerConfig
from dbae.support.files import sha256

N, SIZE = 5, 8


@pytest.fixture
def photos(tmp_path):
    """Five images."""
    for i, image in enumerate(Pixels(N, SIZE).batch(range(N))):
        save_png(image, tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def command(monkeypatch, name, *arguments, status=0):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--device", "cpu"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"baselines.{name}", run_name="__main__", alter_sys=True)
    assert ended.value.code == status


@pytest.mark.parametrize("key", ["diffae", "vae", "ddim"])
def test_any_model_encodes(photos, tmp_path, monkeypatch, key):
    path = saved(tmp_path, key)
    command(monkeypatch, "encode", photos, "--ckpt", path, "--out", tmp_path / "z.csv")
    table = pandas.read_csv(tmp_path / "z.csv")
    assert table["file"].tolist() == [str(photos / f"{i}.png") for i in range(N)]
    with torch.no_grad():
        expected = load(path).model.encode(read_images(str(photos), size=SIZE)).numpy()
    np.testing.assert_allclose(table.filter(regex="^z").to_numpy(np.float32), expected, rtol=0, atol=1e-5)


def pictures(out):
    """Rows of the index, and the grid as an array."""
    return pandas.read_csv(out / "index.csv"), np.asarray(Image.open(out / "grids" / "000000.png"))


@pytest.mark.parametrize(
    ("key", "options", "shown"),
    [
        ("diffae", ("--endpoint", "inferred"), ("x0", "xT", "reconstruction")),
        ("diffae", ("--draws", "1"), ("x0", "xT", "reconstruction", "draw1")),
        ("drl", ("--endpoint", "inferred"), ("x0", "xT", "reconstruction")),
        ("ddim", (), ("x0", "xT", "reconstruction")),
        ("vae", ("--draws", "1"), ("x0", "reconstruction", "draw1")),
    ],
)
def test_any_model_reconstructs(photos, tmp_path, monkeypatch, key, options, shown):
    out, path = tmp_path / "out", saved(tmp_path, key)
    command(monkeypatch, "reconstruct", photos, "--ckpt", path, "--nfe", 4, "--individual", "--out", out, *options)
    index, sheet = pictures(out)
    assert len(index) == N
    assert sheet.shape[0] == len(shown) * (SIZE + 2) + 2
    assert {p.stem.rsplit("-", 1)[1] for p in (out / "images").iterdir()} == set(shown)
    x0 = read_images(str(photos), size=SIZE)
    found = read_images(str(out / "images" / "*-reconstruction.png"), size=SIZE)
    np.testing.assert_allclose(index["mse"], ((found - x0) / 2).square().mean((1, 2, 3)), rtol=1e-4)
    if "--endpoint" in options:
        model = load(path).model
        four, z = SamplerConfig("ddim", nfe=4), model.encode(x0)
        code = model.encode_curve(x0, z, four)[0] if key == "drl" else z
        expected = model.decode(code, x_T=model.infer_endpoint(x0, code, steps=4)[0], sampler=four).images
        torch.testing.assert_close(found, expected, rtol=0, atol=1.1 / 127.5)


def test_what_a_model_lacks_is_named(photos, tmp_path, monkeypatch, capfd):
    path = saved(tmp_path, "ae")
    for options, message in (
        (("--endpoint", "inferred"), "--endpoint inferred: expected one of decoded, which small has"),
        (("--method", "ddim"), "--method ddim: expected one of one_step, which small has"),
        (("--draws", "2"), "a deterministic encoder and sampler"),
    ):
        command(monkeypatch, "reconstruct", photos, "--ckpt", path, "--out", tmp_path / "out", *options, status=2)
        assert message in capfd.readouterr().err


@pytest.mark.parametrize("key", ["ddim", "vae"])
def test_a_model_with_a_prior_of_its_own_samples(tmp_path, monkeypatch, key):
    path = saved(tmp_path, key)
    command(monkeypatch, "sample", "-n", 3, "--ckpt", path, "--nfe", 4, "--out", tmp_path / "out")
    found = read_images(str(tmp_path / "out" / "images"), size=SIZE)
    loaded = load(path)
    z = loaded.prior.sample(PerImageNoise(0, range(3), stream="prior"), 3).z
    sampler = SamplerConfig(loaded.model.samplers[0], nfe=4)
    torch.testing.assert_close(found, loaded.model.decode(z, sampler=sampler).images, rtol=0, atol=1.1 / 127.5)


def test_a_prior_of_another_program_serves(tmp_path, monkeypatch, capfd):
    path = saved(tmp_path, "diffae")
    out = tmp_path / "out"
    command(monkeypatch, "sample", "-n", 2, "--ckpt", path, "--nfe", 4, "--out", out, status=2)
    assert "found none. Train one with" in capfd.readouterr().err
    prior = small_prior()
    card = checkpoint.Card(METHOD, "p", as_json(dataclasses.asdict(prior.config)), {"autoencoder_sha256": sha256(path)})
    checkpoint.save(tmp_path / "prior.safetensors", card, ema=prior.state_dict())
    options = ("--prior", tmp_path / "prior.safetensors", "--prior-nfe", 10)
    command(monkeypatch, "sample", "-n", 2, "--ckpt", path, "--nfe", 4, "--out", out, *options)
    assert json.loads((out / "run.json").read_text())["prior_nfe"] == 10
    assert len(list((out / "images").iterdir())) == 2


def test_a_drawn_x_T_is_of_full_precision(tmp_path):
    """Under bf16 z is rounded, and the state of a sampler must not be."""
    model, z = load(saved(tmp_path, "diffae")).model, torch.zeros(2, 4, dtype=torch.bfloat16)
    x_T = starting_point(model, z, "random", PerImageNoise(0, range(2)))
    assert torch.equal(x_T, PerImageNoise(0, range(2)).normal((2, 3, SIZE, SIZE)))
    assert x_T.dtype == torch.float32
