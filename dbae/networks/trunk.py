"""The U-Net of guided-diffusion (ADM), of which every network here is a variant.

    e = time_embed( sinusoid(t) )
    skips = input_blocks(x; e)
    h = out( output_blocks( middle_block( skips[-1] ), skips; e ) )

Each level holds `res_blocks` residual blocks on the way down and `res_blocks + 1` on the way up; maps are halved and
doubled by residual blocks, or by convolutions; attention stands wherever the map size is listed, and in the middle.
State-dict keys are guided-diffusion's, which DBAE's, DiffAE's and PDAE's checkpoints share.

`Layers` builds the parts, `Trunk` holds and runs one of each. A variant adds inputs, ways for z to enter, or a second
way up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.networks.blocks import (
    AttentionBlock,
    Downsample,
    GroupNorm,
    ResBlock,
    Upsample,
    sinusoidal_embedding,
    zero_init,
)


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net.

    Attributes:
        base: channels of the first level (C).
        channel_mult: channels of each level, in units of `base`; guided-diffusion's 512 px networks begin with 0.5.
        res_blocks: residual blocks a level.
        attention_sizes: map sizes (pixels) that carry attention. DEVIATION: paper Table 6 names 16 only; the
            released DBAE script and the parameter count of Table 8 use 32, 16 and 8.
        head_channels: width of an attention head; None shares the channels among `heads`.
        heads: attention heads, where `head_channels` is None.
        attention_order: see `AttentionBlock`.
        groups: groups of the group normalisation.
        dropout: probability inside residual blocks.
        embedding: width of the time embedding; None is 4C.
        resampling: what halves and doubles maps: residual blocks, or plain convolutions (`resblock_updown=False`).
        additive: residual blocks add the time embedding instead of scaling and shifting by it
            (`use_scale_shift_norm=False`).
    """

    base: int
    channel_mult: tuple[int | float, ...]
    res_blocks: int = 2
    attention_sizes: tuple[int, ...] = (32, 16, 8)
    head_channels: int | None = 64
    heads: int = 1
    attention_order: Literal["legacy", "new"] = "legacy"
    groups: int = 32
    dropout: float = 0.1
    embedding: int | None = None
    resampling: Literal["residual", "convolution"] = "residual"
    additive: bool = False

    @property
    def width(self) -> int:
        """Width of the time embedding."""
        return self.embedding or 4 * self.base

    @property
    def levels(self) -> list[int]:
        """Channels of each level, from the largest map to the smallest."""
        return [round(self.base * mult) for mult in self.channel_mult]


class EmbeddedSequential(nn.Sequential):
    """Runs its layers in turn, handing the embedding and z to those that take them."""

    def forward(self, x: Tensor, e: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Maps after the last layer."""
        for layer in self:
            x = layer(x, e, z) if isinstance(layer, ResBlock) else layer(x)
        return x


@dataclasses.dataclass(frozen=True)
class Layers:
    """Builds the parts of a U-Net.

    Attributes:
        config: layer sizes.
        image_size: side of the images, pixels.
        conv: class of the attention's projections in the checkpoints.
        conditional: False builds the unconditional residual blocks of an encoder.
        latent: width of z, where it modulates every residual block; latent_shift: whether it shifts them too.
    """

    config: UNetConfig
    image_size: int
    conv: type[nn.Conv1d] | type[nn.Conv2d]
    conditional: bool = True
    latent: int | None = None
    latent_shift: bool = False

    def down(self, in_channels: int) -> nn.ModuleList:
        """`input_blocks`: a convolution, then all levels with a halving block between them."""
        c = self.config
        size, ch = self.image_size, c.levels[0]
        blocks = [EmbeddedSequential(nn.Conv2d(in_channels, ch, 3, padding=1))]
        for level, width in enumerate(c.levels):
            if level:
                blocks.append(EmbeddedSequential(self._resized(ch, "down")))
                size //= 2
            for _ in range(c.res_blocks):
                blocks.append(EmbeddedSequential(self._res(ch, width), *self._attention_at(size, width)))
                ch = width
        return nn.ModuleList(blocks)

    def middle(self) -> EmbeddedSequential:
        """`middle_block`."""
        ch = self.config.levels[-1]
        return EmbeddedSequential(self._res(ch, ch), self._attention(ch), self._res(ch, ch))

    def up(self) -> nn.ModuleList:
        """`output_blocks`: each takes the map below it and one of `input_blocks`'; the last of a level doubles it."""
        c = self.config
        blocks, skips = [], list(self._skips())
        size, ch = self.image_size >> (len(c.levels) - 1), c.levels[-1]
        for level, width in reversed(list(enumerate(c.levels))):
            for i in range(c.res_blocks + 1):
                layers = [self._res(ch + skips.pop(), width), *self._attention_at(size, width)]
                if level and i == c.res_blocks:
                    layers.append(self._resized(width, "up"))
                blocks.append(EmbeddedSequential(*layers))
                ch = width
            size *= 2
        return nn.ModuleList(blocks)

    def head(self, out_channels: int = 3) -> nn.Sequential:
        """`out`."""
        ch = self.config.levels[0]
        conv = zero_init(nn.Conv2d(ch, out_channels, 3, padding=1))
        return nn.Sequential(GroupNorm(self.config.groups, ch), nn.SiLU(), conv)

    def _skips(self) -> Iterator[int]:
        """Channels that each of `input_blocks` puts out."""
        ch = self.config.levels[0]
        yield ch
        for level, width in enumerate(self.config.levels):
            if level:
                yield ch
            yield from [width] * self.config.res_blocks
            ch = width

    def _res(self, c_in: int, c_out: int, resize: str | None = None) -> ResBlock:
        if not self.conditional:
            return ResBlock(c_in, c_out, groups=self.config.groups, resize=resize)
        return ResBlock(
            c_in,
            c_out,
            groups=self.config.groups,
            embedding=self.config.width,
            latent=self.latent,
            latent_shift=self.latent_shift,
            additive=self.config.additive,
            dropout=self.config.dropout,
            resize=resize,
        )

    def _resized(self, channels: int, how: str) -> nn.Module:
        if self.config.resampling == "residual":
            return self._res(channels, channels, how)
        return Downsample(channels) if how == "down" else Upsample(channels)

    def _attention(self, channels: int) -> AttentionBlock:
        c = self.config
        heads = channels // c.head_channels if c.head_channels else c.heads
        return AttentionBlock(channels, heads=heads, groups=c.groups, conv=self.conv, order=c.attention_order)

    def _attention_at(self, size: int, channels: int) -> list[nn.Module]:
        return [self._attention(channels)] if size in self.config.attention_sizes else []


class Trunk(nn.Module):
    """A conditional U-Net; see the module docstring. Subclasses define `forward`.

    Args:
        layers: builder of its parts.
        in_channels: channels of the input, e.g. 3.
        out_channels: 3, or 6 where a variance is predicted too.
        embedded_latent: length of a z that is added to the time embedding (`label_emb`); None for none.
    """

    def __init__(
        self, layers: Layers, *, in_channels: int = 3, out_channels: int = 3, embedded_latent: int | None = None
    ) -> None:
        super().__init__()
        base, width = layers.config.base, layers.config.width
        self.base = base
        self.time_embed = nn.Sequential(nn.Linear(base, width), nn.SiLU(), nn.Linear(width, width))
        if embedded_latent is not None:
            self.label_emb = nn.Linear(embedded_latent, width)
        self.input_blocks = layers.down(in_channels)
        self.middle_block = layers.middle()
        self.output_blocks = layers.up()
        self.out = layers.head(out_channels)

    def embed(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b e"]:
        """The time embedding e."""
        return self.time_embed(sinusoidal_embedding(t, self.base))

    def down(
        self, x: Float[Tensor, "b c s s"], e: Float[Tensor, "b e"], z: Float[Tensor, "b l"] | None = None
    ) -> list[Tensor]:
        """The maps that every input block puts out, in order."""
        maps = []
        for block in self.input_blocks:
            x = block(x, e, z)
            maps.append(x)
        return maps

    def up(
        self, maps: list[Tensor], e: Float[Tensor, "b e"], z: Float[Tensor, "b l"] | None = None
    ) -> Float[Tensor, "b o s s"]:
        """From the maps of `down` through the middle and up."""
        return climb(self.middle_block, self.output_blocks, self.out, maps, e, z)


def climb(
    middle: nn.Module, blocks: nn.ModuleList, out: nn.Module, maps: list[Tensor], e: Tensor, z: Tensor | None
) -> Tensor:
    """One way up: `middle` on the last map, then every block on what came before and the map of its level."""
    h = middle(maps[-1], e, z)
    for block, skip in zip(blocks, reversed(maps), strict=True):
        h = block(torch.cat([h, skip], dim=1), e, z)
    return out(h)
