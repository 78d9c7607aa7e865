"""Endpoint decoder x_T = Dec(z): FastGAN's generator without noise injection.

    4x4 start by a transposed convolution, then blocks  GLU( BN( Conv3x3( nearest x2 ) ) )  up to the image size;
    maps of 64 px and more are gated, channel by channel, by the map 16 times smaller (skip-layer excitation);
    a 1x1 convolution gives the image. No tanh: the endpoint is unbounded.

Every convolution is bias-free and spectrally normalised: W / sigma(W), sigma by one power iteration a training
step, u and v kept in the checkpoint. Keys: `aailab-kaist/DBAE`, ddbm/unet.py.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Channels of each map in units of the width; every block doubles the map.
_CHANNELS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1}


@dataclasses.dataclass(frozen=True)
class EndpointDecoderConfig:
    """Shape of the endpoint decoder.

    Attributes:
        width: FastGAN's ngf; maps have 16, 8, 4, 2, 2, 1 times as many channels at 4, 8, 16, 32, 64, 128 px.
        unused_block: carry the published checkpoints' `feat_256`, which no image passes through.
    """

    width: int = 64
    unused_block: bool = False


class SpectralConv2d(nn.Module):
    """Bias-free convolution (or transposed convolution) with weight W / sigma(W).

    sigma = u^T W v with W flattened to output channels x rest; u and v follow W by one power iteration a
    training forward and rest in evaluation. Keys `weight_orig`, `weight_u`, `weight_v`.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, c_in: int, c_out: int, kernel: int, *, padding: int = 0, transposed: bool = False) -> None:
        super().__init__()
        self.padding, self.transposed = padding, transposed
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.weight_orig = nn.Parameter(kind(c_in, c_out, kernel, bias=False).weight.detach())
        self.register_buffer("weight_u", F.normalize(torch.randn(c_out), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(c_in * kernel**2), dim=0))

    def weight(self) -> Tensor:
        """W / sigma(W), in float32 whatever the precision of the networks: sigma of rounded numbers would drift."""
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            return self._weight()

    def _weight(self) -> Tensor:
        w = (self.weight_orig.transpose(0, 1) if self.transposed else self.weight_orig).flatten(1)
        if self.training:
            with torch.no_grad():
                self.weight_v.copy_(F.normalize(w.mT @ self.weight_u, dim=0))
                self.weight_u.copy_(F.normalize(w @ self.weight_v, dim=0))
        # Clones: the next forward overwrites u and v before this one's gradient may have used them.
        return self.weight_orig / torch.dot(self.weight_u.clone(), torch.mv(w, self.weight_v.clone()))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        """x convolved with the weight divided by its largest singular value."""
        if self.transposed:
            return F.conv_transpose2d(x, self.weight(), padding=self.padding)
        return F.conv2d(x, self.weight(), padding=self.padding)


class GatedUnit(nn.Module):
    """GLU over channels, a sigmoid(b) of the halves a and b: PyTorch's own, whose kernels are 2.7 times slower on CPUs.

    Same bits forward; gradients differ by rounding.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c/2 h w"]:
        """The first half of the channels, gated by the second."""
        a, b = x.chunk(2, dim=1)
        return a * b.sigmoid()


class InitBlock(nn.Module):
    """z -> 4x4 map."""

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__()
        self.init = nn.Sequential(
            SpectralConv2d(latent_dim, 2 * channels, 4, transposed=True), nn.BatchNorm2d(2 * channels), GatedUnit()
        )

    def forward(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b c 4 4"]:
        """The first map of z."""
        return self.init(z[:, :, None, None])


def up_block(c_in: int, c_out: int) -> nn.Sequential:
    """Nearest x2, convolution, batch norm, gated linear unit."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        SpectralConv2d(c_in, 2 * c_out, 3, padding=1),
        nn.BatchNorm2d(2 * c_out),
        GatedUnit(),
    )


class SkipExcitation(nn.Module):
    """big * sigmoid(Conv1x1(SiLU(Conv4x4(pool4(small)))))."""

    def __init__(self, c_small: int, c_big: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            SpectralConv2d(c_small, c_big, 4),
            nn.SiLU(),
            SpectralConv2d(c_big, c_big, 1),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, big: Tensor) -> Tensor:
        """`big` with channels weighed by `small`, a map of fewer pixels."""
        return big * self.main(small)


class EndpointDecoder(nn.Module):
    """Dec of the module docstring."""

    def __init__(self, config: EndpointDecoderConfig, *, image_size: int, latent_dim: int) -> None:
        super().__init__()
        if image_size not in _CHANNELS or image_size < 8:
            raise ValueError(f"the endpoint decoder makes images of 8, 16, 32, 64 or 128 px, not {image_size}")
        channels = {size: config.width * c for size, c in _CHANNELS.items()}
        self.image_size = image_size
        self.init = InitBlock(latent_dim, channels[4])
        size = 4
        while size < image_size:
            size *= 2
            self.add_module(f"feat_{size}", up_block(channels[size // 2], channels[size]))
            if size >= 64:
                self.add_module(f"se_{size}", SkipExcitation(channels[size // 16], channels[size]))
        if config.unused_block:
            self.feat_256 = up_block(channels[128], channels[128] // 2)
        self.add_module(f"to_{image_size}", SpectralConv2d(channels[image_size], 3, 1))

    def forward(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """x_T of z, not clamped."""
        maps = {4: self.init(z)}
        size = 4
        while size < self.image_size:
            size *= 2
            maps[size] = self.get_submodule(f"feat_{size}")(maps[size // 2])
            if size >= 64:
                maps[size] = self.get_submodule(f"se_{size}")(maps[size // 16], maps[size])
        return self.get_submodule(f"to_{size}")(maps[size])
