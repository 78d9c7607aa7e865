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

import copy
import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.diffusion import DiffusionModel, Predict, Schedule, T, TimeEncoder, alpha_bar
from baselines.methods.ddim import NoiseUNet
from baselines.methods.diffae import DiffAEConfig
from baselines.options import require
from dbae.images import to_uint8
from dbae.networks.encoder import Encoder
from dbae.noise import Noise, PerImageNoise


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
        self.read_at: tuple[int, ...] = ()

    @property
    def encoder_times(self) -> int:
        """1000 for ScoreVAE; 0 for SAMI, whose encoder is told none."""
        return T if self.config.time_conditioned else 0

    def at(self, *times: int) -> SAMI:
        """The same weights, with the mu(x_t) of these times side by side as the z of an image: what the encoder still
        sees of it there. The noise of x_t is a function of the image's 8-bit pixels.
        """
        other = copy.copy(self)
        other.read_at, other.latent_dim = times, self.config.latent_dim * len(times)
        return other

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
        """Mean and standard deviation of q(z | x) of images in [-1, 1]."""
        if not self.read_at:
            return self.posterior_at(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
        eps = _noise_of(x)
        found = [self.posterior_at(self._noised(x, t, eps), _same(t, x)) for t in self.read_at]
        return torch.cat([mean for mean, _ in found], 1), torch.cat([sigma for _, sigma in found], 1)

    def _noised(self, x: Tensor, t: int, eps: Tensor) -> Tensor:
        """x_t of an image."""
        ab = float(alpha_bar(self.schedule)[t])
        return ab**0.5 * x + (1 - ab) ** 0.5 * eps

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
            return torch.autograd.grad(self._log_q(x, t, z).sum(), x, create_graph=create_graph)[0]

    def _log_q(self, x: Tensor, t: Tensor, z: Tensor) -> Float[Tensor, "b l"]:
        """log q(z_d | x_t), but for a constant."""
        mean, sigma = self.posterior_at(x.view_as(x), t.clone())  # torch's counter of operations takes no leaf
        return -0.5 * ((z - mean) / sigma).square() - sigma.log()

    def guidance(self, x0: Float[Tensor, "b 3 s s"], t: int, noise: Noise) -> Float[Tensor, "b l"]:
        """How strongly each number of z guides at time t: mean over pixels of (1 - ab_t) (d/dx_t log q(z_d | x_t))^2,
        on the scale of the noise that the network predicts; z ~ q(z | x0), then x_t, are drawn from `noise`.

        Args:
            x0: images in [-1, 1].
        """
        z = self.encode(x0, noise=noise)
        with _differentiable(x0.device):
            x = self._noised(x0, t, noise.normal(x0.shape)).detach().float().clone().requires_grad_()
            each = self._log_q(x, _same(t, x0), z.detach().float().clone()).unbind(1)
            gradients = [torch.autograd.grad(log_q.sum(), x, retain_graph=True)[0] for log_q in each]
        scale = self.config.guidance**2 * (1 - float(alpha_bar(self.schedule)[t]))
        return scale * torch.stack([g.square().mean((1, 2, 3)) for g in gradients], 1)

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
            times = _same(t, x)
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


def _same(t: int, x: Tensor) -> Tensor:
    """t for every image."""
    return torch.full((len(x),), t, device=x.device)


def _noise_of(x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    """N(0, I) of each image, the same wherever it stands."""
    digests = [hashlib.sha256(image.numpy().tobytes()).digest()[:7] for image in to_uint8(x).cpu()]
    numbers = [int.from_bytes(digest, "big") for digest in digests]
    return PerImageNoise(0, numbers, stream="state of an image", device=x.device).normal(x.shape)
