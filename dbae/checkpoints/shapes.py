"""The shape of a U-Net read off a state dict in guided-diffusion's keys, which all authors' files share.

    C             = width of time_embed.0's input
    res_blocks    = index of the first of output_blocks that ends in a doubling layer; all but one of them if none does
    levels        = number of output_blocks / (res_blocks + 1)
    channels, attention of a level: those of the first of its output_blocks
    resampling    = by convolutions if a layer that halves or doubles maps is one, else by residual blocks
    additive      = the layer of the time embedding is as wide as its block, and not twice as wide

What no shape shows: the number of attention heads and their order, and the side of the images, which is known only
relative to the maps that carry attention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from dbae.networks.encoder import EncoderConfig
from dbae.networks.trunk import UNetConfig

State = Mapping[str, Tensor]
Resampling = Literal["residual", "convolution"]


@dataclasses.dataclass(frozen=True)
class Shape:
    """What keys and shapes tell of a U-Net.

    Attributes:
        base, channel_mult, res_blocks, embedding, resampling, additive: as in `UNetConfig`.
        attention_levels: levels that carry attention; 0 has maps of the images' size, each further one half of it.
        in_channels, out_channels: of the network.
    """

    base: int
    channel_mult: tuple[int | float, ...]
    res_blocks: int
    embedding: int
    attention_levels: tuple[int, ...]
    in_channels: int
    out_channels: int
    resampling: Resampling = "residual"
    additive: bool = False

    def image_size(self, smallest_attention: int) -> int | None:
        """Side of the images if the smallest maps with attention have this side; None without attention."""
        return smallest_attention << max(self.attention_levels) if self.attention_levels else None

    def config(
        self, image_size: int, *, head_channels: int | None = None, heads: int = 1, order: str = "legacy"
    ) -> UNetConfig:
        """The configuration, given what shapes do not tell."""
        return UNetConfig(
            base=self.base,
            channel_mult=self.channel_mult,
            res_blocks=self.res_blocks,
            attention_sizes=tuple(image_size >> level for level in self.attention_levels),
            head_channels=head_channels,
            heads=heads,
            attention_order=order,  # type: ignore[arg-type]
            embedding=self.embedding,
            resampling=self.resampling,
            additive=self.additive,
        )


def unet_shape(state: State) -> Shape | None:
    """The shape of the U-Net in a state dict; None if it holds none. Other keys are not looked at."""
    try:
        blocks = _count(state, "output_blocks")
        doubling = [
            f"output_blocks.{j}.{i}.in_layers.0.weight" in state or f"output_blocks.{j}.{i}.conv.weight" in state
            for j in range(blocks)
            for i in (1, 2)
        ]
        res_blocks = doubling.index(True) // 2 if any(doubling) else blocks - 1
        levels = blocks // (res_blocks + 1)
        first = [(levels - 1 - level) * (res_blocks + 1) for level in range(levels)]
        embedding, base = state["time_embed.0.weight"].shape
        widths = [state[f"output_blocks.{j}.0.out_layers.3.weight"].shape[0] for j in first]
        return Shape(
            base=base,
            channel_mult=tuple(width / base if width % base else width // base for width in widths),
            res_blocks=res_blocks,
            embedding=embedding,
            attention_levels=tuple(k for k, j in enumerate(first) if f"output_blocks.{j}.1.qkv.weight" in state),
            in_channels=state["input_blocks.0.0.weight"].shape[1],
            out_channels=state["out.2.weight"].shape[0],
            resampling=_resampling(state),
            additive=state["output_blocks.0.0.emb_layers.1.weight"].shape[0] == widths[-1],
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        return None


def encoder_shape(state: State, image_size: int, *, res_blocks: int = 2) -> EncoderConfig | None:
    """The configuration of DiffAE's encoder (keys without a prefix); None if the state dict holds none."""
    try:
        blocks = _count(state, "input_blocks")
        base = state["input_blocks.0.0.weight"].shape[0]
        first = range(1, blocks, res_blocks + 1)
        widths = [state[f"input_blocks.{j}.0.in_layers.2.weight"].shape[0] for j in first]
        attention = [k for k, j in enumerate(first) if f"input_blocks.{j}.1.qkv.weight" in state]
        return EncoderConfig(
            base=base,
            channel_mult=tuple(width // base for width in widths),
            res_blocks=res_blocks,
            attention_sizes=tuple(image_size >> level for level in attention),
            resampling=_resampling(state),
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        return None


def _resampling(state: State) -> Resampling:
    halving = any(key.startswith("input_blocks.") and key.endswith(".0.op.weight") for key in state)
    return "convolution" if halving else "residual"


def _count(state: State, name: str) -> int:
    """Number of blocks under `name`, whose indices must run from 0."""
    found = {key.split(".")[1] for key in state if key.startswith(f"{name}.")}
    if not found or found != {str(i) for i in range(len(found))}:
        raise KeyError(name)
    return len(found)
