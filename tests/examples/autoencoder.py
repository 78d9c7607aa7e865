"""A convolutional autoencoder, the smallest method: z = Enc(x), x = Dec(z), loss = mean_pixels (x - Dec(Enc(x)))^2."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from baselines.diffusion.process import NoiseLoss
from baselines.method import LatentOptions, Method, Preset
from dbae.samplers import Sampled
from dbae.training.config import SMALL_PRESETS


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """Attributes: image_size: pixels, a multiple of 4; latent_dim: length of z; width: channels of the maps."""

    image_size: int
    latent_dim: int
    width: int


class Autoencoder(nn.Module):
    """A `RepresentationModel`: one pass to z, one pass back."""

    samplers, endpoints, encode_nfe = ("one_step",), ("decoded",), 0

    def __init__(self, config: AutoencoderConfig, *, name: str = "autoencoder") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.image_size, self.latent_dim = config.image_size, config.latent_dim
        c, side = config.width, config.image_size // 4
        down = [nn.Conv2d(3, c, 4, 2, 1), nn.SiLU(), nn.Conv2d(c, c, 4, 2, 1), nn.SiLU(), nn.Flatten()]
        self.encoder = nn.Sequential(*down, nn.Linear(c * side**2, config.latent_dim))
        up = [nn.ConvTranspose2d(c, c, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(c, 3, 4, 2, 1)]
        self.decoder = nn.Sequential(nn.Linear(config.latent_dim, c * side**2), nn.Unflatten(1, (c, side, side)), *up)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def posterior(self, x: Tensor) -> tuple[Tensor, None]:
        return self.encoder(x), None

    @torch.no_grad()
    def encode(self, x: Tensor, *, noise: Any = None) -> Tensor:
        return self.encoder(x)

    @torch.no_grad()
    def decode(self, z: Tensor, *, x_T: Tensor | None = None, sampler: Any = None, noise: Any = None) -> Sampled:
        raw = self.decoder(z)
        return Sampled(raw.clamp(-1, 1), 1, raw)


def loss(model: Autoencoder, x0: Tensor, generator: torch.Generator) -> NoiseLoss:
    return NoiseLoss((model.decoder(model.posterior(x0)[0]) - x0).square().flatten(1).mean(1))


METHOD = Method(
    key="autoencoder",
    label="Autoencoder",
    config=AutoencoderConfig,
    model=Autoencoder,
    loss=loss,
    presets={"faces32": Preset(lambda: AutoencoderConfig(32, 32, 32), SMALL_PRESETS["faces32"])},
    options=LatentOptions,
)
