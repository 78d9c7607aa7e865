"""Samplers of discrete diffusion models, given a network that predicts the noise in x_t.

Notation as in `baselines.diffusion.process`. Every step at time t starts from the prediction of x_0, clamped unless
told otherwise, and the noise e that goes with it:

    x_0 = sqrt(1 / ab) x - sqrt(1 / ab - 1) eps_theta(x, t),    e = (sqrt(1 / ab) x - x_0) / sqrt(1 / ab - 1)

    DDIM       x = sqrt(ab_before) x_0 + sqrt(1 - ab_before - sigma^2) e + sigma n
               sigma = eta sqrt((1 - ab_before) / (1 - ab)) sqrt(1 - ab / ab_before)
    Inversion  x = sqrt(ab_after) x_0 + sqrt(1 - ab_after) e, from the image up: x_T of which DDIM makes the image
    DDPM       x = c_0 x_0 + c_t x + sqrt(variance) n, the posterior of the process

Source: `phizaz/diffae`, diffusion/base.py. Two facts of its inversion follow from the formulas: the clean image is
handed to the network at t = 0 as if it had the noise of that time, and as ab_after of the last time is 0, x_T is e.

Coefficients are computed before the loop, in float32 from float32 where the reference does; images stay on their
device. n is drawn at every step but the last, and only where it counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from baselines.diffusion.process import Process, Schedule, even_times
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig
from dbae.samplers.base import finite_images, new_run
from dbae.samplers.strides import stride_times
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar

Predict = Callable[[Tensor, int], Tensor]
"""(x_t, t) -> the noise in x_t; twice the channels where the network predicts a variance too (guided-diffusion)."""


Variance = Literal["fixed_large", "fixed_small"]
"""As `Process.log_variance` has them."""


class DiffusionSampler(ABC):
    """One run: owns the order of times, the loop, the progress bar and the count of evaluations.

    Args:
        predict: the network, already conditioned on z.
        process: the times to visit, and their tables.
        clip: clamp the prediction of x_0 to [-1, 1].
        noise: source of every n; not needed by a sampler without noise.
    """

    def __init__(self, predict: Predict, process: Process, *, clip: bool = True, noise: Noise | None = None) -> None:
        self.network, self.process, self.clip, self.noise = predict, process, clip, noise
        self.n = len(process.times)
        self.nfe = 0
        self.a, self.b = floats(np.sqrt(1 / process.alpha_bar)), floats(np.sqrt(1 / process.alpha_bar - 1))
        self.prepare()

    def prepare(self) -> None:
        """Computes the coefficients of every step."""
        return

    def order(self) -> range:
        """Indices of the times in the order of the steps."""
        return range(self.n - 1, -1, -1)

    @abstractmethod
    def step(self, x: Tensor, i: int) -> Tensor:
        """The state after the step at time i."""

    def predict(self, x: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """x_0 and e at time i, and the network's further channels (none, or one of variance for every colour)."""
        self.nfe += 1
        out = self.network(x, self.process.times[i]).to(x.dtype)
        eps, rest = out[:, : x.shape[1]], out[:, x.shape[1] :]
        x0 = self.a[i] * x - self.b[i] * eps
        if self.clip:
            x0 = x0.clamp(-1, 1)
        return x0, (self.a[i] * x - x0) / self.b[i], rest

    def normal(self, x: Tensor) -> Tensor:
        """The next draw, like x."""
        if self.noise is None:
            raise ValueError(f"{type(self).__name__} draws noise here: pass `noise`")
        return self.noise.normal(x.shape).to(x)

    @torch.no_grad()
    def run(self, x: Float[Tensor, "b c h w"], *, progress: bool = False, keep_path: bool = False) -> Sampled:
        """All steps from x; with `keep_path`, x and the states after every step are returned too.

        Raises:
            NotFiniteError: an image becomes NaN or infinite.
        """
        self.nfe, path = 0, [] if keep_path else new_run()
        if path is not None:
            path.append(x)
        finite = x.new_zeros(len(x), dtype=torch.int32)
        with progress_bar(len(self.order()), type(self).__name__, unit="step", show=progress, leave=False) as bar:
            for i in self.order():
                x = self.step(x, i)
                if path is not None:
                    path.append(x)
                finite += finite_images(x)
                bar.update()
        return Sampled(x.clamp(-1, 1), self.nfe, x, path if keep_path else None, finite).checked()


class DDIMSampler(DiffusionSampler):
    """From noise to an image, without noise for eta = 0.

    Args:
        eta: 0 is deterministic, 1 adds the noise of the posterior.
        to_data: end at x_0, one step beyond the first time. False ends at that time (PDAE).
    """

    def __init__(
        self,
        predict: Predict,
        process: Process,
        *,
        eta: float = 0.0,
        to_data: bool = True,
        clip: bool = True,
        noise: Noise | None = None,
    ) -> None:
        self.eta, self.to_data = eta, to_data
        super().__init__(predict, process, clip=clip, noise=noise)

    def order(self) -> range:
        """From the noisiest time down; without `to_data` the step to the image is left out."""
        return range(self.n - 1, -1 if self.to_data else 0, -1)

    def prepare(self) -> None:
        """Weights of x0 and of the predicted noise, and sigma, in float32 as in the references."""
        ab, before = (np.float32(table) for table in (self.process.alpha_bar, self.process.alpha_bar_before))
        sigma = np.float32(self.eta) * np.sqrt((1 - before) / (1 - ab)) * np.sqrt(1 - ab / before)
        self.x0_weight, self.e_weight = floats(np.sqrt(before)), floats(np.sqrt(1 - before - sigma**2))
        self.sigma = floats(sigma)

    def step(self, x: Tensor, i: int) -> Tensor:
        """x at the time before: `x0_weight` x0 + `e_weight` e + sigma n."""
        x0, e, _ = self.predict(x, i)
        mean = self.x0_weight[i] * x0 + self.e_weight[i] * e
        return mean + self.sigma[i] * self.normal(x) if self.sigma[i] else mean


class Inversion(DiffusionSampler):
    """From an image to the noise that DDIM makes it of.

    Args:
        to_noise: take the step at the last time, after which no image is left. False ends at that time (PDAE).
    """

    def __init__(self, predict: Predict, process: Process, *, to_noise: bool = True, clip: bool = True) -> None:
        self.to_noise = to_noise
        super().__init__(predict, process, clip=clip)

    def order(self) -> range:
        """From the image up; without `to_noise` the step to the last time is left out."""
        return range(self.n if self.to_noise else self.n - 1)

    def prepare(self) -> None:
        """Weights of x0 and of the predicted noise at the time after."""
        after = np.float32(self.process.alpha_bar_after)
        self.x0_weight, self.e_weight = floats(np.sqrt(after)), floats(np.sqrt(1 - after))

    def step(self, x: Tensor, i: int) -> Tensor:
        """x at the time after, with the noise predicted at this one."""
        x0, e, _ = self.predict(x, i)
        return self.x0_weight[i] * x0 + self.e_weight[i] * e


class DDPMSampler(DiffusionSampler):
    """Ancestral sampling. A network that predicts a variance is asked for it: log-linear between small and large.

    Args:
        variance: of the steps of a network that does not.
    """

    def __init__(
        self,
        predict: Predict,
        process: Process,
        *,
        variance: Variance = "fixed_large",
        clip: bool = True,
        noise: Noise | None = None,
    ) -> None:
        self.variance = variance
        super().__init__(predict, process, clip=clip, noise=noise)

    def prepare(self) -> None:
        """Weights of x0 and x in the posterior's mean, and log variances: the chosen, the bounds of a learned one."""
        self.x0_weight, self.x_weight = map(floats, self.process.posterior_mean)
        self.log_variance = floats(self.process.log_variance(self.variance))
        self.log_bounds = floats(self.process.log_variance("fixed_small")), floats(np.log(self.process.betas))

    def step(self, x: Tensor, i: int) -> Tensor:
        """A draw of the posterior of the time before; its mean in the last step."""
        x0, _, v = self.predict(x, i)
        mean = self.x0_weight[i] * x0 + self.x_weight[i] * x
        if i == 0:
            return mean
        if not v.shape[1]:
            return mean + float(np.exp(np.float32(0.5 * self.log_variance[i]))) * self.normal(x)
        small, large = (bound[i] for bound in self.log_bounds)
        share = (v + 1) / 2
        return mean + (0.5 * (share * large + (1 - share) * small)).exp() * self.normal(x)


def sample(
    predict: Predict,
    x_T: Float[Tensor, "b c h w"],
    schedule: Schedule,
    config: SamplerConfig,
    *,
    noise: Noise | None = None,
    progress: bool = False,
    keep_path: bool = False,
) -> Sampled:
    """Runs "ddim" on DiffAE's stride grid, or "ddpm" at even times, with the large variance unless told.

    Args:
        x_T: taken to be at the first visited time; images keep its dtype and device.
        noise: needed by ddpm, and by ddim with eta > 0; one draw of the shape of x_T a step.

    Raises:
        UserError: no such number of steps, or guidance.
        ValueError: another method, an option that these models lack, noise is missing, or a variance is named for a
            network that predicts its own.
    """
    if config.stop:
        raise ValueError("stop, the share of steps without z, belongs to PDAE and DiTi")
    require_unguided(config)
    sampler: DiffusionSampler
    match config.method:
        case "ddim":
            process = Process(schedule, tuple(stride_times(config.nfe)))
            sampler = DDIMSampler(predict, process, eta=config.eta, clip=config.clip_denoised, noise=noise)
        case "ddpm":
            process = Process(schedule, tuple(even_times(config.nfe)))
            variance = variance_of(config)
            predict = predict if variance is None else _without_variance(predict)
            told = variance or "fixed_large"
            sampler = DDPMSampler(predict, process, variance=told, clip=config.clip_denoised, noise=noise)
        case _:
            raise ValueError(f"{config.method} is a method of bridges; a diffusion model has ddim and ddpm")
    return sampler.run(x_T, progress=progress, keep_path=keep_path)


def require_unguided(config: SamplerConfig) -> None:
    """Raise UserError if the configuration weighs z, which asks for a model with `takes_guidance`."""
    if config.guidance != 1:
        raise UserError(
            f"--guidance {config.guidance:g}: expected 1 of a model that has not learned to do without z, as soda has; "
            "leave out --guidance."
        )


def variance_of(config: SamplerConfig) -> Variance | None:
    """What a configuration says of the variance of ancestral steps; None leaves it to the model."""
    return {"large": "fixed_large", "small": "fixed_small"}.get(config.variance)  # type: ignore[return-value]


def _without_variance(predict: Predict) -> Predict:
    """The same network, once it is seen to put out noise alone."""

    def checked(x: Tensor, t: int) -> Tensor:
        out = predict(x, t)
        if out.shape[1] != x.shape[1]:
            raise ValueError("this network predicts the variance of its steps: leave out `variance`")
        return out

    return checked


def invert(
    predict: Predict, x: Float[Tensor, "b c h w"], schedule: Schedule, steps: int, *, progress: bool = False
) -> tuple[Float[Tensor, "b c h w"], int]:
    """x_T of images x in [-1, 1] on DiffAE's stride grid, for `sample` with as many steps; and its evaluations.

    Raises:
        UserError: no such number of steps.
    """
    found = Inversion(predict, Process(schedule, tuple(stride_times(steps)))).run(x, progress=progress)
    return found.raw, found.nfe


def floats(table: NDArray[np.floating]) -> list[float]:
    """Values of a table, rounded to float32."""
    return [float(value) for value in table.astype(np.float32)]
