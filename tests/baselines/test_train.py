"""`python -m baselines.train`: every method trains through the same loop, and its checkpoint opens."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from diffusion_networks import tiny_ddim_config, tiny_diffae_config

from baselines import train
from baselines.load import load
from baselines.method import Preset
from baselines.methods import ddim, diffae, infodiffusion
from dbae.checkpoints import own as checkpoint
from dbae.samplers import SamplerConfig
from dbae.support import distributed
from dbae.support.errors import UserError
from dbae.support.files import sha256
from dbae.training.config import SMALL_PRESETS, TrainConfig
from dbae.training.folder import RunFolder

LOOP = ["--images", "24", "--batch-size", "4", "--log-every", "2", "--preview-every", "24", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset faces32 with a few thousand parameters, on images of 16 px."""
    small = SMALL_PRESETS["faces32"]
    monkeypatch.setitem(ddim.METHOD.presets, "faces32", Preset(tiny_ddim_config, small))
    monkeypatch.setitem(diffae.METHOD.presets, "faces32", Preset(tiny_diffae_config, small))


def command(out: Path, method: str, *options: str) -> int:
    return train.main(["--method", method, "--data", "faces:?n=16", "--out", str(out), *LOOP, *options])


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["ddim", "diffae"])
def test_run_leaves_a_model_a_log_and_a_picture(tmp_path, method):
    assert command(tmp_path, method) == 0
    [path] = RunFolder(tmp_path).checkpoints()
    card = checkpoint.read(path)[0]
    assert (card.method, card.name, card.images_seen) == (method, f"{method}-faces32", 24)
    start, loop = f"python -m baselines.train --method {method} --preset faces32", "--images 24 --batch-size 4 --seed 0"
    assert card.command == f"{start} --data 'faces:?n=16' {loop}"
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert len(losses) == 3
    assert losses[0] == pytest.approx(1, abs=0.2)  # of a network that says nothing yet
    assert losses[-1] != losses[0]
    assert (tmp_path / "previews" / "images-000000024.png").read_bytes().startswith(b"\x89PNG")
    found = load(path)
    assert (found.method, found.weights) == ({"ddim": "DDIM", "diffae": "DiffAE"}[method], "trained")
    z = torch.zeros(1, found.model.latent_dim)
    x_T = torch.zeros(1, 3, 16, 16)
    decoded = found.model.decode(z, x_T=x_T, sampler=SamplerConfig("ddim", 2))
    assert decoded.images.shape == (1, 3, 16, 16)
    with torch.no_grad():
        fresh = found.untrained(0)
    assert not torch.equal(fresh.network.out[2].weight, found.model.network.out[2].weight)


def test_resumed_run_is_the_same_run(tmp_path):
    assert command(tmp_path / "whole", "diffae") == 0
    assert command(tmp_path / "parts", "diffae", "--images", "12") == 0
    assert command(tmp_path / "parts", "diffae", "--resume") == 0
    whole, parts = (checkpoint.read(RunFolder(tmp_path / n).checkpoints()[-1])[1]["ema"] for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("method", "options"), [("pdae", []), ("diti", []), ("diti", ["--objective", "dual"])], ids=["pdae", "diti", "dual"]
)
def test_methods_that_build_on_a_pretrained_model(tmp_path, monkeypatch, method, options):
    """Its weights are in the new model, and training leaves them as they were."""
    of_pdae = Preset(lambda: ddim.DDIMConfig(32, tiny_ddim_config().unet), SMALL_PRESETS["faces32"])  # of 32 px
    monkeypatch.setitem(ddim.METHOD.presets, "faces32", of_pdae)
    assert command(tmp_path / "ddim", "ddim", "--preview-every", "999") == 0
    [pretrained] = RunFolder(tmp_path / "ddim").checkpoints()
    assert command(tmp_path / method, method, "--pretrained", str(pretrained), *options) == 0
    [path] = RunFolder(tmp_path / method).checkpoints()
    card, states = checkpoint.read(path)
    assert card.command.startswith(f"python -m baselines.train --method {method} --preset faces32 --pretrained images-")
    assert card.objective == {"pretrained": "ddim-faces32", "sha256": sha256(pretrained)}
    assert card.config.get("objective") == {"pdae": None, "diti": options[-1] if options else "base"}[method]
    before = checkpoint.read(pretrained)[1]["ema"]
    for kind in ("ema", "raw"):
        for key, value in before.items():
            assert torch.equal(states[kind][f"decoder.{key.removeprefix('network.')}"], value), key
    moved = [key for key, value in states["raw"].items() if not torch.equal(value, states["ema"][key])]
    assert any(key.startswith("decoder.shift_") for key in moved)
    assert any(key.startswith("encoder.") for key in moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "ddim", "--preset", "ffhq512"], "--preset ffhq512: ddim has the presets celeba64, ffhq128,"),
        (["--method", "ddim", "--latent-dim", "4"], "--latent-dim 4: only for diffae, pdae, diti, ae, vae, "),
        (
            ["--method", "pdae", "--objective", "dual", "--pretrained", "x"],
            "--objective dual: only for diti; leave",
        ),
        (["--method", "diffae", "--latent-dim", "0"], "--latent-dim: expected 1 or more, found 0;"),
        (["--method", "diffae", "--dropout", "-1"], "--dropout: expected a number from 0 to less than 1, found -1.0;"),
        (["--method", "ib_gan", "--dropout", "0"], "--dropout 0.0: ib_gan has no U-Net; leave it out."),
        (["--method", "pdae"], "--method pdae: name the ddim checkpoint it builds on with --pretrained."),
        (
            ["--method", "ddim", "--pretrained", "x"],
            "--pretrained x: only for pdae, diti, infodiffusion, sami, lcg_dm, disdiff; leave it out for ddim.",
        ),
        (["--method", "pdae", "--pretrained", "builtin:dbae"], "builtin:dbae: expected a plain diffusion model (ddim)"),
        (["--method", "simclr", "--batch-size", "1"], "--batch-size 1: expected a micro-batch of 2 images or more"),
        (["--method", "beta_tcvae", "--batch-size", "1"], "--batch-size 1: expected a micro-batch of 2 images or more"),
        (
            ["--method", "fdae", "--batch-size", "3", "--accumulate", "3"],
            "--batch-size 3: expected a micro-batch of 2 images or more, which the loss of fdae compares with each",
        ),
        (["--method", "sb_vae", "--batch-size", "1"], "--batch-size 1: expected a micro-batch of 2 images or more"),
    ],
)
def test_bad_options_give_one_line_and_status_2(tmp_path, capsys, options, message):
    assert train.main([*options, "--data", "faces:?n=16", "--out", str(tmp_path / "run")]) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith(message)
    assert not (tmp_path / "run").exists()


def test_code_of_another_length(tmp_path):
    assert command(tmp_path, "diffae", "--latent-dim", "7", "--images", "4", "--name", "seven") == 0
    card = checkpoint.read(RunFolder(tmp_path).checkpoints()[-1])[0]
    assert (card.name, card.config["latent_dim"]) == ("seven", 7)
    assert "--latent-dim 7" in card.command


def test_dropout_is_of_the_network_that_is_trained(tmp_path, monkeypatch, capsys):
    built = Preset(lambda: infodiffusion.InfoDiffusionConfig(**vars(tiny_diffae_config())))
    monkeypatch.setitem(infodiffusion.METHOD.presets, "faces32", built)
    plain = tmp_path / "ddim"
    assert command(plain, "ddim", "--dropout", "0.25", "--images", "4") == 0
    [path] = RunFolder(plain).checkpoints()
    card = checkpoint.read(path)[0]
    assert card.config["unet"]["dropout"] == 0.25
    assert "--preset faces32 --dropout 0.25 " in card.command
    built_on = ["--images", "4", "--pretrained", str(path)]
    assert command(tmp_path / "other", "infodiffusion", *built_on, "--dropout", "0") == 2
    assert "--dropout 0.0: the U-Net is that of --pretrained, with 0.25; leave" in capsys.readouterr().err


def test_defaults_are_the_authors(capsys):
    def defaults(*arguments: str) -> TrainConfig:
        return train._preset_defaults(list(arguments))

    published = defaults("--method", "diffae", "--preset", "ffhq128")
    assert (published.optimizer, published.lr, published.batch_size, published.clip_grad) == ("adam", 1e-4, 128, 1.0)
    assert (published.images, published.ema_rate, published.ema_warmup) == (130_000_000, 0.9999, False)
    assert defaults("--method=pdae", "--preset=celeba64").clip_grad is None
    assert defaults("--method", "diti", "--preset", "celeba64").lr == 2e-4
    assert defaults() == defaults("--method", "ddim", "--preset", "faces32")
    with pytest.raises(SystemExit) as stopped:
        train.main(["--method", "diffae", "--preset", "ffhq256", "--help"])
    assert stopped.value.code == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "default: 200000000" in text
    assert "python -m baselines.train --method ddim --preset faces32" in text


def test_help_says_which_methods_an_option_is_of_in_whole_phrases():
    hints = get_type_hints(train.options_of("diffae"), include_extras=True)
    own = train._options_of_methods()
    assert {"latent_dim", "pretrained", "schedule"} < own.keys()
    for name, (_, having) in own.items():
        told = "".join(getattr(part, "help", None) or "" for part in hints[name].__metadata__)
        for key in having if name != "latent_dim" else ():
            meaning = train._documented(train.TRAINED[key].options, name)
            assert re.search(rf"\b{key}\b[\w, ]*: {re.escape(meaning)}", told), (name, key)
            assert meaning.split()[0] not in {"of", "at", "by", "its", "in", "for", "to", "with", "whose"}, meaning
    assert hints["latent_dim"].__metadata__[0].help.startswith("all methods but ddim, lcg_dm: length of z")


def test_losses_that_compare_no_images_take_one(tmp_path, monkeypatch):
    assert command(tmp_path, "diffae", "--batch-size", "1", "--images", "2") == 0
    for method, options in (("beta_tcvae", {"tc": 1.0}), ("fdae", {"decorrelation": 0.0}), ("vae", {})):
        config = train.TRAINED[method].preset("faces32").config()
        assert train.TRAINED[method].least(dataclasses.replace(config, **options)) == 1
    monkeypatch.setattr(distributed, "processes", lambda: 4)
    with pytest.raises(UserError, match=r"--batch-size 4: expected a micro-batch of 2 .*, found 1"):
        train._require_batch(train.Args("faces", tmp_path, method="simclr", train=TrainConfig(batch_size=4)), None)
