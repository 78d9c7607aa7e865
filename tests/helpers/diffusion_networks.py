"""DiffAE and plain diffusion models with the weights of the golden data (rule G of golden/diffae/README.md)."""

from __future__ import annotations

import functools
import json

import torch
from golden_fill import GOLDEN, fill
from torch import Tensor

from baselines.methods import ddim, diffae
from baselines.methods.ddim import DDIM, DDIMConfig
from baselines.methods.diffae import DiffAE, DiffAEConfig
from dbae.checkpoints.own import load_strictly
from dbae.networks.encoder import EncoderConfig
from dbae.networks.trunk import UNetConfig

_TINY = UNetConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(8,), head_channels=4, groups=2)
SMALL_UNET = UNetConfig(base=32, channel_mult=(1, 2, 2), attention_sizes=(16,), head_channels=None, embedding=128)
SMALL_DDIM = DDIMConfig(32, SMALL_UNET)
SMALL_DIFFAE = DiffAEConfig(32, 64, SMALL_UNET, EncoderConfig(32, (1, 2, 2, 2)))


def published(name: str) -> dict[str, Tensor]:
    """Names and shapes of an official network's tensors, in their order, without values.

    Args:
        name: of a manifest, e.g. "ffhq128_autoenc", or "small_autoenc" or "small_ddim".
    """
    if name.startswith("small"):
        pairs = json.loads((GOLDEN / "diffae" / "manifest_small.json").read_text())[name]
    else:
        pairs = json.loads((GOLDEN / "diffae" / f"manifest_{name}.json").read_text())["model_keys"]
    return {key: torch.empty(shape, device="meta") for key, shape in pairs}


@functools.lru_cache(maxsize=2)
def filled_diffae(name: str) -> DiffAE:
    """The network of a manifest, in evaluation mode; shared, so leave it as it was."""
    state = published(name)
    config = diffae.detect(state)
    assert config is not None
    model = diffae.METHOD.blank(config, name)
    load_strictly(model, diffae.from_official(fill(state)), name)
    return model.requires_grad_(True).eval()


@functools.lru_cache(maxsize=2)
def filled_ddim(name: str) -> DDIM:
    """The same for a plain diffusion model."""
    state = published(name)
    config = ddim.detect(state)
    assert config is not None
    model = ddim.METHOD.blank(config, name)
    load_strictly(model, ddim.from_official(fill(state)), name)
    return model.requires_grad_(True).eval()


def tiny_diffae_config() -> DiffAEConfig:
    """A few thousand parameters, images of 16 px, z of 4 numbers."""
    encoder = EncoderConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(8,), groups=2)
    return DiffAEConfig(16, 4, _TINY, encoder)


def tiny_ddim_config(**options: bool) -> DDIMConfig:
    return DDIMConfig(16, _TINY, **options)


def _stirred(model: torch.nn.Module) -> None:
    """Gives values to the layers that start at zero, so that the network's output depends on its inputs."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)


def small_diffae() -> DiffAE:
    """A tiny one whose output depends on z."""
    model = DiffAE.initialised(tiny_diffae_config(), 0, name="small-diffae").eval()
    _stirred(model)
    return model


def small_ddim(**options: bool) -> DDIM:
    """A tiny one whose output depends on x."""
    model = DDIM.initialised(tiny_ddim_config(**options), 0, name="small-ddim").eval()
    _stirred(model)
    return model
