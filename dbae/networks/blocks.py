"""Layers shared by the score U-Net and the encoder.

Residual block of guided-diffusion (ADM), with the state-dict keys of the published checkpoints:

    h = Conv3x3( resize( SiLU( GN(x) ) ) )                                  in_layers.{0,2}
    h = Conv3x3( Dropout( SiLU( GN(h) * (1 + scale(e)) + shift(e) ) ) )     out_layers.{0,3}, emb_layers.1
    y = skip( resize(x) ) + h                                               skip_connection

An unconditional block (DiffAE's encoder) stops after the first line.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_M = TypeVar("_M", bound=nn.Module)


def sinusoidal_embedding(t: Float[Tensor, " b"], dim: int) -> Float[Tensor, "b {dim}"]:
    """[cos(t f_k), sin(t f_k)] with f_k = 10000^(-k/half), k = 0..half-1; cosine first, float32."""
    half = dim // 2
    k = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * k / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero_init(module: _M) -> _M:
    """Set every parameter to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class GroupNorm(nn.GroupNorm):
    """Group normalisation evaluated in float32 whatever the input's precision; at most one group a channel."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(min(groups, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def _resize(x: Tensor, how: str | None) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


class ResBlock(nn.Module):
    """The residual block of the module docstring.

    Args:
        embedding: width of the conditioning embedding e; None builds the unconditional half block.
        resize: "down" (2x2 average), "up" (nearest) or None.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        groups: int,
        embedding: int | None = None,
        dropout: float = 0.0,
        resize: str | None = None,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.in_layers = nn.Sequential(
            GroupNorm(groups, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.conditional = embedding is not None
        if embedding is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * channels_out))
            self.out_layers = nn.Sequential(
                GroupNorm(groups, channels_out),
                nn.SiLU(),
                nn.Dropout(dropout),
                zero_init(nn.Conv2d(channels_out, channels_out, 3, padding=1)),
            )
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Float[Tensor, "b c h w"], e: Float[Tensor, "b e"] | None = None) -> Tensor:
        norm, act, conv = self.in_layers
        h = conv(_resize(act(norm(x)), self.resize))
        if self.conditional:
            scale, shift = self.emb_layers(e).to(h.dtype)[:, :, None, None].chunk(2, dim=1)
            norm, *rest = self.out_layers
            h = norm(h) * (1 + scale) + shift
            for layer in rest:
                h = layer(h)
        return self.skip_connection(_resize(x, self.resize)) + h


class AttentionBlock(nn.Module):
    """Multi-head self-attention over pixels: x + proj(softmax(q k^T / sqrt(d)) v).

    The 3C output channels of `qkv` are laid out [head, (q, k, v), d], guided-diffusion's "legacy" order,
    which the published DBAE weights use. The projections are 1x1 convolutions in the checkpoints (`Conv2d` in
    the score network, `Conv1d` in the encoder) and are computed as matrix products over channels-last pixels.
    """

    def __init__(self, channels: int, *, heads: int, groups: int, conv: type[nn.Conv1d] | type[nn.Conv2d]) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels)
        self.qkv = conv(channels, 3 * channels, 1)
        self.proj_out = zero_init(conv(channels, channels, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        b, c, height, width = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(b, height * width, c)
        qkv = F.linear(pixels, self.qkv.weight.flatten(1), self.qkv.bias)
        q, k, v = qkv.view(b, -1, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)  # (b, head, pixel, d)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        h = F.linear(h, self.proj_out.weight.flatten(1), self.proj_out.bias)
        return x + h.view(b, height, width, c).permute(0, 3, 1, 2)
