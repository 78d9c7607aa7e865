"""The protocol every benchmark talks to. A benchmark never asks for a model's class or name."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from dbae.noise import Noise
from dbae.samplers import SamplerConfig


@runtime_checkable
class Decoded(Protocol):
    """What `decode` returns (`dbae.samplers.Sampled` is one)."""

    @property
    def images(self) -> Float[Tensor, "b 3 s s"]: ...

    @property
    def nfe(self) -> int: ...


@runtime_checkable
class RepresentationModel(Protocol):
    """An encoder with a decoder: images <-> z.

    Attributes:
        name: name used in result rows.
        image_size: side s of the images it takes, pixels.
        latent_dim: length l of z.
    """

    name: str
    image_size: int
    latent_dim: int

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """(mu, sigma) of q(z | x); sigma is None where z is a function of x. x in [-1, 1]."""
        ...

    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z = mu + sigma * noise; the mean without noise."""
        ...

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
    ) -> Decoded:
        """Images in [-1, 1] and the counted network evaluations per image. x_T None: the model's own endpoint."""
        ...


# Capabilities a model may have beside these, asked for by name (`hasattr`), never by class:
#   infer_endpoint(x, z, *, steps) -> (x_T, nfe)    the endpoint of a given image
#   sample_latent(n, *, noise) -> z                 draws from a latent prior
#   step_cost() -> FLOPs                            of one network evaluation of one image
