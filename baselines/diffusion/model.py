"""What DDIM and DiffAE have in common as `RepresentationModel`s: both run one noise-predicting network from x_T."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.diffusion.process import Schedule, even_times
from baselines.diffusion.samplers import Predict, invert, sample
from dbae.interface import require_endpoint, require_images, require_latents
from dbae.noise import Noise, mixed_seed
from dbae.samplers import Sampled, SamplerConfig, steps_for
from dbae.samplers.strides import stride_times

_M = TypeVar("_M", bound="DiffusionModel")


class DiffusionModel(nn.Module, ABC):
    """A model that decodes by DDIM on DiffAE's stride grid, or by DDPM, and infers x_T by inversion.

    Args:
        config: architecture; its `image_size` is read here.
        name: name used in result rows.
    """

    samplers = ("ddim", "ddpm")
    endpoints: tuple[str, ...]
    encode_nfe = 0
    latent_dim: int
    schedule: Schedule = "linear"

    def __init__(self, config: Any, *, name: str) -> None:
        super().__init__()
        self.config, self.name, self.image_size = config, name, config.image_size

    @classmethod
    def initialised(cls: type[_M], config: Any, seed: int, *, name: str) -> _M:
        """A model with fresh weights that are a function of `seed`; global random state stays as it was."""
        with torch.random.fork_rng([]):
            torch.manual_seed(mixed_seed(seed, "weights"))
            return cls(config, name=name)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def require_budget(self, sampler: SamplerConfig) -> None:
        """See `dbae.interface.LimitsBudgets`: ddim has the numbers of steps that a stride gives, ddpm 2 to 1000."""
        (even_times if sampler.method == "ddpm" else stride_times)(steps_for(sampler))

    @abstractmethod
    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """The network under z, with one time for the batch."""

    def start(self, z: Float[Tensor, "b l"], noise: Noise | None) -> Float[Tensor, "b 3 s s"]:
        """x_T of `decode` where none is given: a draw from N(0, I)."""
        if noise is None:
            raise ValueError("decoding starts at x_T or draws it: pass `x_T` or `noise`")
        return noise.normal((len(z), 3, self.image_size, self.image_size)).to(z)

    def started(self, z: Float[Tensor, "b l"], x_T: Tensor | None, noise: Noise | None) -> Float[Tensor, "b 3 s s"]:
        """`x_T`, or what `start` gives without it.

        Raises:
            ValueError: z of another length, x_T of another size than the model's images, or another dtype.
        """
        require_latents(z, self.latent_dim, self)
        return self._given_or_start(z, x_T, noise)

    def _given_or_start(self, z: Tensor, x_T: Tensor | None, noise: Noise | None) -> Float[Tensor, "b 3 s s"]:
        """As `started`, of a z of any length."""
        if x_T is None:
            return self.start(z, noise)
        require_endpoint(x_T, self.image_size, self, of=z)
        return x_T

    @abstractmethod
    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """Mean and standard deviation of q(z | x) of images in [-1, 1]; None where z is a function of them."""

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z of images in [-1, 1], without gradient; the mean without noise, which only models with a deviation use.

        Raises:
            ValueError: images of another size or dtype than the model's.
        """
        require_images(x, self.image_size, self)
        mean, sigma = self.posterior(x)
        return mean if sigma is None or noise is None else mean + sigma * noise.normal(mean.shape)

    def infer_endpoint(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"] | None, *, steps: int
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """x_T of images in [-1, 1] under z, by inversion with so many steps; and their number.

        Raises:
            UserError: see `dbae.samplers.strides.stride_times`.
        """
        return invert(self.predictor(z), x, self.schedule, steps)

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """Images in [-1, 1] and the counted evaluations. Default: ddim, 100 evaluations, eta = 0.

        Args:
            x_T: where sampling starts; None asks `start`.
            noise: draws x_T first if it is to be drawn, then one draw a step (ddpm, and ddim with eta > 0).

        Raises:
            UserError: no such number of steps.
            ValueError: a sampler that these models lack, noise is missing, or z or x_T that are not this model's.
        """
        x_T = self.started(z, x_T, noise)
        sampler = sampler or SamplerConfig("ddim")
        return sample(self.predictor(z), x_T, self.schedule, sampler, noise=noise, progress=progress)
