"""Score U-Net: the ADM network of guided-diffusion, conditioned on z through the time embedding.

    F(x, c_noise; x_T, z) = UNet( [x, x_T], time_embed(c_noise) + label_emb(z) )

Each level holds `res_blocks` residual blocks on the way down and `res_blocks + 1` on the way up; maps are
halved and doubled by residual blocks; attention stands wherever the map size is listed. State-dict keys are
those of the published checkpoints (`aailab-kaist/DBAE`, ddbm/unet.py).
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.networks.blocks import AttentionBlock, GroupNorm, ResBlock, sinusoidal_embedding, zero_init


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Shape of a score U-Net.

    Attributes:
        base: channels of the first level (C); the embedding has 4C.
        channel_mult: channels of each level, in units of `base`.
        res_blocks: residual blocks a level.
        attention_sizes: map sizes (pixels) that carry attention. DEVIATION: paper Table 6 names 16 only; the
            released script and the parameter count of Table 8 use 32, 16 and 8.
        head_channels: width of an attention head.
        groups: groups of the group normalisation.
        dropout: probability inside residual blocks.
    """

    base: int
    channel_mult: tuple[int, ...]
    res_blocks: int = 2
    attention_sizes: tuple[int, ...] = (32, 16, 8)
    head_channels: int = 64
    groups: int = 32
    dropout: float = 0.1


class EmbeddedSequential(nn.Sequential):
    """Runs its layers in turn, handing the embedding to those that take it."""

    def forward(self, x: Tensor, e: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, e) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """The score network F; see the module docstring.

    Args:
        config: layer sizes.
        image_size: side of the images, pixels.
        latent_dim: length of z.
        in_channels: 6, the noisy image and the endpoint.
    """

    def __init__(self, config: UNetConfig, *, image_size: int, latent_dim: int, in_channels: int = 6) -> None:
        super().__init__()
        self.base = config.base
        width = 4 * config.base
        self.time_embed = nn.Sequential(nn.Linear(config.base, width), nn.SiLU(), nn.Linear(width, width))
        self.label_emb = nn.Linear(latent_dim, width)

        def res(c_in: int, c_out: int, resize: str | None = None) -> ResBlock:
            return ResBlock(c_in, c_out, groups=config.groups, embedding=width, dropout=config.dropout, resize=resize)

        def attention(c: int) -> AttentionBlock:
            return AttentionBlock(c, heads=c // config.head_channels, groups=config.groups, conv=nn.Conv2d)

        size, ch = image_size, config.base * config.channel_mult[0]
        self.input_blocks = nn.ModuleList([EmbeddedSequential(nn.Conv2d(in_channels, ch, 3, padding=1))])
        skips = [ch]
        last = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.res_blocks):
                layers: list[nn.Module] = [res(ch, ch := config.base * mult)]
                layers += [attention(ch)] if size in config.attention_sizes else []
                self.input_blocks.append(EmbeddedSequential(*layers))
                skips.append(ch)
            if level < last:
                self.input_blocks.append(EmbeddedSequential(res(ch, ch, "down")))
                skips.append(ch)
                size //= 2
        self.middle_block = EmbeddedSequential(res(ch, ch), attention(ch), res(ch, ch))
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.res_blocks + 1):
                layers = [res(ch + skips.pop(), ch := config.base * mult)]
                layers += [attention(ch)] if size in config.attention_sizes else []
                if level and i == config.res_blocks:
                    layers.append(res(ch, ch, "up"))
                    size *= 2
                self.output_blocks.append(EmbeddedSequential(*layers))
        self.out = nn.Sequential(GroupNorm(config.groups, ch), nn.SiLU(), zero_init(nn.Conv2d(ch, 3, 3, padding=1)))

    def forward(
        self,
        x: Float[Tensor, "b 3 s s"],
        c_noise: Float[Tensor, " b"],
        x_T: Float[Tensor, "b 3 s s"],
        z: Float[Tensor, "b l"],
    ) -> Float[Tensor, "b 3 s s"]:
        """F of the module docstring; x is already scaled by c_in, x_T is not."""
        e = self.time_embed(sinusoidal_embedding(c_noise, self.base)) + self.label_emb(z)
        h = torch.cat([x, x_T], dim=1)
        skips = []
        for block in self.input_blocks:
            h = block(h, e)
            skips.append(h)
        h = self.middle_block(h, e)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), e)
        return self.out(h)
