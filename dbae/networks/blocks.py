"""Layers shared by every U-Net and encoder of this package.

Residual block of guided-diffusion (ADM), with the state-dict keys of the published checkpoints:

    h = Conv3x3( resize( SiLU( GN(x) ) ) )                                  in_layers.{0,2}
    h = GN(h) (1 + scale(e)) + shift(e)                                     out_layers.0, emb_layers.1
    h = h (1 + scale(z)) + shift(z)                                         latent_layers.1
    h = Conv3x3( Dropout( SiLU(h) ) )                                       out_layers.3
    y = skip( resize(x) ) + h                                               skip_connection

e embeds the time. A block with an additive embedding has GN(h + shift(e)) as its second line, with a layer of half the
width. The third line stands only where z modulates every block: DiffAE's has the scale alone, PDAE's both
(their names of the layer: cond_emb_layers, emb_z_layers). An unconditional block (DiffAE's encoder) stops after the
first line.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

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
    """Group normalisation evaluated in float32 if the input's precision is less; at most one group a channel."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(min(groups, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised in float32 where x has less, and given back in the dtype of x."""
        return super().forward(x if x.dtype == torch.float64 else x.float()).to(x.dtype)


def _resize(x: Tensor, how: str | None) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


class ResBlock(nn.Module):
    """The residual block of the module docstring.

    Args:
        embedding: width of the conditioning embedding e; None builds the unconditional half block.
        latent: width of z where it modulates the block by itself.
        latent_shift: whether z shifts as well as scales.
        additive: e is added before the normalisation (guided-diffusion's `use_scale_shift_norm=False`).
        resize: "down" (2x2 average), "up" (nearest) or None.

    Raises:
        ValueError: an additive embedding where z modulates, which no program has.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        groups: int,
        embedding: int | None = None,
        latent: int | None = None,
        latent_shift: bool = False,
        additive: bool = False,
        dropout: float = 0.0,
        resize: str | None = None,
    ) -> None:
        super().__init__()
        if additive and latent is not None:
            raise ValueError("blocks that z modulates have no additive time embedding")
        self.resize, self.additive = resize, additive
        self.in_layers = nn.Sequential(
            GroupNorm(groups, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.conditional = embedding is not None
        self.modulated, self.latent_shift = latent is not None, latent_shift
        if embedding is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (2 - additive) * channels_out))
            if latent is not None:
                self.latent_layers = nn.Sequential(nn.SiLU(), nn.Linear(latent, (1 + latent_shift) * channels_out))
            self.out_layers = nn.Sequential(
                GroupNorm(groups, channels_out),
                nn.SiLU(),
                nn.Dropout(dropout),
                zero_init(nn.Conv2d(channels_out, channels_out, 3, padding=1)),
            )
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], e: Float[Tensor, "b e"] | None = None, z: Float[Tensor, "b l"] | None = None
    ) -> Tensor:
        """x and what the block adds to it, on maps of half or twice the side where it resizes."""
        norm, act, conv = self.in_layers
        h = conv(_resize(act(norm(x)), self.resize))
        if self.conditional:
            *scales, shift = self.emb_layers(e).to(h.dtype)[:, :, None, None].chunk(2 - self.additive, dim=1)
            norm, *rest = self.out_layers
            h = norm(h) * (1 + scales[0]) + shift if scales else norm(h + shift)
            if self.modulated:
                scale, *shifts = self.latent_layers(z).to(h.dtype)[:, :, None, None].chunk(1 + self.latent_shift, dim=1)
                h = sum(shifts, start=h * (1 + scale))
            for layer in rest:
                h = layer(h)
        return self.skip_connection(_resize(x, self.resize)) + h


class Downsample(nn.Module):
    """Halves a map by a convolution of stride 2: guided-diffusion's `resblock_updown=False`, with its keys."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        """Maps of half the side."""
        return self.op(x)


class Upsample(nn.Module):
    """Doubles a map, each pixel four times, and convolves it; goes with `Downsample`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        """Maps of twice the side."""
        return self.conv(_resize(x, "up"))


class AttentionBlock(nn.Module):
    """Multi-head self-attention over pixels: x + proj(softmax(q k^T / sqrt(d)) v).

    Args:
        order: of the 3C output channels of `qkv`, a choice of guided-diffusion's that weights do not show:
            "legacy" is [head, (q, k, v), d], as in the published DBAE weights; "new" is [(q, k, v), head, d].
        conv: class of the 1x1 projections in the checkpoint: `Conv2d` in DBAE's score network, `Conv1d` elsewhere.
            Both are computed as matrix products over channels-last pixels.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        groups: int,
        conv: type[nn.Conv1d] | type[nn.Conv2d],
        order: Literal["legacy", "new"] = "legacy",
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be shared by {heads} attention heads")
        self.heads, self.order = heads, order
        self.norm = GroupNorm(groups, channels)
        self.qkv = conv(channels, 3 * channels, 1)
        self.proj_out = zero_init(conv(channels, channels, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """x and what every pixel takes from all others."""
        b, c, height, width = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(b, height * width, c)
        qkv = F.linear(pixels, self.qkv.weight.flatten(1), self.qkv.bias)
        if self.order == "legacy":
            q, k, v = qkv.view(b, -1, self.heads, 3, c // self.heads).permute(3, 0, 2, 1, 4)  # (b, head, pixel, d)
        else:
            q, k, v = qkv.view(b, -1, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, -1, c)
        h = F.linear(h, self.proj_out.weight.flatten(1), self.proj_out.bias)
        return x + h.view(b, height, width, c).permute(0, 3, 1, 2)
