"""The distribution of z, learned after the autoencoder by a diffusion model of its own (paper eq. 16, Table 7).

    w     = (z - mean) / std                                                 per dimension, over the training images
    ab_t  = (1 - 0.008)^(t + 1),  t = 0 .. 999                               constant beta
    w_t   = sqrt(ab_t) w + sqrt(1 - ab_t) eps,   loss = mean_d |eps - E(w_t, t)|  or its square

E is `dbae.networks.latent_mlp`. A draw starts at w_t ~ N(0, I) and follows DDIM without noise, from time t down to s:

    w_0 = sqrt(1 / ab_t) w_t - sqrt(1 / ab_t - 1) E(w_t, t)
    w_s = sqrt(ab_s) w_0 + sqrt(1 - ab_s) (sqrt(1 / ab_t) w_t - w_0) / sqrt(1 / ab_t - 1)

Sources: konpatp/diffae (diffusion/, renderer.py), whose latent model DBAE takes over; ckczzj/PDAE
(diffusion/gaussian_diffusion.py), which differs in `LatentSampling`. The z that `sample` returns is w std + mean.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.fields import from_json
from dbae.networks.latent_mlp import LatentMLP, LatentMLPConfig
from dbae.noise import Noise
from dbae.samplers.strides import T, stride_times
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar

METHOD = "latent prior"
"""What a checkpoint's card calls this model."""

LossKind = Literal["l1", "l2"]
BETA = 0.008


@dataclasses.dataclass(frozen=True)
class LatentSampling:
    """How a draw goes from noise to w.

    Attributes:
        steps: evaluations of the network.
        spacing: "stride" visits 0, s, 2s, ... with the smallest s that gives so many steps, and ends at w_0 (DiffAE);
            "linspace" visits 0 and 999 and evenly spaced times between, and ends in w at t = 0, not in w_0 (PDAE).
        clip: clamp the first noise and every w_0 to [-1, 1]; "noise" or "predictions" clamps one of them alone.
            DEVIATION: PDAE's released sampler does; w has standard deviation 1, so that about a third of it is lost.

    Raises:
        UserError: no grid has so many steps, or no such clip.
    """

    steps: int = T
    spacing: Literal["stride", "linspace"] = "stride"
    clip: bool | Literal["noise", "predictions"] = False

    def __post_init__(self) -> None:
        if self.spacing == "linspace" and not 1 <= self.steps < T:
            raise UserError(f"steps of the latent prior: expected 1 to {T - 1}, found {self.steps}.")
        if self.clip not in (True, False, "noise", "predictions"):
            raise UserError(f"clip of the latent prior: expected true, false, noise or predictions, found {self.clip}.")
        _ = self.times  # a stride may not exist

    @property
    def times(self) -> list[int]:
        """Times of the network's evaluations, and with "linspace" the last one reached; decreasing."""
        if self.spacing == "stride":
            return stride_times(self.steps)[::-1]
        return [int(t) for t in np.linspace(0, T - 1, self.steps + 1)][::-1]

    @property
    def transitions(self) -> list[tuple[int, float, float]]:
        """The time t, ab_t and ab_s of every step; ab_s = 1 in one that ends at w_0."""
        times = self.times
        after = [alpha_bar(s) for s in times[1:]] + [1.0] * (self.spacing == "stride")
        return [(t, alpha_bar(t), ab_s) for t, ab_s in zip(times, after, strict=False)]


class AnotherPriorError(UserError):
    """A prior that is over the z of another model."""


def alpha_bar(t: int) -> float:
    """Share of the variance of w that is left at time t."""
    return (1 - BETA) ** (t + 1)


@dataclasses.dataclass(frozen=True)
class DrawnLatents:
    """Codes `z` on the scale of the autoencoder, and the evaluations `nfe` of the latent network a draw."""

    z: Float[Tensor, "n l"]
    nfe: int


@dataclasses.dataclass(frozen=True)
class LatentLoss:
    """Per code: `loss` has a gradient; `mse` is the squared error of the same prediction, for the log."""

    loss: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]


class LatentPrior(nn.Module):
    """The model of the module docstring. Its state dict is `network.*`, `mean` and `std`.

    Args:
        config: shape of the network.
        name: for logs and cards.
        sampling: how `sample` draws; an attribute that may be replaced.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: LatentMLPConfig, *, name: str = METHOD, sampling: LatentSampling | None = None) -> None:
        super().__init__()
        self.config, self.name, self.latent_dim = config, name, config.latent_dim
        self.sampling = sampling or LatentSampling()
        self.network = LatentMLP(config)
        self.register_buffer("mean", torch.zeros(config.latent_dim))
        self.register_buffer("std", torch.ones(config.latent_dim))

    def standardise(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """w of z."""
        return (z - self.mean) / self.std

    def noisy(self, w: Float[Tensor, "b l"], t: Int[Tensor, " b"], eps: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """w_t from standard normal eps."""
        ab = (1 - torch.tensor(BETA, dtype=torch.float64, device=t.device)) ** (t + 1)
        return ab.sqrt().to(w)[:, None] * w + (1 - ab).sqrt().to(w)[:, None] * eps

    def loss(
        self, w: Float[Tensor, "b l"], t: Int[Tensor, " b"], eps: Float[Tensor, "b l"], kind: LossKind = "l1"
    ) -> LatentLoss:
        """The objective of the module docstring at given times and noise; means over the l dimensions."""
        error = self.network(self.noisy(w, t, eps), t) - eps
        mse = error.square().mean(1)
        return LatentLoss(error.abs().mean(1) if kind == "l1" else mse, mse.detach())

    @torch.no_grad()
    def sample(self, noise: Noise, n: int, *, progress: bool = False) -> DrawnLatents:
        """Draws n codes. `noise` is asked once, for (n, l): with one generator an image, draws do not depend on n.

        Raises:
            UserError: a code is not finite.
        """
        clip_noise, clip = (self.sampling.clip in (True, what) for what in ("noise", "predictions"))
        w = noise.normal((n, self.latent_dim)).to(self.mean)
        w = w.clamp(-1, 1) if clip_noise else w
        transitions = self.sampling.transitions
        with progress_bar(len(transitions), "latent prior", unit="step", show=progress) as bar:
            for t, ab_t, ab_s in transitions:
                a, b = (1 / ab_t) ** 0.5, (1 / ab_t - 1) ** 0.5
                w_0 = a * w - b * self.network(w, torch.full((n,), t, device=w.device))
                w_0 = w_0.clamp(-1, 1) if clip else w_0
                w = ab_s**0.5 * w_0 + (1 - ab_s) ** 0.5 * (a * w - w_0) / b
                bar.update()
        z = w * self.std + self.mean
        if not torch.isfinite(z).all():
            raise UserError(
                f"{self.name}: drew a z that is not finite. Use a checkpoint from before training diverged."
            )
        return DrawnLatents(z, len(transitions))


def load(path: str | os.PathLike[str], *, autoencoder_sha256: str | None = None) -> tuple[LatentPrior, checkpoint.Card]:
    """Read a prior that `python -m dbae.train_prior` has written, in evaluation mode, and its card.

    Args:
        autoencoder_sha256: hash of the checkpoint whose z is to be drawn; None asks for none in particular.

    Raises:
        UserError: see `dbae.checkpoints.own.load`.
        AnotherPriorError: a prior of another autoencoder.
    """

    def build(config: dict[str, Any], name: str) -> LatentPrior:
        return LatentPrior(from_json(LatentMLPConfig, config), name=name)

    prior, card = checkpoint.load_as(METHOD, build, path, weights=None)
    trained_on = card.train_data.get("autoencoder_sha256")
    if autoencoder_sha256 and trained_on != autoencoder_sha256:
        raise AnotherPriorError(
            f"{path}: the prior of another autoencoder ({card.train_data.get('autoencoder')}, checkpoint "
            f"{str(trained_on)[:12]}), expected one of checkpoint {autoencoder_sha256[:12]}. Draws would mean nothing "
            "to it: name the checkpoint that this prior was trained on, or train one with `python -m dbae.train_prior`."
        )
    return prior, card
