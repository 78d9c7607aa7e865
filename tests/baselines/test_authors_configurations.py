"""Files that the authors' programs make of other configurations than the published ones open, and compute the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official_files import State, save_lightning, save_pdae
from torch import nn

from baselines.load import load
from baselines.method import Method, ready
from baselines.methods import METHODS
from baselines.methods.ddim import DDIMConfig
from baselines.methods.diffae import DiffAEConfig
from baselines.methods.pdae import PDAEConfig
from baselines.methods.pdae.diti import DiTiConfig, Partition
from baselines.methods.pdae.networks import PDAEEncoderConfig
from dbae.bridge import Bridge
from dbae.checkpoints.official import official_key
from dbae.model import DBAEConfig
from dbae.networks.encoder import EncoderConfig
from dbae.networks.endpoint_decoder import EndpointDecoderConfig
from dbae.networks.trunk import UNetConfig
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

ENCODER = EncoderConfig(8, (1, 1, 2))
PLAIN_UNET = UNetConfig(8, (1, 2, 2), res_blocks=1, attention_sizes=(16,), head_channels=None, heads=1)
CONV: Any = {"resampling": "convolution"}
EVEN = Partition(blocks=4, stages=(), dims=())


def other(unet: UNetConfig = PLAIN_UNET, **changes: Any) -> UNetConfig:
    return dataclasses.replace(unet, **changes)


CASES: dict[str, tuple[str, Any, str, dict[str, Any]]] = {
    # method, configuration, what has to be told, what the file says by itself
    "dbae, attention at 16 only, ve": (
        "dbae",
        DBAEConfig(
            64,
            6,
            True,
            UNetConfig(8, (1, 2, 2), res_blocks=1, attention_sizes=(16,), head_channels=8),
            ENCODER,
            EndpointDecoderConfig(2, unused_block=True),
            Bridge("ve"),
        ),
        "head_channels=8&attention_order=legacy&bridge=ve",
        {},
    ),
    "dbae, 128 px, latents of 96, options of the program": (
        "dbae",
        DBAEConfig(
            128,
            96,
            False,
            UNetConfig(
                8,
                (1, 2, 2, 2),
                res_blocks=1,
                attention_sizes=(32, 16),
                head_channels=None,
                heads=2,
                attention_order="new",
                additive=True,
                **CONV,
            ),
            dataclasses.replace(ENCODER, channel_mult=(1, 1, 2, 2), heads=2),
            EndpointDecoderConfig(2),
            Bridge("vp", preconditioned=False, beta_d=1.5, sigma_data=0.25),
        ),
        "heads=2&attention_order=new&bridge=vp_simple&beta_d=1.5&sigma_data=0.25&encoder_heads=2",
        {},
    ),
    "diffae, two heads, cosine, by itself": (
        "diffae",
        DiffAEConfig(
            32, 10, other(heads=2, **CONV), dataclasses.replace(ENCODER, heads=2, res_blocks=1, **CONV), "cosine"
        ),
        "",
        {"net_beatgans_attn_head": 2, "beta_scheduler": "cosine", "T": 1000},
    ),
    "diffae, attention at 8 and 32": (
        "diffae",
        DiffAEConfig(
            32,
            10,
            other(attention_sizes=(32, 8)),
            dataclasses.replace(ENCODER, attention_sizes=(32, 8), res_blocks=1),
            "linear",
        ),
        "",
        {},
    ),
    "diffae, no attention but in the middle": (
        "diffae",
        DiffAEConfig(
            32, 10, other(attention_sizes=()), dataclasses.replace(ENCODER, attention_sizes=(), res_blocks=1), "linear"
        ),
        "",
        {},
    ),
    "guided-diffusion, 32 px, additive, convolutions": (
        "ddim",
        DDIMConfig(
            32,
            other(
                res_blocks=3,
                attention_sizes=(16, 8),
                heads=4,
                attention_order="new",
                additive=True,
                embedding=24,
                **CONV,
            ),
            learn_sigma=True,
            schedule="cosine",
        ),
        "image_size=32&heads=4&attention_order=new&schedule=cosine",
        {},
    ),
    "guided-diffusion, heads by width": (
        "ddim",
        DDIMConfig(64, other(attention_sizes=(32, 16), head_channels=8)),
        "image_size=64&head_channels=8&attention_order=legacy&schedule=linear",
        {},
    ),
    "guided-diffusion, half the width at full size, as at 512 px": (
        "ddim",
        DDIMConfig(
            64,
            other(base=16, channel_mult=(0.5, 0.5, 0.5, 1), attention_sizes=(16, 8), head_channels=8),
            learn_sigma=True,
        ),
        "image_size=64&head_channels=8&attention_order=legacy&schedule=linear",
        {},
    ),
    "pdae, cosine, two heads": (
        "pdae",
        PDAEConfig(
            32,
            12,
            other(heads=2, attention_order="new", attention_sizes=(16, 8)),
            PDAEEncoderConfig((8, 16), heads=2),
            schedule="cosine",
        ),
        "heads=2&attention_order=new&schedule=cosine&encoder_heads=2",
        {},
    ),
    "diti, a variance, an encoder without attention": (
        "diti",
        DiTiConfig(
            32,
            12,
            other(channel_mult=(2, 2, 2)),
            PDAEEncoderConfig((8, 16, 16), attention_size=0),
            learn_sigma=True,
            partition=EVEN,
        ),
        "heads=1&schedule=linear",
        {},
    ),
}


def fresh(method: Method, config: Any) -> Any:
    """A model with weights that are nowhere zero."""
    model = method.fresh(config, 0, "made")
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return ready(model)


def save_dbae(path: Path, state: State, hyper: dict[str, Any]) -> None:
    torch.save({official_key(key): value for key, value in state.items()}, path)


def save_diffae(path: Path, state: State, hyper: dict[str, Any]) -> None:
    names = (("network.time_embed.", "time_embed.time_embed."), ("network.", ""), ("latent_layers", "cond_emb_layers"))
    for ours, theirs in names:
        state = {key.replace(ours, theirs): value for key, value in state.items()}
    save_lightning(path, state, size=32, hyper=hyper)


def save_ddim(path: Path, state: State, hyper: dict[str, Any]) -> None:
    torch.save({key.removeprefix("network."): value for key, value in state.items()}, path)


def save_decoder(path: Path, state: State, hyper: dict[str, Any], **more: Any) -> None:
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    decoder = {key.replace("latent_layers", "emb_z_layers"): value for key, value in decoder.items()}
    save_pdae(path, {"encoder": encoder, "decoder": decoder}, raw=False, **more)


def save_diti(path: Path, state: State, hyper: dict[str, Any]) -> None:
    save_decoder(path, state, hyper, ssl_model={})


SAVED: dict[str, Callable[[Path, State, dict[str, Any]], None]] = {
    "dbae": save_dbae,
    "diffae": save_diffae,
    "ddim": save_ddim,
    "pdae": save_decoder,
    "diti": save_diti,
}


@torch.no_grad()
def outputs(model: Any) -> list[torch.Tensor]:
    """z of an image, and what two steps make of it."""
    generator = torch.Generator().manual_seed(2)
    size = model.image_size
    x, x_T = (torch.randn(1, 3, size, size, generator=generator).clamp(-1, 1) for _ in range(2))
    method = model.samplers[0]
    z = x.flatten(1) if method == "ddim" and not hasattr(model, "encoder") else model.encode(x)
    return [z, model.decode(z, x_T=x_T, sampler=SamplerConfig(method, nfe=2)).raw]


@pytest.mark.parametrize("case", CASES)
def test_other_configurations_open_and_compute_the_same(case, tmp_path):
    key, config, told, hyper = CASES[case]
    model = fresh(METHODS[key], config)
    path = tmp_path / "weights.pt"
    SAVED[key](path, model.state_dict(), hyper)
    if told:
        with pytest.raises(UserError, match=r"of no published configuration|a bare U-Net"):
            load(path)
    found = load(f"{path}?{told}" if told else path)
    assert found.method == METHODS[key].label
    assert found.variant.endswith(", ".join(sorted(told.split("&"))))
    for ours, theirs in zip(outputs(model), outputs(found.model), strict=True):
        assert torch.equal(ours, theirs)
    if key == "dbae":
        assert found.model.config.bridge == config.bridge
    else:
        assert found.model.schedule == getattr(config, "schedule", "linear")


@pytest.mark.parametrize(
    ("case", "wrong", "reason"),
    [
        ("pdae, cosine, two heads", "schedule=sigmoid", "schedule=sigmoid: expected linear or cosine"),
        ("pdae, cosine, two heads", "prediction=x0", "prediction=x0: expected eps"),
        ("pdae, cosine, two heads", "timesteps=4000", "timesteps=4000: expected 1000"),
        ("pdae, cosine, two heads", "encoder_heads=3", "8 channels cannot be shared by 3 attention heads"),
        ("pdae, cosine, two heads", "bridge=vp", "has no use for bridge.*schedule linear or cosine"),
        ("dbae, attention at 16 only, ve", "bridge=vb", "bridge=vb: expected vp or ve or vp_simple or ve_simple"),
        ("dbae, attention at 16 only, ve", "beta_d=-1", "beta_d=-1: expected a number, 0 or more"),
        ("dbae, attention at 16 only, ve", "encoder_heads=two", "encoder_heads=two: expected a positive number"),
        ("dbae, attention at 16 only, ve", "encoder_heads=3", r"attention of \[16\] channels shared evenly"),
    ],
)
def test_wrong_facts_are_refused_with_the_choices(case, wrong, reason, tmp_path):
    key, config, told, hyper = CASES[case]
    path = tmp_path / "weights.pt"
    SAVED[key](path, METHODS[key].fresh(config, 0, "made").state_dict(), hyper)
    name = wrong.split("=")[0]
    rest = "&".join(fact for fact in told.split("&") if not fact.startswith(f"{name}="))
    with pytest.raises(UserError, match=reason):
        load(f"{path}?{rest}&{wrong}")


def test_what_is_taken_for_granted_is_said(tmp_path):
    key, config, _, hyper = CASES["pdae, cosine, two heads"]
    path = tmp_path / "weights.pt"
    SAVED[key](path, METHODS[key].fresh(config, 0, "made").state_dict(), hyper)
    with pytest.raises(UserError, match=r"says nothing of attention_order and heads and schedule") as caught:
        load(path)
    assert "Taken for granted unless told: encoder_heads=4, prediction=eps, timesteps=1000." in str(caught.value)


def test_a_file_that_says_another_number_of_timesteps_is_refused(tmp_path):
    key, config, _, hyper = CASES["diffae, two heads, cosine, by itself"]
    path = tmp_path / "last.ckpt"
    SAVED[key](path, METHODS[key].fresh(config, 0, "made").state_dict(), hyper | {"T": 4000})
    with pytest.raises(UserError, match="timesteps=4000: expected 1000"):
        load(path)


def test_z_has_no_place_beside_an_additive_time_embedding():
    config = DiffAEConfig(32, 4, other(additive=True), ENCODER)
    with (
        pytest.raises(ValueError, match="blocks that z modulates have no additive time embedding"),
        torch.device("meta"),
    ):
        METHODS["diffae"].model(config)


def test_pdae_takes_the_schedule_of_its_pretrained_model():
    plain = METHODS["ddim"].fresh(DDIMConfig(32, PLAIN_UNET, schedule="cosine"), 0, "plain")
    config = PDAEConfig(32, 12, PLAIN_UNET, PDAEEncoderConfig((8, 16)))
    made = METHODS["pdae"].model.on_pretrained(plain, config, 0, name="made")
    assert made.config.schedule == made.schedule == "cosine"
    additive = METHODS["ddim"].fresh(DDIMConfig(32, other(additive=True)), 0, "added")
    assert isinstance(additive, nn.Module)
    with pytest.raises(UserError, match="whose blocks are scaled by the time, found one of 32 px that adds it"):
        METHODS["pdae"].model.on_pretrained(additive, config, 0, name="made")
