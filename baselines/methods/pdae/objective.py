"""The loss of PDAE (`baselines.methods.pdae.model`), at times and under noise that are drawn or given."""

from __future__ import annotations

import dataclasses
import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.diffusion import Process, Schedule, T, draw, q_sample
from baselines.methods.pdae.model import PDAE
from baselines.methods.pdae.networks import ShiftUNet
from baselines.methods.pdae.sampling import shift_coefficients


@dataclasses.dataclass(frozen=True)
class ShiftLoss:
    """Per-image loss of `baselines.methods.pdae.model`, and for the log the same without w_t."""

    loss: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]


def shift_loss(
    decoder: ShiftUNet,
    x0: Float[Tensor, "b 3 s s"],
    t: Int[Tensor, " b"],
    z: Float[Tensor, "b l"],
    eps: Float[Tensor, "b 3 s s"],
    schedule: Schedule = "linear",
) -> ShiftLoss:
    """The loss of `baselines.methods.pdae.model` at given times, under given codes and noise."""
    c, w = (table[t] for table in _tables(schedule, x0.device))
    predicted, G = decoder(q_sample(schedule, x0, t, eps), t, z)
    error = (eps - predicted[:, :3] - c[:, None, None, None] * G).square().flatten(1).mean(1)
    return ShiftLoss(w * error, error.detach())


def loss(model: PDAE, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> ShiftLoss:
    """The objective at uniform times (order of draws: t, eps, then dropout)."""
    t, noise = draw(x0, generator)
    return shift_loss(model.decoder, x0, t, model.posterior(x0)[0], noise.normal(x0.shape).to(x0), model.schedule)


@functools.cache
def _tables(schedule: Schedule, device: torch.device) -> tuple[Tensor, Tensor]:
    """c_t and w_t of all times, float32."""
    process = Process(schedule, tuple(range(T)))
    snr = process.alpha_bar / (1 - process.alpha_bar)
    c, w = shift_coefficients(process), snr**0.1 / (1 + snr)
    return torch.tensor(c, dtype=torch.float32, device=device), torch.tensor(w, dtype=torch.float32, device=device)
