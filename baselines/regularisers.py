"""What the objectives of other people's models add to their reconstruction: terms about q(z | x) and its aggregate.

    KL(q(z | x) || N(0, I))  = sum_d (mu_d^2 + sigma_d^2 - 1) / 2 - log sigma_d
    MMD(p, q)                = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(x, y) = exp(-|x - y|^2 / l^2)
    TC(q)                    = E [ log q(z) - sum_d log q(z_d) ],    q(z) = mean over the batch of q(z | x_i)

MMD is a V-statistic: pairs of a sample with itself count, as in `isjakewong/InfoDiffusion` (utils.py). TC is the
weighted estimate of `dbae.losses` with the weights 1/b, which shifts it by a constant and leaves its gradient alone.
All are computed in float32 or float64, whatever precision the networks run in.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from dbae.losses import log_densities


@dataclasses.dataclass(frozen=True)
class RegularisedLoss:
    """Per-image loss with all its terms, and for the log the mean squared error alone, without a gradient."""

    loss: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]


def gaussian_kl(mean: Float[Tensor, "b l"], sigma: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """What each dimension of an image's z adds to KL, nats."""
    mean, sigma = _precise(mean), _precise(sigma)
    return 0.5 * (mean.square() + sigma.square() - 1) - sigma.log()


def mmd(x: Float[Tensor, "n l"], y: Float[Tensor, "m l"]) -> Float[Tensor, ""]:
    """MMD of the module docstring between samples of two distributions, 0 or more up to rounding."""
    x, y = _precise(x), _precise(y)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(a[:, None] - b).square().sum(2) / a.shape[1] ** 2).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def total_correlation(
    z: Float[Tensor, "b l"], mean: Float[Tensor, "b l"], sigma: Float[Tensor, "b l"]
) -> Float[Tensor, " b"]:
    """Each image's share of TC: log q(z_j) - sum_d log q(z_jd) for codes z_j ~ N(mean_j, sigma_j^2).

    Raises:
        ValueError: one code, which has nothing to be compared with.
    """
    joint, marginals = log_densities(z, mean, sigma, images=len(z))
    return joint - marginals - (z.shape[1] - 1) * math.log(len(z))


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
