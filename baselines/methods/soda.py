"""SODA, its main ideas on the trunk of DiffAE: z of one view guides the making of another (Hudson et al., CVPR 2024).

    z    = Enc(view(x0)),  0 for a share `drop` of the images                               another view: `views`
    loss = mean_pixels (eps - eps_theta(x_t, t, z))^2,    x_t of x0 itself
    decoding with guidance w:  eps = eps_theta(x_t, t, 0) + w (eps_theta(x_t, t, z) - eps_theta(x_t, t, 0))

A view is a random part of the image, or that with other colours (`baselines.methods.simclr.views`), so that z is what
all views share; the networks learn to do without z too, so that decoding may weigh it: `SamplerConfig.guidance`, with
two evaluations a step unless it is 1. Images are encoded whole. Without views and dropping it is DiffAE bit for bit.

Its schedule is "inverted_cosine" (`--schedule`); linear by default, as the other methods.

DEVIATION: the authors' program is not public; this is no reproduction. z goes whole to every block (there it is split
over the layers, some of which are masked), encoder and network have one learning rate (there the encoder's is twice
the other), and the views of an image are not described well enough to repeat them.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import Predict, draw, noise_loss, sample
from baselines.method import Method
from baselines.methods.diffae import DiffAE, DiffAEConfig, small_presets
from baselines.methods.simclr import Views
from baselines.options import ConfigOptions, in_sizes, require, unusual
from baselines.regularisers import RegularisedLoss
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig, steps_for

Kind = Literal["same", "crop", "colour"]
_VIEWS = {"crop": Views(crop=True, colour=False), "colour": Views(crop=True)}


@dataclasses.dataclass(frozen=True)
class SODAConfig(DiffAEConfig):
    """A DiffAE, and:

    Attributes:
        views: what the encoder sees in training: the image, a part of it, or that with its colours changed too.
        drop: share of the images whose z is 0 in training.

    Raises:
        UserError: a share that is none.
    """

    views: Kind = "crop"
    drop: float = 0.1

    def __post_init__(self) -> None:
        require(self, "a number from 0 to 1", lambda value: 0 <= value <= 1, "drop")


class SODA(DiffAE):
    """A SODA as a `RepresentationModel`. Its state dict is DiffAE's.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    config: SODAConfig
    takes_guidance = True

    def view(self, x: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
        """What the encoder sees of images in training."""
        return x if self.config.views == "same" else _VIEWS[self.config.views].draw(x, generator)

    def pictures(self, x: Float[Tensor, "b 3 s s"]) -> list[Float[Tensor, "b 3 s s"]]:
        """A view of each image."""
        return [self.view(x, torch.Generator(x.device).manual_seed(0))]

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """As `DiffAE.decode`, with guidance."""
        if sampler is None or sampler.guidance == 1:
            return super().decode(z, x_T=x_T, sampler=sampler, noise=noise, progress=progress)
        x_T = self.started(z, x_T, noise)
        steps = dataclasses.replace(sampler, guidance=1.0, nfe=steps_for(sampler))
        found = sample(self._guided(z, sampler.guidance), x_T, self.schedule, steps, noise=noise, progress=progress)
        return dataclasses.replace(found, nfe=2 * found.nfe)

    def _guided(self, z: Tensor, weight: float) -> Predict:
        under_z, without = self.predictor(z), self.predictor(torch.zeros_like(z))
        return lambda x, t: torch.lerp(without(x, t), under_z(x, t), weight)


def loss(model: SODA, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, the views, whose z is dropped, eps, then dropout)."""
    t, noise = draw(x0, generator)
    z, _ = model.posterior(model.view(x0, generator))
    if model.config.drop:
        kept = torch.rand(len(z), 1, generator=generator, device=z.device) >= model.config.drop
        z = z * kept
    found = noise_loss(lambda x, t: model.network(x, t, z), model.schedule, x0, t, noise=noise)
    return RegularisedLoss(found.loss, found.mse)


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SODAOptions(ConfigOptions):
    """What SODA can be told. None keeps the preset's value.

    Attributes:
        views: what the encoder sees in training: the image itself, a part of it (crop), or that in other colours.
        drop: share of the images whose z is set to 0 in training, from 0 to 1.
        schedule: how the noise grows with time: linear or inverted_cosine.
    """

    views: Kind | None = None
    drop: float | None = None
    schedule: Literal["linear", "inverted_cosine"] | None = None


METHOD = Method(
    key="soda",
    label="SODA-lite",
    config=SODAConfig,
    model=SODA,
    loss=loss,
    presets=small_presets(partial(in_sizes, SODAConfig)),
    options=SODAOptions,
    variant=unusual,
)
