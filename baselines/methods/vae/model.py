"""Variational autoencoders on the shared trunk: AE, VAE, beta-VAE, beta-TCVAE and InfoVAE.

    mu, log sigma^2 = Enc(x),   z = mu + sigma eps                       (the AE: z = Enc(x), no sigma and no noise)
    xhat = UNet(c; t = 0, z)                                             c: a learned image; DiffAE's U-Net, called once

    loss = rec + s ( beta |KL(q(z | x) || N(0, I)) - C| + (tc - 1) TC(q(z)) + mmd MMD(q(z), N(0, I)) )

    likelihood    rec, a mean over the D numbers of an image                     s
    "gaussian"    (xhat - x)^2 / (2 v) + log(2 pi v) / 2,  v = `variance`        1 / D    so that s is the ELBO's: all
    "learned"     the same, and v is learned, from `variance` on                 1 / D    is divided by D
    "bernoulli"   cross-entropy of (x + 1) / 2 and sigmoid(xhat)                 1 / D
    "mean"        (xhat - x)^2                                                   1        as InfoDiffusion's program

C rises from 0 to `capacity` over `capacity_images` images; without it the bars do nothing, KL being positive. "mean" is
how rows of DBAE's Table 3 were computed: a mean over pixels beside a sum over z, which is an ELBO with beta = D / 2 and
unit variance. The plain VAE then says nothing with z: its zeros in that table are that collapse.

Sources: `isjakewong/InfoDiffusion` (models.py), `rtqichen/beta-tcvae`, Burgess et al. 2018 (C), Zhao et al. 2019 (MMD).
DEVIATION: encoder and decoder are the shared trunk. InfoVAE's z is its mean; beta-TCVAE's KL is in closed form.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from baselines.methods.diffae import SemanticUNet
from baselines.one_step import OneStepModel
from baselines.options import require
from baselines.regularisers import RegularisedLoss, gaussian_kl, mmd, total_correlation
from dbae.networks.encoder import Encoder, EncoderConfig
from dbae.networks.trunk import UNetConfig
from dbae.noise import GeneratorNoise, Noise
from dbae.support.errors import UserError

Likelihood = Literal["gaussian", "learned", "bernoulli", "mean"]
Weights = Literal["calibrated", "published"]
Family = Literal["ae", "vae", "beta_vae", "beta_tcvae", "info_vae"]


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Everything that fixes the functions computed by such a model and its loss, but the weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z.
        unet: shape of the decoder.
        encoder: shape of the encoder.
        stochastic: z is drawn; False is the AE.
        likelihood: see the module docstring.
        variance: v, to begin with.
        beta: weight of KL.
        capacity: C at its end, nats.
        capacity_images: training images over which C rises, of one process.
        tc: weight of total correlation; 1 is the ELBO's, which KL holds already.
        mmd: weight of MMD.
        family, weights: the method and where the values above come from.

    Raises:
        UserError: a value out of range, or a term about q(z | x) of a model that has none.
    """

    image_size: int
    latent_dim: int
    unet: UNetConfig
    encoder: EncoderConfig
    stochastic: bool = True
    likelihood: Likelihood = "gaussian"
    variance: float = 0.05
    beta: float = 1.0
    capacity: float = 0.0
    capacity_images: int = 1
    tc: float = 1.0
    mmd: float = 0.0
    family: Family = "vae"
    weights: Weights = "calibrated"

    def __post_init__(self) -> None:
        require(self, "0 or more", lambda value: 0 <= value < math.inf, "beta", "capacity", "tc", "mmd")
        require(self, "a positive number", lambda value: 0 < value < math.inf, "variance", "capacity_images")
        found = (self.beta, self.capacity, self.tc, self.mmd)
        if not self.stochastic and found != (0, 0, 1, 0):
            raise UserError(
                f"an ae has no posterior: expected beta, capacity, tc and mmd of 0, 0, 1, 0, found {found}; take a vae."
            )


class VAE(OneStepModel):
    """A model of the family as a `RepresentationModel`. Its state dict is `network.*`, `encoder.*`, `image`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    def __init__(self, config: VAEConfig, *, name: str = "vae") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.image_size, self.latent_dim = size, latent = config.image_size, config.latent_dim
        self.network = SemanticUNet(config.unet, image_size=size, latent_dim=latent)
        self.encoder = Encoder(config.encoder, image_size=size, outputs=latent * (2 if config.stochastic else 1))
        self.image = nn.Parameter(torch.randn(3, size, size))
        if config.likelihood == "learned":
            self.log_variance = nn.Parameter(torch.tensor(math.log(config.variance)))

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """Mean and standard deviation of q(z | x); None for the AE, whose z is a function of x. x in [-1, 1]."""
        out = self.encoder(x)
        if not self.config.stochastic:
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, (0.5 * log_variance.float()).exp()

    def expected(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """xhat of the module docstring: what the network puts out, neither clamped nor, for Bernoulli, a mean yet."""
        image = self.image if torch.is_grad_enabled() else self.image.detach()  # for torch's counter of operations
        return self.network(image.expand(len(z), -1, -1, -1), z.new_zeros(len(z), dtype=torch.int64), z)

    def images(self, z: Float[Tensor, "b l"]) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]:
        """The mean of p(x | z) in [-1, 1], and the same before it is clamped."""
        out = self.expected(z).float()
        out = 2 * out.sigmoid() - 1 if self.config.likelihood == "bernoulli" else out
        return out.clamp(-1, 1), out


def loss(model: VAE, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: eps of z, the samples of N(0, I) for MMD, then dropout).

    Of a fresh model, the gradient that reaches the encoder is exactly zero in the first two steps, as DiffAE's.
    """
    noise = GeneratorNoise(generator)
    mean, sigma = model.posterior(x0)
    z = mean if sigma is None else mean + sigma * noise.normal(mean.shape)
    found = _reconstruction(model, x0, model.expected(z).float())
    if sigma is not None:
        found = RegularisedLoss(found.loss + _scale(model) * _terms(model, z, mean, sigma, noise), found.mse)
    if model.training:
        model.images_seen += len(x0)
    return found


def _scale(model: VAE) -> float:
    """s of the module docstring."""
    return 1.0 if model.config.likelihood == "mean" else 1 / (3 * model.image_size**2)


def _reconstruction(model: VAE, x0: Tensor, out: Tensor) -> RegularisedLoss:
    """`rec` of each image."""
    kind = model.config.likelihood
    if kind == "bernoulli":
        rec = F.binary_cross_entropy_with_logits(out, (x0 + 1) / 2, reduction="none").flatten(1).mean(1)
        return RegularisedLoss(rec, (2 * out.detach().sigmoid() - 1 - x0).square().flatten(1).mean(1))
    mse = (out - x0).square().flatten(1).mean(1)
    if kind == "mean":
        return RegularisedLoss(mse, mse.detach())
    log_v = model.log_variance if kind == "learned" else mse.new_tensor(math.log(model.config.variance))
    return RegularisedLoss(0.5 * (mse * torch.exp(-log_v) + log_v + math.log(2 * math.pi)), mse.detach())


def _terms(model: VAE, z: Tensor, mean: Tensor, sigma: Tensor, noise: Noise) -> Tensor:
    """What the loss adds about z, of each image; a statistic of the whole batch counts for each of its images."""
    c = model.config
    terms = z.new_zeros(len(z), dtype=torch.float32)
    if c.beta:
        kl = gaussian_kl(mean, sigma).sum(1)
        ramp = (model.images_seen / c.capacity_images).clamp(max=1)
        # As in its source, the KL that is compared with C is the batch's.
        terms = terms + c.beta * ((kl.mean() - c.capacity * ramp).abs() if c.capacity else kl)
    if c.tc != 1:
        terms = terms + (c.tc - 1) * total_correlation(z, mean, sigma)
    if c.mmd:
        terms = terms + c.mmd * mmd(noise.normal(z.shape), z)
    return terms
