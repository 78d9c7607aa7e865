r"""How much do many reconstructions of one image differ, and from what?

For draws x_1 .. x_m of an image x0, pixels in [0, 1], mu and s^2 their mean and unbiased variance pixel by pixel:

    std            mean over pixels and channels of s
    MSE_pairwise   mean over pairs i != j of mean (x_i - x_j)^2  =  2 mean s^2
    MSE            mean over draws of mean (x_i - x0)^2          =  MSE_of_mean + (m - 1) / m mean s^2
    MSE_of_mean    mean (mu - x0)^2

A model whose z and x_T hold the whole image has std 0; one that draws details by chance has an MSE_of_mean well below
its MSE. Source: arXiv 2405.17111, Figures 3 and 10 (the maps).
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Spread:
    """Statistics of the draws of one image, pixels in [0, 1].

    Attributes:
        mean, std: pixel by pixel; `std` is that of the population the draws come from (unbiased variance).
        values: metric -> number, see the module.
    """

    mean: Float[Tensor, "3 h w"]
    std: Float[Tensor, "3 h w"]
    values: dict[str, float]


def spread(draws: Float[Tensor, "m 3 h w"], x0: Float[Tensor, "3 h w"]) -> Spread:
    """Compare draws with each other and with the image, all in [-1, 1]; computed in float64.

    Raises:
        ValueError: fewer than two draws.
    """
    if len(draws) < 2:
        raise ValueError(f"needs two draws or more, got {len(draws)}")
    x, real = (images.double().add(1).div(2) for images in (draws, x0))
    variance, mean = torch.var_mean(x, dim=0, correction=1)
    values = {
        "std": variance.sqrt().mean(),
        "MSE_pairwise": 2 * variance.mean(),
        "MSE": (x - real).square().mean(),
        "MSE_of_mean": (mean - real).square().mean(),
    }
    return Spread(mean.float(), variance.sqrt().float(), {name: float(value) for name, value in values.items()})
