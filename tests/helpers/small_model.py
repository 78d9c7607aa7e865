"""A DBAE small enough for tests of files and loops, and a few images to train it on."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dbae.checkpoints.own import Card, save
from dbae.data.base import ImageDataset
from dbae.model import DBAE, DBAEConfig, celeba64
from dbae.networks.encoder import EncoderConfig
from dbae.networks.endpoint_decoder import EndpointDecoderConfig
from dbae.networks.unet import UNetConfig


def small_config(size: int = 16, *, stochastic: bool = True) -> DBAEConfig:
    """8000 parameters."""
    return DBAEConfig(
        image_size=size,
        latent_dim=4,
        stochastic=stochastic,
        score=UNetConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(8,), head_channels=4, groups=2),
        encoder=EncoderConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(8,), groups=2),
        decoder=EndpointDecoderConfig(width=1),
    )


def narrow_celeba64(latent_dim: int = 512, stochastic: bool = True) -> DBAEConfig:
    """The published 64 px architecture with thinner layers: the same keys, other shapes."""
    config = celeba64(latent_dim, stochastic)
    return dataclasses.replace(
        config,
        score=dataclasses.replace(config.score, base=8, head_channels=8, groups=4),
        encoder=dataclasses.replace(config.encoder, base=8, groups=4),
        decoder=dataclasses.replace(config.decoder, width=4),
    )


def small_model(*, stochastic: bool = True, seed: int = 0) -> DBAE:
    return DBAE.initialised(small_config(stochastic=stochastic), seed, name="small")


def small_card(model: DBAE, **fields: Any) -> Card:
    return Card(method="dbae", name=model.name, config=dataclasses.asdict(model.config), **fields)


def small_checkpoint(path: Path) -> Path:
    """A file of the model as training writes it, whose averaged weights are others (those of seed 1)."""
    model = small_model()
    card = small_card(model, images_seen=64, command="python -m dbae.train")
    save(path, card, raw=model.state_dict(), ema=small_model(seed=1).state_dict())
    return path


class Pixels(ImageDataset):
    """n images of random pixels."""

    def __init__(self, n: int = 24, size: int = 16) -> None:
        self.name, self.size = "pixels", size
        self.pixels = np.random.default_rng(3).integers(0, 256, (n, size, size, 3), np.uint8)
        self.splits = {"all": np.arange(n)}

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> np.ndarray:
        return self.pixels[index]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()
