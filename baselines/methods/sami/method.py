"""How SAMI and ScoreVAE train, and what the command line may say of them; presets on the sizes of DiffAE's."""

from __future__ import annotations

import dataclasses
import logging
import math
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import T, draw, noise_loss
from baselines.method import Built, Load, Method
from baselines.methods.ddim import NormalPrior, on_plain_model
from baselines.methods.diffae import small_presets
from baselines.methods.sami.model import SAMI, SAMIConfig
from baselines.options import ConfigOptions, in_sizes, unusual
from baselines.regularisers import RegularisedLoss, gaussian_kl

COLLAPSED = 0.1
"""Nats of KL, all dimensions together, below which z tells nothing of an image."""
CHECK_EVERY = 100
"""Batches between two looks at it."""

log = logging.getLogger(__name__)


def loss(model: SAMI, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, eps, eps of z, then dropout). free_bits counts a batch's KL for each image."""
    t, noise = draw(x0, generator)
    if model.config.times == "late":
        t = (T * ((t + 0.5) / T) ** 0.25).long()
    with torch.autocast(x0.device.type, enabled=False):
        mean, sigma = model.posterior(x0)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        z = mean + sigma * noise.normal(mean.shape)
        return model.guided(x, t, z, create_graph=True)

    found = noise_loss(predict, model.schedule, x0, t, noise=noise)
    weight = _kl_weight(model) if model.config.kl else 0.0
    kl = _kl(model, mean, sigma)
    if model.training:
        model.images_seen += len(x0)
    return RegularisedLoss(found.loss + weight * kl if model.config.kl else found.loss, found.mse)


def _kl_weight(model: SAMI) -> Tensor:
    """kl of the module docstring by now, on the model's device."""
    c = model.config
    progress = (model.images_seen / c.anneal_images).clamp(max=1)
    return c.kl_start * torch.exp(progress * math.log(c.kl / c.kl_start))


def _kl(model: SAMI, mean: Tensor, sigma: Tensor) -> Tensor:
    """What is paid of KL, of each image."""
    each = gaussian_kl(mean, sigma)
    _watch(model, each)
    if not model.config.free_bits:
        return each.sum(1)
    return each.mean(0).clamp(min=model.config.free_bits).sum()


def _watch(model: SAMI, kl: Tensor) -> None:
    """Now and then, says if z has collapsed."""
    if not model.training:
        return
    model.batches += 1
    if model.batches % CHECK_EVERY:
        return
    nats = float(kl.detach().sum(1).mean())
    if nats < COLLAPSED:
        log.warning(
            "z has collapsed: after %d batches an image's KL is %.3g nats, so that z tells nothing of it. A smaller "
            "--kl, a longer --anneal-images or --free-bits 0.1 may help.",
            model.batches,
            nats,
        )


@dataclasses.dataclass(frozen=True)
class SAMIOptions(ConfigOptions):
    """What SAMI can be told. None keeps the preset's value.

    Attributes:
        time_conditioned: tell the encoder the time too, which makes it a ScoreVAE.
        guidance: factor of the encoder's gradient in the score.
        kl: weight of the KL divergence of z from N(0, I) at the end of training, beside a mean over pixels.
        kl_start: weight of the KL divergence at the start of training.
        anneal_images: training images over which the weight goes from kl_start to kl.
        free_bits: nats of the KL divergence of each dimension that cost nothing.
        times: the times that are trained: uniform, or more of the late, noisy ones.
        pretrained: checkpoint of the ddim that is guided and stays as it is; without one both are trained.
    """

    time_conditioned: bool = False
    guidance: float | None = None
    kl: float | None = None
    kl_start: float | None = None
    anneal_images: int | None = None
    free_bits: float | None = None
    times: Literal["uniform", "late"] | None = None
    pretrained: str | None = None

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """With `pretrained`, its network frozen, of which the model takes architecture and schedule."""
        if self.pretrained is None:
            return super().built(method, config, seed, name, load)
        return on_plain_model(self.pretrained, load, method, config, seed, name, part="network", frozen=True)


METHOD = Method(
    key="sami",
    label="SAMI",
    config=SAMIConfig,
    model=SAMI,
    loss=loss,
    presets=small_presets(partial(in_sizes, SAMIConfig)),
    options=SAMIOptions,
    variant=unusual,
    prior=lambda model: NormalPrior(model.latent_dim),
)
