"""Which noise levels training dwells on: the density of its times over log-SNR = log( ab_t / (1 - ab_t) ).

With u the log-SNR scaled to 0 (all noise) .. 1 (none):

    uniform   of t, as all methods unless told otherwise
    coarse    2 (1 - u)
    even      1
    fine      2 u

A time has the probability of the log-SNR between the middles of the gaps to its neighbours.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.diffusion import process
from baselines.diffusion.process import Schedule, T, alpha_bar
from dbae.noise import GeneratorNoise

Emphasis = Literal["uniform", "coarse", "even", "fine"]


def draw(
    x0: Tensor, generator: torch.Generator, schedule: Schedule, emphasis: Emphasis
) -> tuple[Int[Tensor, " b"], GeneratorNoise]:
    """Times for the images of a training batch, and the noise to follow; "uniform" is `process.draw`."""
    if emphasis == "uniform":
        return process.draw(x0, generator)
    chances = probabilities(schedule, emphasis, x0.device)
    return torch.multinomial(chances, len(x0), replacement=True, generator=generator), GeneratorNoise(generator)


@functools.cache
def probabilities(schedule: Schedule, emphasis: Emphasis, device: torch.device) -> Float[Tensor, " t"]:
    """Probability of every time, float32, sum 1."""
    if emphasis == "uniform":
        return torch.full((T,), 1 / T, device=device)
    ab = alpha_bar(schedule)
    log_snr = np.log(ab / (1 - ab))
    u = (log_snr - log_snr[-1]) / (log_snr[0] - log_snr[-1])
    lengths = -np.diff(np.concatenate([u[:1], (u[1:] + u[:-1]) / 2, u[-1:]]))
    chances = {"coarse": 2 * (1 - u), "even": np.ones(T), "fine": 2 * u}[emphasis] * lengths
    return torch.tensor(chances / chances.sum(), dtype=torch.float32, device=device)
