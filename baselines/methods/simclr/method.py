"""SimCLR: an encoder that gives two random views of an image alike codes, and other images others (ICML 2020).

    z = Enc(x0),    p = W_2 relu(W_1 z)                                          p is for the loss alone
    loss = -log [ exp(p_i . p_j / tau) / sum_{k != i} exp(p_i . p_k / tau) ],    unit p, over all views of a batch

j is the other view of the image that i shows; tau = .5. As run for DBAE's Table 1 (`yue-zhongqi/diti`) views are not
crops (`baselines.methods.simclr.views`); `crop` makes them so. There is no decoder, so that reconstruction, generation
and variation are n/a. The other images of a batch are what there is to tell apart: of several processes each has its
part of it, so that their loss is another than that of one.

DEVIATION: the encoder is the shared trunk's. One optimiser trains all; diti trains p by SGD.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from baselines.method import Method
from baselines.methods.diffae import small_presets
from baselines.methods.simclr.views import Views
from baselines.options import ConfigOptions, in_sizes, require, unusual
from baselines.regularisers import RegularisedLoss
from dbae.interface import require_images
from dbae.networks.encoder import Encoder, EncoderConfig
from dbae.noise import Noise
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class SimCLRConfig:
    """Everything that fixes the functions computed by a SimCLR and its loss, but the weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z.
        encoder: its shape.
        temperature: tau.
        crop: views are parts of an image.

    Raises:
        UserError: a temperature that is not positive.
    """

    image_size: int
    latent_dim: int
    encoder: EncoderConfig
    temperature: float = 0.5
    crop: bool = False

    def __post_init__(self) -> None:
        require(self, "a positive number", lambda value: 0 < value < math.inf, "temperature")


class SimCLR(nn.Module):
    """An encoder as a `RepresentationModel` that decodes nothing. Its state dict is `encoder.*`, `projection.*`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    samplers: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    encode_nfe = 0

    def __init__(self, config: SimCLRConfig, *, name: str = "simclr") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.image_size, self.latent_dim = size, latent = config.image_size, config.latent_dim
        self.encoder = Encoder(config.encoder, image_size=size, outputs=latent)
        self.projection = nn.Sequential(nn.Linear(latent, latent), nn.ReLU(), nn.Linear(latent, (latent + 1) // 2))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z = Enc(x) of images in [-1, 1]."""
        return self.encoder(x), None

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z, without a gradient; it is a function of the image, whatever `noise`.

        Raises:
            ValueError: images of another size or dtype than the model's.
        """
        require_images(x, self.image_size, self)
        return self.encoder(x)

    def decode(self, z: Any, *, x_T: Any = None, sampler: Any = None, noise: Any = None) -> NoReturn:
        """There is no decoder. Raises UserError."""
        raise UserError(f"{self.name}: expected a model with a decoder, found SimCLR, whose z can only be probed.")

    def pictures(self, x: Float[Tensor, "b 3 s s"]) -> list[Float[Tensor, "b 3 s s"]]:
        """Two views of each image."""
        generator = torch.Generator(x.device).manual_seed(0)
        return [Views(self.config.crop).draw(x, generator) for _ in range(2)]


def nt_xent(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, " b"]:
    """The loss of the module docstring, of each image the mean over its two views, in float32."""
    with torch.autocast(first.device.type, enabled=False):
        views = F.normalize(torch.cat([first, second]).float(), dim=1)
        alike = (views @ views.T / temperature).fill_diagonal_(-math.inf)
        others = torch.arange(len(views), device=views.device).roll(len(first))
        return F.cross_entropy(alike, others, reduction="none").view(2, -1).mean(0)


def loss(model: SimCLR, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: the first views, the second). Its mse is NaN: nothing is decoded."""
    views = Views(model.config.crop)
    both = torch.cat([views.draw(x0, generator), views.draw(x0, generator)])
    first, second = model.projection(model.encoder(both)).chunk(2)
    found = nt_xent(first, second, model.config.temperature)
    return RegularisedLoss(found, torch.full_like(found.detach(), math.nan))


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SimCLROptions(ConfigOptions):
    """What SimCLR can be told. None keeps the preset's value.

    Attributes:
        temperature: what the loss divides the cosines between codes by.
        crop: make views of random parts of an image too, as in SimCLR's paper, and not in DBAE's Table 1.
    """

    temperature: float | None = None
    crop: bool = False


def _variant(config: SimCLRConfig) -> str:
    """Whether it crops, and what is not as usual."""
    changed = unusual(dataclasses.replace(config, crop=False))
    return ", ".join(filter(None, ["crop" if config.crop else "no crop", changed]))


LARGE = dict(batch_size=256)
"""A batch in which there are enough others to tell apart."""

METHOD = Method(
    key="simclr",
    label="SimCLR",
    config=SimCLRConfig,
    model=SimCLR,
    loss=loss,
    presets=small_presets(partial(in_sizes, SimCLRConfig), **LARGE),
    options=SimCLROptions,
    variant=_variant,
    least=lambda config: 2,
)
