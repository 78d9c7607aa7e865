"""DRL and VDRL: a code that is a curve over noise levels (Mittal, Abstreiter et al., ICML 2023, arXiv 2105.14257).

    DRL    z(t) = Enc(x0, t)                                        deterministic
    VDRL   z(t) = mu(t) + sigma(t) eps,    (mu, log sigma^2)(t) = Enc(x0, t)
    loss = mean_pixels (eps - eps_theta(x_t, t, z(t)))^2 + 2 w R / D,    R = sum_d |z_d|, or VDRL's KL(q(z) || N(0, I))

over D numbers of an image; w = 1e-5 as published, where the loss is half a sum over pixels. A code that may be another
at every noise level holds what helps there: coarse facts where there is much noise, fine ones where there is little.
Which of them count is the density of training times (`emphasis`, `baselines.diffusion.emphasis`).

What probes see is z at some times, put side by side. Decoding needs the curve at every visited time: `encode_curve`
evaluates the encoder there; from the codes at `times` alone it is interpolated, linearly in t, and level beyond them.
With `timed` off the encoder is told no time and the model is DiffAE, bit for bit.

Source: korabs-x/representation_score_based, sarthmit/traj_drl. DEVIATION: encoder (a Wide-ResNet there) and network are
the shared trunk; z scales every block instead of joining the time embedding; times are discrete.
"""

from __future__ import annotations

import bisect
import copy
import dataclasses
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.diffusion import (
    DiffusionModel,
    Predict,
    Schedule,
    T,
    TimeEncoder,
    even_times,
    invert,
    noise_loss,
    sample,
    stride_times,
)
from baselines.diffusion.emphasis import Emphasis, draw
from baselines.methods.diffae import DiffAEConfig, SemanticUNet
from baselines.options import require
from baselines.regularisers import RegularisedLoss, gaussian_kl
from dbae.networks.encoder import Encoder
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig
from dbae.support.errors import UserError

_D = TypeVar("_D", bound="DRL")


@dataclasses.dataclass(frozen=True)
class DRLConfig(DiffAEConfig):
    """A DiffAE with the length of z(t) as `latent_dim`, and:

    Attributes:
        variational: VDRL.
        weight: w.
        schedule: of the noise; "linear" is VP's, "ve" that of the authors' VE process.
        emphasis: which noise levels train.
        timed: the encoder is told t.
        times: at which z is what probes see.

    Raises:
        UserError: times that do not rise within 0 .. 999, or a negative weight.
    """

    variational: bool = False
    weight: float = 1e-5
    schedule: Schedule = "linear"
    emphasis: Emphasis = "uniform"
    timed: bool = True
    times: tuple[int, ...] = (100, 300, 500, 700, 900)

    def __post_init__(self) -> None:
        rising = list(self.times) == sorted(set(self.times))
        if not (self.times and rising and self.times[0] >= 0 and self.times[-1] < T):
            raise UserError(
                f"--times: expected times that rise within 0 to {T - 1}, found {self.times}; change --times."
            )
        require(self, "0 or more", lambda value: value >= 0, "weight")

    @property
    def codes(self) -> int:
        """Codes an image that probes see."""
        return len(self.times) if self.timed else 1


class DRL(DiffusionModel):
    """A DRL or VDRL as a `RepresentationModel`. Its state dict is DiffAE's, and `encoder.time_*`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    config: DRLConfig
    endpoints = ("random", "inferred")

    def __init__(self, config: DRLConfig, *, name: str = "drl") -> None:
        super().__init__(config, name=name)
        size, latent = config.image_size, config.latent_dim
        self.schedule, self.latent_dim = config.schedule, latent * config.codes
        self.network = SemanticUNet(config.unet, image_size=size, latent_dim=latent)
        kind = TimeEncoder if config.timed else Encoder
        self.encoder = kind(config.encoder, image_size=size, outputs=latent * (2 if config.variational else 1))

    @property
    def encoder_times(self) -> int:
        """1000; 0 where the encoder is told none."""
        return T if self.config.timed else 0

    def at(self: _D, *times: int) -> _D:
        """The same weights, with z at other times for probes: one of them, or a curve.

        Raises:
            UserError: see `DRLConfig`.
        """
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, times=times)
        other.latent_dim = self.config.latent_dim * other.config.codes
        return other

    def posterior_at(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """Mean and standard deviation of z(t) of images in [-1, 1]; None for DRL, where it is a function of them."""
        out = self.encoder(x, t) if self.config.timed else self.encoder(x)
        if not self.config.variational:
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, (0.5 * log_variance.float()).exp()

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """The same at every one of `times`, side by side: one pass of the encoder each."""
        found = [self.posterior_at(x, _same(t, x)) for t in self.config.times[: self.config.codes]]
        sigmas = [sigma for _, sigma in found if sigma is not None]
        return torch.cat([mean for mean, _ in found], 1), torch.cat(sigmas, 1) if sigmas else None

    def encode_curve(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"], sampler: SamplerConfig
    ) -> tuple[Float[Tensor, "b n m"], int]:
        """What `decode` with this sampler needs: the code at each of its n times; and the passes of the encoder.

        VDRL's curve is the posterior's mean, and as many deviations from it as z is at `times` and between them.

        Args:
            x: images in [-1, 1].
            z: what `encode` gave of them.
        """
        times = _visited(sampler)
        if not self.config.timed:
            return z[:, None].expand(-1, len(times), -1), 0
        found = [self.posterior_at(x, _same(t, x)) for t in times]
        means = torch.stack([mean for mean, _ in found], 1)
        sigmas = [sigma for _, sigma in found if sigma is not None]
        if not sigmas:
            return means, len(times)
        mean, sigma = self.posterior(x)
        assert sigma is not None
        line = _Line(((z - mean) / sigma).unflatten(1, (self.config.codes, -1)), self.config.times)
        deviations = torch.stack([line(t) for t in times], 1)
        return means + torch.stack(sigmas, 1) * deviations, len(times) + self.config.codes

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """The network under the curve between the codes of z at `times`."""
        if z is None:
            raise ValueError("DRL predicts noise under a code: pass z")
        line = _Line(z.unflatten(1, (self.config.codes, -1)), self.config.times[: self.config.codes])
        return lambda x, t: self.network(x, _same(t, x), line(t))

    def decode(
        self,
        z: Float[Tensor, "b ..."],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """As `DiffusionModel.decode`.

        Args:
            z: (b, l) as from `encode`, or (b, n, m) as from `encode_curve` for the same sampler.
        """
        if z.ndim == 2:
            return super().decode(z, x_T=x_T, sampler=sampler, noise=noise, progress=progress)
        sampler = sampler or SamplerConfig("ddim")
        x_T = self._given_or_start(z[:, 0], x_T, noise)
        return sample(self._along(z, sampler), x_T, self.schedule, sampler, noise=noise, progress=progress)

    def infer_endpoint(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b ..."] | None, *, steps: int
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """x_T of images in [-1, 1], by inversion with so many steps; and their number.

        Args:
            z: (b, l) as from `encode`, or (b, n, m) as from `encode_curve` for ddim with as many steps.
        """
        if z is None or z.ndim == 2:
            return super().infer_endpoint(x, z, steps=steps)
        return invert(self._along(z, SamplerConfig("ddim", nfe=steps)), x, self.schedule, steps)

    def _along(self, curve: Float[Tensor, "b n m"], sampler: SamplerConfig) -> Predict:
        """The network under the curve that was found for a sampler.

        Raises:
            ValueError: a curve for another number of steps.
        """
        times = _visited(sampler)
        if curve.shape[1] != len(times):
            raise ValueError(f"expected a code for each of {len(times)} times, found {curve.shape[1]}")
        return lambda x, t: self.network(x, _same(t, x), curve[:, times.index(t)])


@dataclasses.dataclass(frozen=True)
class _Line:
    """Codes at rising times and the straight lines between them; level beyond."""

    codes: Float[Tensor, "b n m"]
    times: tuple[int, ...]

    def __call__(self, t: int) -> Tensor:
        after = bisect.bisect_left(self.times, t)
        if after == 0 or after == len(self.times):
            return self.codes[:, min(after, len(self.times) - 1)]
        share = (t - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        return torch.lerp(self.codes[:, after - 1], self.codes[:, after], share)


def _same(t: int, x: Tensor) -> Tensor:
    """t for every image."""
    return torch.full((len(x),), t, device=x.device)


def _visited(sampler: SamplerConfig) -> list[int]:
    """Times that a run of `baselines.diffusion.samplers.sample` visits, rising."""
    return even_times(sampler.nfe) if sampler.method == "ddpm" else stride_times(sampler.nfe)


# --- training ---------------------------------------------------------------------------------------------------------


def loss(model: DRL, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, eps of z for VDRL, eps, then dropout)."""
    t, noise = draw(x0, generator, model.schedule, model.config.emphasis)
    mean, sigma = model.posterior_at(x0, t)
    z = mean if sigma is None else mean + sigma * noise.normal(mean.shape)
    found = noise_loss(lambda x, t: model.network(x, t, z), model.schedule, x0, t, noise=noise)
    if not model.config.weight:
        return RegularisedLoss(found.loss, found.mse)
    size = z.float().abs().sum(1) if sigma is None else gaussian_kl(mean, sigma).sum(1)
    return RegularisedLoss(found.loss + 2 * model.config.weight / x0[0].numel() * size, found.mse)
