"""What `python -m baselines.inspect` prints."""

from __future__ import annotations

import pytest
import torch
from official_files import save_lightning, save_pdae, small_ddim, small_diffae
from small_model import small_card

from baselines import inspect
from baselines.inspect import Options
from baselines.load import load
from dbae.checkpoints import own as checkpoint
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.prior import METHOD, LatentPrior
from dbae.support import cli
from dbae.support.files import sha256


def printed(source: object, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The lines under each heading."""
    arguments = [str(source)]
    assert cli.run(inspect.inspect, Options, module="baselines.inspect", description="", arguments=arguments) == 0
    out: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        heading = line[:14].strip()
        out.setdefault(heading, []) if heading else None
        out[list(out)[-1]].append(line[15:])
    return out


def test_builtin_model(capsys):
    found = printed("builtin:dbae", capsys)
    loaded = load("builtin:dbae")
    assert found["sha256"] == [loaded.sha256]
    assert (found["method"], found["weights"]) == (["DBAE, stochastic"], ["EMA, trained"])
    assert (found["images"], found["latent"]) == (["32 px"], ["z of 16 numbers"])
    counts = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in found["parameters"]}
    assert counts.keys() == {"score", "encoder", "decoder", "total"}
    assert counts["total"] == sum(p.numel() for p in loaded.model.parameters())
    assert "score.channel_mult [1, 2, 3]" in found["configuration"]
    assert found["benchmarks"][1].startswith("reconstruction: x_T decoded; samplers ddbm_euler, ")
    assert found["benchmarks"][-1] == "generation: mode ae as it is; mode prior with --prior FILE"
    assert found["command"][0].startswith("python -m dbae.train --preset faces32 ")
    assert "EMA weights" in found["about"][0]
    results = dict(reversed(line.split(maxsplit=1)) for line in found["results"])
    assert {name: float(value) for name, value in results.items()} == checkpoint.read(loaded.file)[0].expected


def test_diffae(tmp_path, capsys):
    found = printed(save_lightning(tmp_path / "last.ckpt", small_diffae()), capsys)
    assert found["file"] == [f"{tmp_path / 'last.ckpt'} ({(tmp_path / 'last.ckpt').stat().st_size / 1e6:.1f} MB)"]
    assert (found["method"], found["weights"], found["trained on"]) == (["DiffAE"], ["EMA, trained"], ["ffhqlmdb256"])
    assert found["parameters"] == ["    1,997,635 network", "      437,600 encoder", "    2,435,235 total"]
    assert found["benchmarks"] == [
        "downstream, disentanglement: z by one pass an image",
        "reconstruction: x_T random or inferred; samplers ddim, ddpm",
        "generation: mode ae as it is; mode prior with --prior FILE",
    ]


def test_ddim_says_that_its_z_is_inferred(tmp_path, capsys):
    path = save_pdae(tmp_path / "checkpoint.pt", {"denoise_fn": small_ddim()})
    found = printed(f"{path}?heads=1&image_size=32&schedule=linear", capsys)
    assert found["benchmarks"][0] == "downstream, disentanglement: z by 100 network evaluations an image"
    assert found["benchmarks"][-1] == (
        "generation: mode ae as it is; mode prior with the prior in the file (NormalPrior)"
    )


def test_files_that_are_no_models(tmp_path, capsys):
    save_pdae(tmp_path / "c.pt", {"classifier": {"weight": torch.zeros(40, 4), "bias": torch.zeros(40)}})
    found = printed(tmp_path / "c.pt", capsys)
    assert found["sha256"] == [sha256(tmp_path / "c.pt")]
    assert found["what"][0].startswith("a linear classifier of attributes over z")
    prior = LatentPrior(LatentMLPConfig(4, 8, 2))
    card = checkpoint.Card(METHOD, "p", {"latent_dim": 4, "hidden": 8, "layers": 2})
    checkpoint.save(tmp_path / "p.safetensors", card, raw=prior.state_dict())
    assert printed(tmp_path / "p.safetensors", capsys)["what"][0].startswith("a prior over latents; give it as --prior")


def test_untrained_checkpoint(tmp_path, capsys):
    model = load("builtin:dbae").untrained(0)
    checkpoint.save(tmp_path / "a.safetensors", small_card(model), raw=model.state_dict())
    assert printed(tmp_path / "a.safetensors", capsys)["weights"] == ["raw, untrained"]
