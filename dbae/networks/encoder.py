"""Encoder: the downward half of DiffAE's U-Net, without time conditioning.

    Enc(x0) = Conv1x1( mean_pixels( SiLU( GN( blocks(x0) ) ) ) )

With no conditioning its residual blocks have one convolution, and neither dropout nor zero initialisation:
training and evaluation mode compute the same function. Keys: `aailab-kaist/DBAE`, diffae/model/unet.py.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn

from dbae.networks.blocks import AttentionBlock, GroupNorm, ResBlock


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder: as `UNetConfig`, with single-head attention over the whole width."""

    base: int
    channel_mult: tuple[int, ...]
    res_blocks: int = 2
    attention_sizes: tuple[int, ...] = (16,)
    groups: int = 32


class Encoder(nn.Module):
    """Enc of the module docstring, `outputs` numbers an image (latent_dim, or twice that for mean and log-sigma)."""

    def __init__(self, config: EncoderConfig, *, image_size: int, outputs: int) -> None:
        super().__init__()

        def res(c_in: int, c_out: int, resize: str | None = None) -> ResBlock:
            return ResBlock(c_in, c_out, groups=config.groups, resize=resize)

        def attention(c: int) -> AttentionBlock:
            return AttentionBlock(c, heads=1, groups=config.groups, conv=nn.Conv1d)

        size, ch = image_size, config.base * config.channel_mult[0]
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, ch, 3, padding=1))])
        last = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.res_blocks):
                layers: list[nn.Module] = [res(ch, ch := config.base * mult)]
                layers += [attention(ch)] if size in config.attention_sizes else []
                self.input_blocks.append(nn.Sequential(*layers))
            if level < last:
                self.input_blocks.append(nn.Sequential(res(ch, ch, "down")))
                size //= 2
        self.middle_block = nn.Sequential(res(ch, ch), attention(ch), res(ch, ch))
        self.out = nn.Sequential(
            GroupNorm(config.groups, ch), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(ch, outputs, 1), nn.Flatten()
        )

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b o"]:
        for block in self.input_blocks:
            x = block(x)
        return self.out(self.middle_block(x))
