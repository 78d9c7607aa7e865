"""How far the reverse process is from the posterior it imitates: PDAE's measure of what z adds to the frozen model.

    gap_t = mean_pixels ( E[x_s | x_t, x_0] - mean_t )^2 = k_t^2 mean_pixels (e - eps)^2,
    k_t   = beta_t / sqrt(alpha_t (1 - ab_t)),   x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) eps

with e = eps_theta(x_t, t) for the frozen model and e = eps_theta + c_t G for PDAE (`baselines.methods.pdae.sampling`).
Source: ckczzj/PDAE, diffusion/gaussian_diffusion.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import Process, T
from baselines.methods.pdae.sampling import Heads, shift_coefficients
from dbae.noise import Noise
from dbae.support.progress import progress_bar


@dataclasses.dataclass(frozen=True)
class PosteriorGap:
    """gap_t of every image and time; times from the last to the first, as they are visited."""

    times: tuple[int, ...]
    frozen: Float[Tensor, "b t"]
    shifted: Float[Tensor, "b t"]


@torch.no_grad()
def posterior_gap(
    heads: Heads,
    x0: Float[Tensor, "b c h w"],
    *,
    noise: Noise,
    process: Process | None = None,
    uniform: bool = False,
    progress: bool = False,
) -> PosteriorGap:
    """Measures both gaps of images in [-1, 1]; one evaluation a time.

    Args:
        noise: eps of every time, one draw of the shape of x0, the last time first.
        process: times to measure at, of the model's schedule; all 1000 of the linear one unless given.
        uniform: DEVIATION: the reference draws eps uniformly from [0, 1); this maps the normal draws to such.
    """
    process = process or Process("linear", tuple(range(T)))
    ab, c = process.alpha_bar, shift_coefficients(process)
    k = process.betas / np.sqrt((1 - process.betas) * (1 - ab))
    frozen, shifted = [], []
    with progress_bar(len(ab), "posterior gap", unit="step", show=progress) as bar:
        for i in range(len(ab) - 1, -1, -1):
            eps = noise.normal(x0.shape)
            eps = (torch.special.ndtr(eps) if uniform else eps).to(x0)
            x_t = float(np.sqrt(ab[i])) * x0 + float(np.sqrt(1 - ab[i])) * eps
            e, G = heads(x_t, process.times[i], True)
            frozen.append(_mean_square(float(k[i]) * (e - eps)))
            shifted.append(frozen[-1] if G is None else _mean_square(float(k[i]) * (e + float(c[i]) * G - eps)))
            bar.update()
    return PosteriorGap(process.times[::-1], torch.stack(frozen, dim=1), torch.stack(shifted, dim=1))


def _mean_square(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)
