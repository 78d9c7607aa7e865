"""Every system through the command that trains it: its checkpoint opens, and a resumed run is the same run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from systems import plain_images, tiny_preset

from baselines import train
from baselines.diffusion.process import alpha_bar
from baselines.inspect import describe
from baselines.load import load
from baselines.methods import METHODS
from dbae.checkpoints import own as checkpoint
from dbae.noise import PerImageNoise
from dbae.support.files import sha256
from dbae.training.folder import RunFolder

LOOP = ["--images", "12", "--batch-size", "4", "--accumulate", "1", "--log-every", "2", "--device", "cpu"]
X = plain_images(2)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset faces32 with a few thousand parameters, on images of 8 px."""
    for key in ("ddim", "lcg_dm", "disdiff", *CASES):
        monkeypatch.setitem(METHODS[key].presets, "faces32", tiny_preset(key, preview_every=12))


def command(out: Path, method: str, *options: str) -> Path:
    arguments = ["--method", method, "--data", "faces:?n=8", "--out", str(out), *LOOP, *options]
    assert train.main(arguments) == 0
    return RunFolder(out).checkpoints()[-1]


CASES = {
    "ae": ([], "AE", "calibrated"),
    "vae": (["--weights", "published", "--beta", "0.5"], "VAE", "as published, beta=0.5"),
    "beta_vae": (["--weights", "published"], "beta-VAE", "as published"),
    "beta_tcvae": ([], "beta-TCVAE", "calibrated"),
    "info_vae": ([], "InfoVAE", "calibrated"),
    "infodiffusion": (
        ["--mmd", "0.2", "--schedule", "infodiffusion"],
        "InfoDiffusion",
        "mmd=0.2, schedule=infodiffusion",
    ),
    "drl": (["--emphasis", "coarse", "--times", "200", "600"], "DRL", "emphasis=coarse, times=(200, 600)"),
    "vdrl": (["--schedule", "ve"], "VDRL", "schedule=ve"),
    "sami": (["--time-conditioned", "--kl", "0.01"], "SAMI", "time_conditioned=True, kl=0.01"),
    "simclr": (["--temperature", "0.1", "--crop"], "SimCLR", "crop, temperature=0.1"),
    "soda": (
        ["--views", "colour", "--drop", "0.5", "--schedule", "inverted_cosine"],
        "SODA-lite",
        "views=colour, drop=0.5, schedule=inverted_cosine",
    ),
    "fdae": (["--latent-dim", "12", "--parts", "3", "--entropy", "0.01"], "FDAE", "parts=3, entropy=0.01"),
    "sb_vae": (["--steps", "2", "--drift-every", "2"], "SB-VAE", "steps=2, drift_every=2"),
    "ib_gan": (["--code", "noise", "--beta", "0.5"], "IB-GAN", "code=noise, beta=0.5"),
}


@pytest.mark.parametrize("method", CASES)
def test_resumed_run_is_the_same_run_and_its_checkpoint_opens(tmp_path, method):
    options, label, variant = CASES[method]
    whole = command(tmp_path / "whole", method, *options)
    if method not in ("ae", "beta_tcvae", "info_vae"):  # as the vae, whose loss they share
        command(tmp_path / "parts", method, *options, "--images", "8")
        parts = command(tmp_path / "parts", method, *options, "--resume")
        states = [checkpoint.read(path)[1] for path in (whole, parts)]
        for kind in ("raw", "ema"):
            assert states[0][kind].keys() == states[1][kind].keys()
            assert all(torch.equal(value, states[1][kind][key]) for key, value in states[0][kind].items())
    card = checkpoint.read(whole)[0]
    shown = " ".join(options)
    expected = f"python -m baselines.train --method {method} --preset faces32 {shown}".rstrip()
    assert card.command.startswith(f"{expected} --data 'faces:?n=8' --images 12")
    assert (tmp_path / "whole" / "previews" / "images-000000012.png").is_file()

    found = load(whole)
    assert (found.method, found.variant, found.weights) == (label, variant, "trained")
    model, noise = found.model, PerImageNoise(0, range(2))
    z = model.encode(X)
    assert z.shape == (2, model.latent_dim)
    if model.endpoints:
        assert model.decode(z, noise=noise).images.shape == X.shape
    else:
        assert describe(found)["benchmarks"][-1] == "reconstruction, variation, generation: n/a, there is no decoder"
    assert found.untrained is not None
    other = found.untrained(1)
    assert not torch.equal(other.encode(X), z)
    if found.prior is not None:
        drawn = found.prior.sample(PerImageNoise(0, range(2)), 2)
        assert drawn.z.shape == z.shape


@pytest.mark.parametrize("method", ["infodiffusion", "sami", "disdiff"])
def test_methods_that_may_build_on_a_plain_model(tmp_path, method):
    plain = command(tmp_path / "ddim", "ddim", "--images", "4")
    path = command(tmp_path / method, method, "--pretrained", str(plain), "--images", "8")
    card, states = checkpoint.read(path)
    assert card.command.startswith(f"python -m baselines.train --method {method} --preset faces32 --pretrained images-")
    assert card.objective == {"pretrained": "ddim-faces32", "sha256": sha256(plain)}
    part = {"infodiffusion": "network_plain", "sami": "network", "disdiff": "decoder"}[method]
    for key, value in checkpoint.read(plain)[1]["ema"].items():
        assert torch.equal(states["raw"][key.replace("network", part, 1)], value), key
    found = load(path)
    assert found.variant == {"infodiffusion": "plain=True", "sami": "frozen=True", "disdiff": ""}[method]


def test_lcg_dm_has_the_encoder_of_a_vae_as_it_is(tmp_path):
    """Whatever its length of z; a resumed run is the same run."""
    vae = command(tmp_path / "vae", "beta_tcvae", "--latent-dim", "3", "--images", "4")
    options = ["--pretrained", str(vae)]
    whole = command(tmp_path / "whole", "lcg_dm", *options)
    command(tmp_path / "parts", "lcg_dm", *options, "--images", "8")
    parts = command(tmp_path / "parts", "lcg_dm", *options, "--resume")
    card, states = checkpoint.read(whole)
    assert "lcg_dm --preset faces32 --pretrained images-" in card.command
    about = {"pretrained": "beta_tcvae-faces32", "method": "beta-TCVAE", "sha256": sha256(vae)}
    assert (card.objective, card.config["latent_dim"]) == (about, 3)
    theirs, resumed = checkpoint.read(vae)[1]["ema"], checkpoint.read(parts)[1]
    for kind in ("raw", "ema"):
        assert all(torch.equal(value, resumed[kind][key]) for key, value in states[kind].items())
        encoder = {key: value for key, value in states[kind].items() if key.startswith("encoder.")}
        assert all(torch.equal(value, theirs[key]) for key, value in encoder.items())
    assert torch.equal(load(whole).model.encode(X), load(vae).model.encode(X))


def test_resumed_disdiff_is_the_same_run(tmp_path):
    """With its gradient fields, their embedding and the encoder; what it builds on stays as it was."""
    plain = command(tmp_path / "ddim", "ddim", "--images", "4")
    options = ["--pretrained", str(plain), "--weight", "1", "--optimizer", "adam"]  # whose first steps are not tiny
    whole = checkpoint.read(command(tmp_path / "whole", "disdiff", *options))[1]
    before = checkpoint.read(command(tmp_path / "parts", "disdiff", *options, "--images", "8"))[1]["raw"]
    parts = checkpoint.read(command(tmp_path / "parts", "disdiff", *options, "--resume"))[1]
    for kind in ("raw", "ema"):
        assert whole[kind].keys() == parts[kind].keys()
        assert all(torch.equal(value, parts[kind][key]) for key, value in whole[kind].items())
    moved = {key for key, value in before.items() if not torch.equal(value, parts["raw"][key])}
    assert any(key.startswith("encoder.") for key in moved)
    assert any(key.startswith("decoder.shift_") for key in moved)
    assert "decoder.identity" in moved


def test_every_system_has_the_trunk_of_diffae(monkeypatch):
    """Shapes of U-Net and encoder, and the length of z, at every preset."""
    monkeypatch.undo()
    for name in ("faces32", "faces64s", "faces64"):
        theirs = METHODS["diffae"].presets[name].config()
        for key in [*CASES, "lcg_dm"]:
            ours = METHODS[key].presets[name].config()
            for part in {"image_size", "latent_dim", "unet", "encoder"} & vars(ours).keys():
                expected = getattr(theirs, part)
                if (key, part) == ("sb_vae", "unet"):  # what is dropped out would be noise of its own
                    expected = dataclasses.replace(expected, dropout=0.0)
                assert getattr(ours, part) == expected, (key, part)
            own = {"simclr": {"batch_size": 256}, "ib_gan": {"lr": 2e-4 if name == "faces32" else 1e-4}}.get(key, {})
            assert METHODS[key].presets[name].training == METHODS["diffae"].presets[name].training | own


def test_options_of_others_are_refused(tmp_path, capsys):
    for method, options, message in (
        ("vae", ["--emphasis", "coarse"], "--emphasis coarse: only for drl, vdrl; leave it out for vae."),
        ("ae", ["--beta", "1"], "an ae has no posterior: expected beta, capacity, tc and mmd of 0, 0, 1, 0, found"),
        ("drl", ["--times", "5", "3"], "--times: expected times that rise within 0 to 999, found (5, 3)"),
    ):
        assert train.main(["--method", method, "--data", "faces:?n=8", "--out", str(tmp_path / "run"), *options]) == 2
        assert message in capsys.readouterr().err


def test_alpha_bar_of_every_schedule_falls():
    for schedule in ("linear", "cosine", "infodiffusion", "ve", "inverted_cosine"):
        assert (alpha_bar(schedule)[1:] < alpha_bar(schedule)[:-1]).all()
