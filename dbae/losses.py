"""Training objectives.

Bridge score matching (paper eq. 15, as released: a weighted error on x0 and nothing else):

    L = E_t E_eps  mean_pixels  w(t) ( D(x_t, t, x_T, z) - x0 )^2,      x_t = a_t x_T + b_t x0 + c_t eps

with z = Enc(x0), x_T = Dec(z), w = 1 / c_out^2. Gradients reach the encoder through z and through x_T, which
enters the loss both inside x_t and as an input of the network.

Total correlation of a stochastic encoder (paper 4.3; beta-TCVAE, rtqichen/beta-tcvae, vae_quant.py): added as

    weight * TC(z),   TC = E_q(z) [ log q(z) - sum_d log q(z_d) ],   q(z) = mean over the N training images of q(z | x)

estimated from a batch of b codes z_j ~ N(mu_j, sigma_j^2) with p_jid = N(z_jd; mu_id, sigma_id^2) and weights W_ji:

    log q(z_j) = log sum_i W_ji prod_d p_jid,    log q(z_jd) = log sum_i W_ji p_jid
    weighted             W = 1 / (b N): a constant factor, which shifts TC by (l - 1) log(b N) and no gradient
    stratified           W_jj = 1 / N, the next column (N - M) / (N M), all others 1 / M, with M = b - 1: rows sum to 1
    stratified_released  those weights in columns 0 and 1 of every row, and (N - M) / (N M) at [M - 1, 0]
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dbae.model import DBAE
from dbae.noise import GeneratorNoise, Noise

TCEstimator = Literal["weighted", "stratified", "stratified_released"]


@dataclasses.dataclass(frozen=True)
class BridgeLoss:
    """Per-image results: `loss` is weighted and has a gradient; `mse` is the unweighted error, for the log."""

    loss: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]


@dataclasses.dataclass(frozen=True)
class TotalCorrelation:
    """The regulariser of the module docstring.

    Attributes:
        weight: factor of TC in the loss of an image; the paper does not print its values.
        images: N, number of training images.
        estimator: see the module docstring; stratified_released is the public code's, whose rows do not sum to 1.
    """

    weight: float
    images: int
    estimator: TCEstimator = "weighted"

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf or self.images < 2:
            raise ValueError(f"expected a positive weight and 2 images or more, found {self.weight} and {self.images}")


def bridge_loss(
    model: DBAE,
    x0: Float[Tensor, "b 3 s s"],
    t: Float[Tensor, " b"],
    *,
    noise: Noise,
    tc: TotalCorrelation | None = None,
) -> BridgeLoss:
    """The objective of the module docstring at given times.

    Args:
        x0: images in [-1, 1].
        t: times in [t_min, T].
        noise: draws the encoder's eps (b, l) if the model is stochastic, then what `DBAE.draw_endpoint` asks for,
            then the bridge's (b, 3, s, s).
        tc: regulariser, estimated from these b images.

    Raises:
        ValueError: `tc` for a deterministic encoder, which has no density.
    """
    bridge = model.config.bridge
    mean, sigma = model.posterior(x0)
    z = mean if sigma is None else mean + sigma * noise.normal(mean.shape)
    x_T = model.draw_endpoint(z, noise)
    x_t = bridge.sample(x0, x_T, t, noise.normal(x0.shape))
    error = (model.denoise(x_t, t, x_T, z) - x0).square().flatten(1)
    loss = (bridge.weight(t)[:, None] * error).mean(1)
    if tc is not None:
        if sigma is None:
            raise ValueError("total correlation needs a stochastic encoder")
        joint, marginals = log_densities(z, mean, sigma, images=tc.images, estimator=tc.estimator)
        loss = loss + tc.weight * (joint - marginals)
    return BridgeLoss(loss=loss, mse=error.detach().mean(1))


def objective(model: DBAE, x0: Tensor, generator: torch.Generator, *, tc: TotalCorrelation | None = None) -> BridgeLoss:
    """Bridge score matching at times drawn uniformly (order of draws: t, encoder, endpoint, bridge, then dropout)."""
    t = model.config.bridge.sample_times(len(x0), generator)
    return bridge_loss(model, x0, t, noise=GeneratorNoise(generator), tc=tc)


def log_densities(
    z: Float[Tensor, "b l"],
    mean: Float[Tensor, "b l"],
    sigma: Float[Tensor, "b l"],
    *,
    images: int,
    estimator: TCEstimator = "weighted",
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Estimates of log q(z_j) and sum_d log q(z_jd) for codes z_j ~ N(mean_j, sigma_j^2); their difference is TC.

    float32 or float64, whatever precision the networks run in: under bf16 the differences would be rounding.

    Args:
        images: N.

    Raises:
        ValueError: one code, or more codes than images: there is nothing to compare with.
    """
    z, mean, sigma = (v if v.dtype == torch.float64 else v.float() for v in (z, mean, sigma))
    log_w = _importance_weights(len(z), images, estimator).log().to(z)
    error = (z[:, None] - mean) / sigma
    log_p = -0.5 * error.square() - sigma.log() - 0.5 * math.log(2 * math.pi)  # (j, i, d)
    joint = torch.logsumexp(log_w + log_p.sum(2), dim=1)
    return joint, torch.logsumexp(log_w[:, :, None] + log_p, dim=1).sum(1)


def _importance_weights(b: int, n: int, estimator: TCEstimator) -> Float64[Tensor, "b b"]:
    """W of the module docstring."""
    if not 2 <= b <= n:
        raise ValueError(f"expected 2 codes or more, and no more than the {n} images, found {b}")
    if estimator == "weighted":
        return torch.full((b, b), 1 / (b * n), dtype=torch.float64)
    m = b - 1
    own, stratum = 1 / n, (n - m) / (n * m)
    weights = torch.full((b, b), 1 / m, dtype=torch.float64)
    if estimator == "stratified":
        row = torch.arange(b)
        weights[row, row], weights[row, (row + 1) % b] = own, stratum
    else:
        weights[:, 0], weights[:, 1], weights[m - 1, 0] = own, stratum, stratum
    return weights
