"""PDAE's files as their authors publish them: an encoder and a decoder, each a state dict of its own.

official                        ours
encoder: encoder.N.*            encoder.N.*
decoder: *.emb_z_layers.1.*     decoder.*.latent_layers.1.*
decoder: everything else        decoder.*
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from baselines.methods.pdae.model import PDAEConfig
from baselines.methods.pdae.networks import PDAEEncoderConfig
from dbae.checkpoints.facts import DIFFUSION, Facts, Question, applied
from dbae.checkpoints.shapes import unet_shape

_C = TypeVar("_C", bound=PDAEConfig)


def detect(parts: Mapping[str, Mapping[str, Tensor]]) -> PDAEConfig | None:
    """Configuration of an official "encoder" and "decoder", from keys and shapes; None if they are no PDAE.

    Attention has one head in the decoder, as in the models of DiffAE's authors, which no shape shows.
    """
    encoder, decoder = parts.get("encoder", {}), parts.get("decoder", {})
    layers = {int(k[8:-7]): v for k, v in encoder.items() if k[8:-7].isdigit() and k == f"encoder.{k[8:-7]}.weight"}
    convolutions = [index for index in sorted(layers) if layers[index].ndim == 4]
    shape, last = unet_shape(decoder), layers[max(layers)] if layers else None
    if shape is None or last is None or last.ndim != 2 or not convolutions or "shift_out.2.weight" not in decoder:
        return None
    widths = tuple(layers[index].shape[0] for index in convolutions)
    size = round((last.shape[1] / widths[-1]) ** 0.5) << len(widths)
    attention = next((int(k.split(".")[1]) for k in encoder if k.endswith(".qkv.weight")), 0)
    halvings = sum(index < attention for index in convolutions)
    return PDAEConfig(
        image_size=size,
        latent_dim=last.shape[0],
        unet=shape.config(size),
        encoder=PDAEEncoderConfig(widths, attention_size=size >> halvings if attention else 0),
        learn_sigma=shape.out_channels == 6,
    )


QUESTION = Question(
    "an autoencoder of no published configuration",
    ("heads", "attention_order", "schedule"),
    {"encoder_heads": "4"} | DIFFUSION,
)
FACTS = {"heads": "1", "attention_order": "legacy", "schedule": "linear"}
"""Facts of all published models, which their shapes do not show."""


def settled(config: _C, facts: Facts, path: object) -> _C:
    """The configuration with answers to `QUESTION`; the encoder's four heads are a constant of the authors' program."""
    size = config.image_size
    return dataclasses.replace(
        config,
        unet=applied(config.unet, facts, path, size=size, was=size),
        encoder=dataclasses.replace(config.encoder, heads=int(facts["encoder_heads"])),
        schedule=facts["schedule"],  # type: ignore[arg-type]
    )


def from_official(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Our state dict of an official "encoder" and "decoder"."""
    decoder = {f"decoder.{k.replace('.emb_z_layers.', '.latent_layers.')}": v for k, v in parts["decoder"].items()}
    return dict(parts["encoder"]) | decoder
