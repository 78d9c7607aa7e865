"""Encoder: the downward half of DiffAE's U-Net, without time conditioning.

    Enc(x0) = Conv1x1( mean_pixels( SiLU( GN( middle_block( input_blocks(x0) ) ) ) ) )

With no conditioning its residual blocks have one convolution, and neither dropout nor zero initialisation:
training and evaluation mode compute the same function. Keys: `phizaz/diffae`, model/unet.py, as in DBAE's files.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from dbae.networks.blocks import GroupNorm
from dbae.networks.trunk import Layers, UNetConfig


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder: as `UNetConfig`; by default with single-head attention over the whole width."""

    base: int
    channel_mult: tuple[int, ...]
    res_blocks: int = 2
    attention_sizes: tuple[int, ...] = (16,)
    groups: int = 32
    heads: int = 1
    head_channels: int | None = None
    attention_order: Literal["legacy", "new"] = "legacy"
    resampling: Literal["residual", "convolution"] = "residual"


class Encoder(nn.Module):
    """Enc of the module docstring, `outputs` numbers an image (latent_dim, or twice that for mean and log-sigma)."""

    def __init__(self, config: EncoderConfig, *, image_size: int, outputs: int) -> None:
        super().__init__()
        shape = UNetConfig(**dataclasses.asdict(config))
        layers = Layers(shape, image_size, nn.Conv1d, conditional=False)
        self.input_blocks = layers.down(3)
        self.middle_block = layers.middle()
        ch = shape.levels[-1]
        self.out = nn.Sequential(
            GroupNorm(config.groups, ch), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(ch, outputs, 1), nn.Flatten()
        )

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b o"]:
        """`outputs` numbers of each image in [-1, 1]."""
        for block in self.input_blocks:
            x = block(x)
        return self.out(self.middle_block(x))
