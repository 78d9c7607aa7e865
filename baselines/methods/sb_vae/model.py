"""SB-VAE on images: an encoder that drifts to noise, and a decoder that drifts back.

    u(t, X) = - g^2 X / 2 + g U(X, t)                      the encoder's drift, `baselines.methods.sb_vae.bridge`
    s(t, X) = - g^2 X / 2 + g^2 S(X, t) / sqrt(v_t)        the decoder's,  v_t = 1 - exp(- g^2 t)
    t_k     = (k / N)^2                                    times of the chain, closer near the image

U and S are U-Nets of the shared trunk that start at 0. U = 0 is an Ornstein-Uhlenbeck process, and with it the model a
score model, S predicting noise; over its duration of 1 it keeps exp(- g^2 / 2) of the image in X_T, which is then not
N(0, I). That is what U is for.

X_T is the latent, of as many numbers as the image. Benchmarks see it without noise, by the flow of the same marginals
(`bridge.flow`), which "ddim" takes back; "ddpm" is the decoder. z is X_T or, where `latent_dim` is less, its
coordinates P^T X_T along that many principal directions over the training images: orthonormal, so that N(0, I) is the
prior of z too. Decoding z alone draws what is left of X_T from N(0, I).

The directions are followed in training, W <- (1 - r) W + r cov(X_T) P with P the orthonormal basis of W: power
iteration on what batches show. Where X_T is N(0, I) exactly, none of them is before the others.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.methods.sb_vae import bridge
from baselines.options import require
from dbae.interface import require_endpoint, require_images, require_latents
from dbae.networks.trunk import Layers, Trunk, UNetConfig
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig
from dbae.support.errors import UserError

RATE = 0.02
"""r of the module docstring."""


@dataclasses.dataclass(frozen=True)
class SBVAEConfig:
    """Everything that fixes the functions computed by an SB-VAE and its loss, but the weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z: all of X_T, or principal components.
        unet: shape of U and of S.
        g: strength of the noise.
        steps: N, in training and of an encoding.
        drift_every: of so many batches, one trains U, along the whole path; the others train S alone, at one step.
        drift_images: training images, of one process, after which U stays as it is; 0 is a score model.

    Raises:
        UserError: a value out of range.
    """

    image_size: int
    latent_dim: int
    unet: UNetConfig
    g: float = 1.0
    steps: int = 20
    drift_every: int = 10
    drift_images: int = 200_000

    def __post_init__(self) -> None:
        require(self, "a positive number", lambda value: value > 0, "g", "steps", "drift_every")
        require(self, "0 or more", lambda value: value >= 0, "drift_images")
        require(self, f"1 to {self.size}", lambda value: 1 <= value <= self.size, "latent_dim")

    @property
    def size(self) -> int:
        """Numbers of an image."""
        return 3 * self.image_size**2

    @property
    def grid(self) -> list[float]:
        """Times of the chain."""
        return bridge.times(self.steps, power=2)


class DriftUNet(Trunk):
    """U or S of the module docstring."""

    def __init__(self, config: UNetConfig, *, image_size: int) -> None:
        super().__init__(Layers(config, image_size, nn.Conv1d))

    def forward(self, x: Float[Tensor, "b 3 s s"], t: Float[Tensor, " b"]) -> Float[Tensor, "b 3 s s"]:
        e = self.embed(1000 * t)
        return self.up(self.down(x, e), e)


class SBVAE(nn.Module):
    """An SB-VAE as a `RepresentationModel`. Its state dict is `forward_drift.*`, `backward_drift.*`, `directions`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    images_seen: Tensor
    batches: Tensor
    directions: Tensor | None
    samplers = ("ddim", "ddpm")
    endpoints = ("decoded", "inferred")

    def __init__(self, config: SBVAEConfig, *, name: str = "sb_vae") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.image_size, self.latent_dim, self.encode_nfe = config.image_size, config.latent_dim, 2 * config.steps
        self.forward_drift = DriftUNet(config.unet, image_size=config.image_size)
        self.backward_drift = DriftUNet(config.unet, image_size=config.image_size)
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        whole = config.latent_dim == config.size
        self.register_buffer("directions", None if whole else torch.randn(config.size, config.latent_dim))

    @property
    def device(self) -> torch.device:
        return self.images_seen.device

    def u(self, t: Float[Tensor, " b"], x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """The encoder's drift."""
        g = self.config.g
        return g * self.forward_drift(x, t).float() - 0.5 * g * g * x

    def s(self, t: Float[Tensor, " b"], x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """The decoder's, at t > 0."""
        g2 = self.config.g**2
        scale = g2 / (-torch.expm1(-g2 * t)).sqrt()
        return scale[:, None, None, None] * self.backward_drift(x, t).float() - 0.5 * g2 * x

    def basis(self) -> Float[Tensor, "n l"]:
        """P of the module docstring, float32; a direction keeps its sign as they turn."""
        assert self.directions is not None
        Q, R = torch.linalg.qr(self.directions.float())
        return Q * R.diagonal().sign()

    @torch.no_grad()
    def follow(self, x_T: Float[Tensor, "b 3 s s"]) -> None:
        """Turn the directions to what a batch shows."""
        if self.directions is not None:
            P, centred = self.basis(), (x_T - x_T.mean(0)).flatten(1).float()
            self.directions.lerp_(centred.T @ (centred @ P) / len(centred), RATE)

    def infer_endpoint(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"] | None, *, steps: int
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """X_T of images in [-1, 1], by the flow; and the evaluations, two a step, `steps` at most.

        Raises:
            UserError: fewer than two.
        """
        n = _steps(steps, 2)
        return bridge.flow(self.u, self.s, x, bridge.times(n, power=2)), 2 * n

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z of images in [-1, 1]."""
        x_T = self.infer_endpoint(x, None, steps=self.encode_nfe)[0].flatten(1)
        return (x_T if self.directions is None else x_T.float() @ self.basis()), None

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z, without gradient; `noise` is not used.

        Raises:
            ValueError: images of another size or dtype than the model's.
        """
        require_images(x, self.image_size, self)
        return self.posterior(x)[0]

    def completed(self, z: Float[Tensor, "b l"], noise: Noise | None) -> Float[Tensor, "b 3 s s"]:
        """X_T that has the coordinates z, and is otherwise drawn."""
        shape = (len(z), 3, self.image_size, self.image_size)
        if self.directions is None:
            return z.reshape(shape)
        if noise is None:
            raise ValueError("z is a part of x_T, whose rest is drawn: pass `x_T` or `noise`")
        P, rest = self.basis(), noise.normal(shape).to(z).flatten(1)
        return (rest + (z - rest @ P) @ P.T).reshape(shape)

    def require_budget(self, sampler: SamplerConfig) -> None:
        """See `dbae.interface.LimitsBudgets`."""
        _steps(sampler.nfe, _each(sampler))

    @torch.no_grad()
    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
    ) -> Sampled:
        """Images in [-1, 1] and the counted evaluations: two a step, of u and s; one where eta is 1, as in ddpm.

        There is no prediction of x_0 on the way that could be clamped.

        Args:
            x_T: where it starts, whatever z; None asks `completed`.
            sampler: ddim is the flow, with eta noise is added; ddpm is the decoder. Default: ddim, 100 evaluations.
            noise: draws x_T first if it is to be drawn, then one draw a step.

        Raises:
            UserError: fewer evaluations than a step takes.
            ValueError: a sampler or an option that this model lacks, noise is missing, or a z or x_T not its own.
        """
        require_latents(z, self.latent_dim, self)
        if x_T is not None:
            require_endpoint(x_T, self.image_size, self, of=z)
        config = sampler or SamplerConfig("ddim")
        if config.method not in self.samplers or config.stop or config.variance != "native":
            raise ValueError(f"{self.name} has ddim and ddpm, without stop and variance")
        x = self.completed(z, noise) if x_T is None else x_T
        eta, each = _eta(config), _each(config)
        n = _steps(config.nfe, each)
        for state in bridge.walk_back(self.u, self.s, x, bridge.times(n, power=2), self.config.g, noise, eta):
            x = state
        return Sampled(x.clamp(-1, 1), each * n, x).checked()


def _eta(config: SamplerConfig) -> float:
    """Noise of the way back: ddpm is that with all of it."""
    return 1.0 if config.method == "ddpm" else config.eta


def _each(config: SamplerConfig) -> int:
    """Evaluations of a step: of s, and of u where there is less noise."""
    return 1 if _eta(config) == 1 else 2


def _steps(evaluations: int, each: int) -> int:
    """Steps that fit a budget."""
    if evaluations < each:
        raise UserError(f"{evaluations} evaluations: a step of SB-VAE takes {each}; ask for {each} or more.")
    return evaluations // each
