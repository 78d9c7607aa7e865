"""The discrete Gaussian diffusion that DDIM, DiffAE and PDAE share: schedules, kept steps, tables, training loss.

    alpha_t = 1 - beta_t,  ab_t = alpha_0 ... alpha_t,   t = 0 .. 999
    x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) eps,   loss = mean_pixels (eps - eps_theta(x_t, t))^2

A run visits some of the times, s_0 < s_1 < ... They form a process of their own, from whose betas

    beta_k = 1 - ab_{s_k} / ab_{s_k-1}                                                            (ab_{s_-1} = 1)

every table is computed anew; the network is told s_k. Tables are float64, and cast to float32 where they are used, as
in the reference: `phizaz/diffae`, diffusion/base.py and diffusion/diffusion.py, after `openai/guided-diffusion`.
The samplers are in `baselines.diffusion.samplers`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from dbae.noise import GeneratorNoise, Noise
from dbae.samplers.strides import T
from dbae.support.errors import UserError

Schedule = Literal["linear", "cosine", "infodiffusion", "ve", "inverted_cosine"]
"""Of beta_t:

    linear         1e-4 to 0.02 evenly
    cosine         Nichol and Dhariwal's, at most 0.999 (some files of guided-diffusion)
    infodiffusion  1e-5 to 0.01 evenly: ab_999 is .0066, so that sampling from N(0, I) starts a little off
    ve             of x_t = x_0 + sigma_t eps with sigma_t = 0.01 5000^(t / 999), as DRL has it. The state here is
                   x_t / sqrt(1 + sigma_t^2), whose ab_t is 1 / (1 + sigma_t^2): same loss, same steps of DDIM
    inverted_cosine  SODA's: ab_t is arccos(sqrt(u)) 2 / pi at u = (t + 1/2) / 1000, steep at both ends
"""

Table = NDArray[np.floating]
"""float64, one number a time."""


@functools.cache
def betas(schedule: Schedule) -> Table:
    """beta_t of the whole process, shape (1000,)."""
    if schedule == "ve":
        ab = 1 / (1 + (0.01 * 5000 ** (np.arange(T) / (T - 1))) ** 2)
        return 1 - ab / np.append(1.0, ab[:-1])
    if schedule == "inverted_cosine":
        ab = np.arccos(np.sqrt((np.arange(T) + 0.5) / T)) * 2 / math.pi
        return 1 - ab / np.append(1.0, ab[:-1])
    if schedule != "cosine":
        return np.linspace(*{"linear": (1e-4, 2e-2), "infodiffusion": (1e-5, 1e-2)}[schedule], T)
    ab = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - ab[1:] / ab[:-1], 0.999)


@functools.cache
def alpha_bar(schedule: Schedule) -> Table:
    """ab_t of the whole process, shape (1000,)."""
    return np.cumprod(1 - betas(schedule))


def even_times(steps: int) -> list[int]:
    """0 and 999 and times between them as evenly as whole numbers allow: the times of ancestral sampling.

    Raises:
        UserError: not 2 to 1000.
    """
    if not 2 <= steps <= T:
        raise UserError(f"ddpm with {steps} steps: expected 2 to {T}.")
    times, position = [], 0.0
    for _ in range(steps):
        times.append(round(position))  # half to even, after accumulating, as in the reference
        position += (T - 1) / (steps - 1)
    return times


@dataclasses.dataclass(frozen=True)
class Process:
    """The process of some of the times, and its tables: float64, one number a time.

    Attributes:
        schedule: of the whole process.
        times: s_0 < s_1 < ..., what the network is told.
    """

    schedule: Schedule
    times: tuple[int, ...]

    @functools.cached_property
    def betas(self) -> Table:
        """beta of each of the n steps, float64, from the schedule's alpha_bar at `times`."""
        ab = alpha_bar(self.schedule)[list(self.times)]
        return 1 - ab / np.append(1.0, ab[:-1])

    @functools.cached_property
    def alpha_bar(self) -> Table:
        """alpha_bar after each step, float64 (n,), from almost 1 down."""
        return np.cumprod(1 - self.betas)

    @property
    def alpha_bar_before(self) -> Table:
        """ab one kept time closer to the image; 1 at the first."""
        return np.append(1.0, self.alpha_bar[:-1])

    @property
    def alpha_bar_after(self) -> Table:
        """ab one kept time closer to noise; 0 at the last."""
        return np.append(self.alpha_bar[1:], 0.0)

    @property
    def posterior_mean(self) -> tuple[Table, Table]:
        """Coefficients of x_0 and x_t in the mean of q(x_before | x_t, x_0)."""
        ab, before, beta = self.alpha_bar, self.alpha_bar_before, self.betas
        return beta * np.sqrt(before) / (1 - ab), (1 - before) * np.sqrt(1 - beta) / (1 - ab)

    def log_variance(self, kind: Literal["fixed_large", "fixed_small"]) -> Table:
        """Logarithm of the variance of an ancestral step: beta ("fixed_large") or the posterior's ("fixed_small").

        Both have the posterior's second value in the first place, where the posterior's own is 0.
        """
        posterior = self.betas * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)
        rest = self.betas if kind == "fixed_large" else posterior
        return np.log(np.append(posterior[1], rest[1:]))


# --- training ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class NoiseLoss:
    """Per-image mean squared error of the predicted noise: with its gradient, and for the log."""

    loss: Float[Tensor, " b"]

    @property
    def mse(self) -> Float[Tensor, " b"]:
        """The loss itself, which has no weights."""
        return self.loss.detach()


def q_sample(
    schedule: Schedule, x0: Float[Tensor, "b ..."], t: Int[Tensor, " b"], eps: Float[Tensor, "b ..."]
) -> Float[Tensor, "b ..."]:
    """x_t of the module docstring."""
    a, b = (table[t].view(-1, *[1] * (x0.ndim - 1)) for table in _marginal(schedule, x0.device))
    return a * x0 + b * eps


def noise_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    x0: Float[Tensor, "b 3 s s"],
    t: Int[Tensor, " b"],
    *,
    noise: Noise,
) -> NoiseLoss:
    """The loss of the module docstring at given times. `predict` maps x_t, t to the noise in it."""
    eps = noise.normal(x0.shape).to(x0)
    error = eps - predict(q_sample(schedule, x0, t, eps), t)
    return NoiseLoss(error.square().flatten(1).mean(1))


def draw(x0: Tensor, generator: torch.Generator) -> tuple[Int[Tensor, " b"], GeneratorNoise]:
    """Uniform times for the images of a training batch, and the noise to follow."""
    return torch.randint(T, (len(x0),), generator=generator, device=x0.device), GeneratorNoise(generator)


@functools.cache
def _marginal(schedule: Schedule, device: torch.device) -> tuple[Tensor, Tensor]:
    """sqrt(ab) and sqrt(1 - ab), float32."""
    ab = alpha_bar(schedule)
    a, b = (torch.tensor(table, dtype=torch.float32, device=device) for table in (np.sqrt(ab), np.sqrt(1 - ab)))
    return a, b
