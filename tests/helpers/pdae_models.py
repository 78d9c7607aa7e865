"""PDAEs with the weights of the golden data (rule G of golden/pdae/README.md), and one to train in a second."""

from __future__ import annotations

import dataclasses
import functools

import torch
from golden_fill import fill
from torch import Tensor

from baselines.methods import ddim
from baselines.methods.pdae import PDAE, PDAEConfig, celeba64, faces32, ffhq128
from baselines.methods.pdae.networks import PDAEEncoderConfig
from dbae.networks.trunk import UNetConfig


def small_config(size: int = 16) -> PDAEConfig:
    """`smallA` of small.json; the encoder is the 64 px one where the images are 64 px."""
    unet = UNetConfig(
        base=32, channel_mult=(1, 2), res_blocks=1, attention_sizes=(size // 2,), head_channels=None, embedding=128
    )
    encoder = celeba64().encoder if size == 64 else PDAEEncoderConfig((32, 32), attention_size=8)
    return PDAEConfig(image_size=size, latent_dim=32, unet=unet, encoder=encoder)


def small_config_b() -> PDAEConfig:
    """`smallB` of small.json: two heads in the new order, and a variance."""
    unet = UNetConfig(
        base=32,
        channel_mult=(1, 2, 2),
        res_blocks=2,
        attention_sizes=(8, 4),
        head_channels=None,
        embedding=128,
        heads=2,
        attention_order="new",
        dropout=0.0,
    )
    return dataclasses.replace(small_config(), unet=unet, learn_sigma=True)


CONFIGS = {"ffhq128": ffhq128(), "celeba64": celeba64()}


def official_key(key: str) -> tuple[str, str]:
    """Part ("encoder" or "decoder") and official key of one of our state-dict keys."""
    part, rest = key.split(".", 1)
    return (part, key) if part == "encoder" else (part, rest.replace(".latent_layers.", ".emb_z_layers."))


def on_meta(config: PDAEConfig) -> PDAE:
    with torch.device("meta"):
        return PDAE(config)


@functools.lru_cache(maxsize=4)
def filled_pdae(config: PDAEConfig) -> PDAE:
    """In evaluation mode; shared, so leave it as it was."""
    model = on_meta(config)
    empty = model.state_dict()
    own = {official_key(key): key for key in empty}
    state: dict[str, Tensor] = {}
    for part in ("encoder", "decoder"):
        official = {key: empty[own[p, key]] for p, key in own if p == part}
        state |= {own[part, key]: value for key, value in fill(official).items()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    model.load_state_dict(state, strict=True, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model.eval()


def tiny_ddim() -> ddim.DDIM:
    """A pre-trained model for 16 px images: every weight differs from zero."""
    unet = dataclasses.replace(ddim.faces32().unet, base=8, channel_mult=(1, 2), attention_sizes=(8,), head_channels=8)
    model = ddim.DDIM.initialised(ddim.DDIMConfig(16, unet), 5, name="tiny")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)
    return model.eval()


def tiny_config() -> PDAEConfig:
    """A PDAE to build on it."""
    encoder = dataclasses.replace(faces32().encoder, widths=(8, 8))
    return dataclasses.replace(faces32(), image_size=16, latent_dim=4, encoder=encoder)
