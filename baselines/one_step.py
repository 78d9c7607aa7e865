"""What models share that decode z in one evaluation: there is no x_T, and no sampler to choose."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.interface import require_images, require_latents
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig


class OneStepModel(nn.Module):
    """A `RepresentationModel` but for `posterior` and `images`.

    Attributes:
        name: used in result rows and messages.
        image_size: side of the images, pixels.
        latent_dim: length of z.
        images_seen: buffer, int64 (): training images so far.
    """

    name: str
    image_size: int
    latent_dim: int
    images_seen: Tensor
    samplers = ("one_step",)
    endpoints = ("decoded",)
    encode_nfe = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.images_seen.device

    @abstractmethod
    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """Mean and standard deviation of q(z | x) of images in [-1, 1]; None where z is a function of them."""

    @abstractmethod
    def images(self, z: Float[Tensor, "b l"]) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]:
        """Images in [-1, 1] of z, and the same before anything was clamped."""

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z of images in [-1, 1], without gradient; the mean without noise, which only models with a deviation use.

        Raises:
            ValueError: images of another size or dtype than the model's.
        """
        require_images(x, self.image_size, self)
        mean, sigma = self.posterior(x)
        return mean if sigma is None or noise is None else mean + sigma * noise.normal(mean.shape)

    @torch.no_grad()
    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
    ) -> Sampled:
        """`images` of z, in one evaluation; `noise` is not used.

        Raises:
            ValueError: another sampler than one_step, an x_T, or z of another length or dtype than the model's.
        """
        require_latents(z, self.latent_dim, self)
        if x_T is not None or (sampler is not None and sampler.method != "one_step"):
            raise ValueError(f"{self.name} decodes z in one step: expected no x_T and the sampler one_step")
        images, out = self.images(z)
        return Sampled(images, 1, out)
