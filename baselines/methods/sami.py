"""SAMI and ScoreVAE: an autoencoder whose decoder is a plain diffusion model, guided by the encoder.

    q(z | x)  = N(mu(x), sigma(x)^2),   (mu, s) = Enc(x),   sigma = log(1 + e^s)
    eps_hat   = eps_theta(x_t, t) - sqrt(1 - ab_t) g_t,     g_t = grad_{x_t} log q(z | x_t)
    loss      = mean_pixels (eps - eps_hat)^2 + kl KL(q(z | x_0) || N(0, I)),    z ~ q(z | x_0)

By Bayes' rule for scores, grad log p(x_t | z) = grad log p(x_t) + grad log p(z | x_t), the encoder standing in for the
last: z is no input of the network, and its gradient is one through a gradient. SAMI's encoder is told no time;
ScoreVAE's (`time_conditioned`) is told t, and 0 for the z of an image. With `frozen` the network is a trained diffusion
model that stays as it is; otherwise both learn together. Without guidance and kl it is DDPM, bit for bit.

kl rises to its value as a geometric series from `kl_start`, over `anneal_images` images. `free_bits` nats of each
dimension's KL, a mean over the batch, cost nothing. Either helps where z collapses, which the log says.

What guides is computed in float32, whatever the precision, and with attention written out, which has a second
derivative. A step of decoding costs a pass of the encoder, forward and back, beside the evaluation that is counted.

Sources: Lyo, Simoncelli and Savin (arXiv 2512.17127), of which no program is public; GBATZOLIS/ScoreVAE (2304.12141).
DEVIATION: encoder and network are the shared trunk; the loss is a mean over pixels, and every time has the same weight,
as the algorithm printed in the paper, not its ELBO.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.diffusion import DiffusionModel, Predict, Schedule, T, TimeEncoder, alpha_bar, draw, noise_loss
from baselines.method import Built, Load, Method
from baselines.methods.ddim import NoiseUNet, NormalPrior, plain_model
from baselines.methods.diffae import DiffAEConfig, small_presets
from baselines.options import ConfigOptions, differences, require
from baselines.regularisers import RegularisedLoss, gaussian_kl
from dbae.networks.encoder import Encoder

COLLAPSED = 0.1
"""Nats of KL, all dimensions together, below which z tells nothing of an image."""
CHECK_EVERY = 100
"""Batches between two looks at it."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SAMIConfig(DiffAEConfig):
    """Shapes as a DiffAE's, and:

    Attributes:
        time_conditioned: ScoreVAE.
        frozen: the network is a trained one, and stays it.
        schedule: of beta.
        guidance: factor of g_t.
        kl: weight of KL, beside a mean over pixels.
        kl_start: its value at first.
        anneal_images: training images, of one process, until `kl`.
        free_bits: nats a dimension that cost nothing.
        times: of training; "late" are 1000 u^(1/4), u uniform: much noise, where guidance has leverage.

    Raises:
        UserError: a value out of range.
    """

    time_conditioned: bool = False
    frozen: bool = False
    schedule: Schedule = "linear"
    guidance: float = 1.0
    kl: float = 1e-4
    kl_start: float = 5e-6
    anneal_images: int = 100_000
    free_bits: float = 0.0
    times: Literal["uniform", "late"] = "uniform"

    def __post_init__(self) -> None:
        require(self, "0 or more", lambda value: value >= 0, "guidance", "kl", "free_bits")
        require(self, "a positive number", lambda value: value > 0, "kl_start", "anneal_images")


class SAMI(DiffusionModel):
    """A SAMI or ScoreVAE as a `RepresentationModel`. Its state dict is `network.*`, `encoder.*`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    config: SAMIConfig
    images_seen: Tensor
    endpoints = ("random", "inferred")

    def __init__(self, config: SAMIConfig, *, name: str = "sami") -> None:
        super().__init__(config, name=name)
        self.schedule, self.latent_dim = config.schedule, config.latent_dim
        self.network = NoiseUNet(config.unet, image_size=config.image_size).requires_grad_(not config.frozen)
        kind = TimeEncoder if config.time_conditioned else Encoder
        self.encoder = kind(config.encoder, image_size=config.image_size, outputs=2 * config.latent_dim)
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))
        self.batches = 0

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
        """Mean and standard deviation of q(z | x) of images in [-1, 1]."""
        return self.posterior_at(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def posterior_at(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
        """The same of states x_t; t is for ScoreVAE."""
        out = self.encoder(x, t) if self.config.time_conditioned else self.encoder(x)
        mean, raw = out.chunk(2, dim=1)
        return mean, F.softplus(raw.float()) + 1e-6  # a float32 that rounds to 0 has no logarithm

    def guide(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"], *, create_graph: bool = False
    ) -> Float[Tensor, "b 3 s s"]:
        """g_t of the module docstring, float32; with `create_graph` it has a gradient in z and in the encoder."""
        with _differentiable(x.device):
            x = x.detach().float().clone().requires_grad_()
            z = z.float() if create_graph else z.detach().float().clone()
            mean, sigma = self.posterior_at(x.view_as(x), t.clone())  # torch's counter of operations takes no leaf
            log_q = -0.5 * ((z - mean) / sigma).square() - sigma.log()
            return torch.autograd.grad(log_q.sum(), x, create_graph=create_graph)[0]

    def guided(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"], *, create_graph: bool = False
    ) -> Float[Tensor, "b 3 s s"]:
        """eps_hat of the module docstring."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            eps = self.network(x, t)
        if not self.config.guidance:
            return eps
        scale = torch.tensor(1 - alpha_bar(self.schedule), dtype=torch.float32, device=x.device).sqrt()[t]
        g = self.guide(x, t, z, create_graph=create_graph)
        return eps - self.config.guidance * scale[:, None, None, None] * g

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """Guided noise; that of the network alone without z."""

        def predict(x: Tensor, t: int) -> Tensor:
            times = torch.full((len(x),), t, device=x.device)
            return self.network(x, times) if z is None else self.guided(x, times, z)

        return predict

    def train(self, mode: bool = True) -> SAMI:
        """A frozen network stays in evaluation mode."""
        super().train(mode)
        if self.config.frozen:
            self.network.eval()
        return self


@contextmanager
def _differentiable(device: torch.device) -> Iterator[None]:
    """Gradients and their gradients, in float32, wherever it is called from."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield


# --- training ---------------------------------------------------------------------------------------------------------


def loss(model: SAMI, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, eps, eps of z, then dropout). free_bits counts a batch's KL for each image."""
    t, noise = draw(x0, generator)
    if model.config.times == "late":
        t = (T * ((t + 0.5) / T) ** 0.25).long()
    with torch.autocast(x0.device.type, enabled=False):
        mean, sigma = model.posterior(x0)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        z = mean + sigma * noise.normal(mean.shape)
        return model.guided(x, t, z, create_graph=True)

    found = noise_loss(predict, model.schedule, x0, t, noise=noise)
    weight = _kl_weight(model) if model.config.kl else 0.0
    kl = _kl(model, mean, sigma)
    if model.training:
        model.images_seen += len(x0)
    return RegularisedLoss(found.loss + weight * kl if model.config.kl else found.loss, found.mse)


def _kl_weight(model: SAMI) -> Tensor:
    """kl of the module docstring by now, on the model's device."""
    c = model.config
    progress = (model.images_seen / c.anneal_images).clamp(max=1)
    return c.kl_start * torch.exp(progress * math.log(c.kl / c.kl_start))


def _kl(model: SAMI, mean: Tensor, sigma: Tensor) -> Tensor:
    """What is paid of KL, of each image."""
    each = gaussian_kl(mean, sigma)
    _watch(model, each)
    if not model.config.free_bits:
        return each.sum(1)
    return each.mean(0).clamp(min=model.config.free_bits).sum()


def _watch(model: SAMI, kl: Tensor) -> None:
    """Now and then, says if z has collapsed."""
    if not model.training:
        return
    model.batches += 1
    if model.batches % CHECK_EVERY:
        return
    nats = float(kl.detach().sum(1).mean())
    if nats < COLLAPSED:
        log.warning(
            "z has collapsed: after %d batches an image's KL is %.3g nats, so that z tells nothing of it. A smaller "
            "--kl, a longer --anneal-images or --free-bits 0.1 may help.",
            model.batches,
            nats,
        )


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SAMIOptions(ConfigOptions):
    """What SAMI can be told. None keeps the preset's value.

    Attributes:
        time_conditioned: ScoreVAE: the encoder is told the time.
        guidance: factor of the encoder's gradient.
        kl: weight of KL at last, beside a mean over pixels.
        kl_start: its weight at first.
        anneal_images: training images in between.
        free_bits: nats of KL a dimension that cost nothing.
        times: of training: uniform, or late for much noise.
        pretrained: checkpoint of a ddim, which is guided and stays as it is; None trains both.
    """

    time_conditioned: bool = False
    guidance: float | None = None
    kl: float | None = None
    kl_start: float | None = None
    anneal_images: int | None = None
    free_bits: float | None = None
    times: Literal["uniform", "late"] | None = None
    pretrained: str | None = None

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """With `pretrained`, its network frozen, of which the model takes architecture and schedule."""
        if self.pretrained is None:
            return super().built(method, config, seed, name, load)
        plain, about = plain_model(self.pretrained, load, config.image_size)
        config = dataclasses.replace(config, unet=plain.config.unet, schedule=plain.schedule, frozen=True)
        model = method.fresh(config, seed, name)
        model.get_submodule("network").load_state_dict(plain.network.state_dict())
        return Built(model, about)


def _sized_as(config: DiffAEConfig) -> SAMIConfig:
    return SAMIConfig(config.image_size, config.latent_dim, config.unet, config.encoder)


METHOD = Method(
    key="sami",
    label="SAMI",
    config=SAMIConfig,
    model=SAMI,
    loss=loss,
    presets=small_presets(_sized_as),
    options=SAMIOptions,
    variant=lambda config: differences(config, _sized_as(config)),
    prior=lambda model: NormalPrior(model.latent_dim),
)
