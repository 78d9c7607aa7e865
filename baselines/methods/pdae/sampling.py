"""From noise to an image and back with a shifted mean, as in PDAE.

The steps are those of `baselines.diffusion.samplers`; what is PDAE's own is the noise that they are told of, and the
times they visit. With eps and G from one evaluation of the network at time t, where ab is `diffusion.alpha_bar`,

    DDIM, inversion    e = eps - sqrt(1 - ab_t) G
    DDPM, training     e = eps + c_t G,    c_t = -sqrt(ab_t / ab_s) (1 - ab_s) / sqrt(1 - ab_t)

with s the next time towards the image (ab_s = 1 at the first).
N steps of DDIM visit N + 1 times int(linspace(0, 999, N + 1)), 0 and 999 included, so that no more than 999 exist.
Decoding ends at time 0, where a share 0.01 of e is left in the image, and inversion begins there: one undoes the other.
DDPM visits every time (fewer are ours), with the posterior's variance unless told.

DEVIATION: the two coefficients of G, where the paper has one. At t = 0 they are -0.01 and 0, so that inversion, which
begins there, reads a G that was never trained.

Source: ckczzj/PDAE, diffusion/gaussian_diffusion.py and diffusion/ddim.py. The reference derives ab on its grid by
ratios and products in float32, which only rounds (by up to 2e-5 in an inferred x_T).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import (
    DDIMSampler,
    DDPMSampler,
    Inversion,
    Predict,
    Process,
    Schedule,
    T,
    alpha_bar,
    even_times,
    require_unguided,
    variance_of,
)
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig, steps_for
from dbae.support.errors import UserError

Heads = Callable[[Tensor, int, bool], tuple[Tensor, Tensor | None]]
"""(x, t, shift) -> eps and G by one evaluation of the network; only where `shift` is False G may be None."""


def ddim_process(steps: int, schedule: Schedule = "linear") -> Process:
    """The times of so many steps; 999 steps where more are asked for.

    Raises:
        UserError: not a single step.
    """
    if steps < 1:
        raise UserError(f"ddim with {steps} steps: expected 1 to {T - 1}.")
    return Process(schedule, tuple(sorted({int(t) for t in np.linspace(0, T - 1, steps + 1)})))


def ddim_noise(heads: Heads, schedule: Schedule = "linear", *, since: int = 0) -> Predict:
    """e of DDIM; at times before `since` that is eps."""
    ab = alpha_bar(schedule).tolist()

    def predict(x: Tensor, t: int) -> Tensor:
        eps, G = heads(x, t, t >= since)
        return eps if G is None or t < since else eps - (1 - ab[t]) ** 0.5 * G

    return predict


def ddpm_noise(heads: Heads, process: Process) -> Predict:
    """e of DDPM on the times of `process`."""
    c = dict(zip(process.times, shift_coefficients(process).tolist(), strict=True))

    def predict(x: Tensor, t: int) -> Tensor:
        eps, G = heads(x, t, True)
        return eps if G is None else eps + c[t] * G

    return predict


def shift_coefficients(process: Process) -> np.ndarray:
    """c_t of the module docstring at the times of `process`, float64."""
    ab, before = process.alpha_bar, process.alpha_bar_before
    return -np.sqrt(1 - process.betas) * (1 - before) / np.sqrt(1 - ab)


def decode(
    heads: Heads,
    x_T: Float[Tensor, "b c h w"],
    config: SamplerConfig,
    *,
    schedule: Schedule = "linear",
    noise: Noise | None = None,
    progress: bool = False,
    keep_path: bool = False,
) -> Sampled:
    """Runs "ddim" or "ddpm" from x_T at time 999; `Sampled.raw` is the last state, not clamped.

    DEVIATION: the reference clamps x_0 in DDIM and not in DDPM; here both follow `config.clip_denoised`.

    Args:
        config: `stop`: the last int(stop N) of N steps are the frozen network's alone (0.3 to generate, else 0).
        noise: needed by ddpm, and by ddim with eta > 0; one draw of the shape of x_T a step.

    Raises:
        UserError: no such number of steps of ddpm, or guidance.
        ValueError: another method, or noise is missing.
    """
    require_unguided(config)
    steps, clip = steps_for(config), config.clip_denoised
    sampler: DDIMSampler | DDPMSampler
    match config.method:
        case "ddim":
            process = ddim_process(steps, schedule)
            since = process.times[int(config.stop * (len(process.times) - 1)) + 1] if config.stop < 1 else T
            predict = ddim_noise(heads, schedule, since=since)
            sampler = DDIMSampler(predict, process, eta=config.eta, to_data=False, clip=clip, noise=noise)
        case "ddpm":
            process = Process(schedule, tuple(even_times(steps)))
            predict = ddpm_noise(heads, process)
            variance = variance_of(config) or "fixed_small"
            sampler = DDPMSampler(predict, process, variance=variance, clip=clip, noise=noise)
        case _:
            raise ValueError(f"{config.method} is a method of bridges; a diffusion model has ddim and ddpm")
    return sampler.run(x_T, progress=progress, keep_path=keep_path)


def infer(
    predict: Predict,
    x: Float[Tensor, "b c h w"],
    steps: int,
    *,
    schedule: Schedule = "linear",
    progress: bool = False,
    keep_path: bool = False,
) -> Sampled:
    """x_T at time 999, as `Sampled.raw`, from images x in [-1, 1], taken for states at time 0.

    Args:
        predict: see `ddim_noise`.
    """
    sampler = Inversion(predict, ddim_process(steps, schedule), to_noise=False)
    return sampler.run(x, progress=progress, keep_path=keep_path)


def decode_mixed(
    heads_1: Heads,
    heads_2: Heads,
    share: float,
    x_T: Float[Tensor, "b c h w"],
    config: SamplerConfig,
    *,
    schedule: Schedule = "linear",
    noise: Noise | None = None,
) -> Sampled:
    """Trajectory interpolation: at every step G = (1 - share) G_1 + share G_2, and eps of the first.

    `nfe` counts both evaluations of a step.
    """

    def heads(x: Tensor, t: int, shift: bool) -> tuple[Tensor, Tensor | None]:
        eps, G_1 = heads_1(x, t, shift)
        _, G_2 = heads_2(x, t, shift)
        return eps, None if G_1 is None or G_2 is None else (1 - share) * G_1 + share * G_2

    sampled = decode(heads, x_T, config, schedule=schedule, noise=noise)
    return dataclasses.replace(sampled, nfe=2 * sampled.nfe)
