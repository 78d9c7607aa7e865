"""What a model has to be able to do: the protocols that the commands and every benchmark talk to.

Nobody asks for a model's class or name. What is optional is a protocol of its own.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.noise import Noise
from dbae.samplers import SamplerConfig


@runtime_checkable
class Decoded(Protocol):
    """What `decode` returns (`dbae.samplers.Sampled` is one)."""

    @property
    def images(self) -> Float[Tensor, "b 3 s s"]:
        """float32, in [-1, 1]."""

    @property
    def nfe(self) -> int:
        """Network evaluations an image took."""


@runtime_checkable
class RepresentationModel(Protocol):
    """An encoder with a decoder: images <-> z.

    Attributes:
        name: name used in result rows.
        image_size: side s of the images it takes, pixels.
        latent_dim: length l of z.
        samplers: methods of `SamplerConfig` that `decode` takes; the first is its default.
        endpoints: ways to get x_T: "decoded" from z, "random" N(0, I), "inferred" from the image by inversion (then
            the model has `infer_endpoint`). The first is what `decode` does without x_T. A model that has none, and no
            samplers, has no decoder: its `decode` raises UserError.
        encode_nfe: network evaluations that `encode` costs; 0 for an encoder of one pass.

    A model may have `prior_stop`, the `SamplerConfig.stop` with which its authors sample where z comes from a prior;
    and `takes_guidance`, if its ddim and ddpm know `SamplerConfig.guidance`.
    """

    name: str
    image_size: int
    latent_dim: int
    samplers: tuple[str, ...]
    endpoints: tuple[str, ...]
    encode_nfe: int

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """(mu, sigma) of q(z | x); sigma is None where z is a function of x. x in [-1, 1]."""
        ...

    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z = mu + sigma * noise, without a gradient; the mean without noise."""
        ...

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
    ) -> Decoded:
        """Images in [-1, 1] and the counted network evaluations per image. x_T None: see `endpoints`."""
        ...


@runtime_checkable
class LimitsBudgets(Protocol):
    """A model whose samplers lack some budgets that their `SamplerConfig` allows."""

    def require_budget(self, sampler: SamplerConfig) -> None:
        """Raise UserError for one that `decode` would refuse, or `infer_endpoint` with as many steps of ddim."""
        ...


@runtime_checkable
class InfersEndpoint(Protocol):
    """A model that finds the endpoint of a given image."""

    def infer_endpoint(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"], *, steps: int
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """x_T from which `decode` with as many steps comes back near x, and the evaluations it took."""
        ...


@runtime_checkable
class ShowsMore(Protocol):
    """A model that has more to show of images than what it decodes: views that it learns from, or masks."""

    def pictures(self, x: Float[Tensor, "b 3 s s"]) -> list[Float[Tensor, "b 3 s s"]]:
        """Pictures in [-1, 1], in each of which one belongs to each image. Always the same of the same images."""
        ...


@runtime_checkable
class DecodesEndpoint(Protocol):
    """A model whose x_T, where it is decoded from z, can be looked at.

    It is recognised by the name of this method: a model of your own must not call anything else `endpoint`.
    """

    def endpoint(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """x_T of `decode` where "decoded" is among the model's `endpoints`."""
        ...


@runtime_checkable
class EncodesCurve(Protocol):
    """A model whose decoder asks for another code at every time. From z alone it makes do with what z holds."""

    def encode_curve(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"], sampler: SamplerConfig
    ) -> tuple[Float[Tensor, "b n m"], int]:
        """What `decode` with this sampler takes in the place of z, and `infer_endpoint` with as many steps of ddim;
        and the passes of the encoder.
        """
        ...


@runtime_checkable
class EncodesTimes(Protocol):
    """A model whose encoder is told how much noise z is to explain: z of an image is a curve.

    Attributes:
        encoder_times: how many times there are, from 0, no noise; 0 where the encoder is told none.
    """

    @property
    def encoder_times(self) -> int: ...

    def at(self, *times: int) -> RepresentationModel:
        """The same weights, with the z of these times, which rise, side by side as the z of an image."""
        ...


@runtime_checkable
class GuidesByAxes(Protocol):
    """A model in which every number of z leads the decoder in a direction of its own."""

    def guidance(self, x0: Float[Tensor, "b 3 s s"], t: int, noise: Noise) -> Float[Tensor, "b l"]:
        """How strongly, at a time of 0 .. 999: mean over pixels of the square of what it adds to the predicted noise.

        Args:
            x0: images in [-1, 1]; noise: z and x_t are drawn from it.
        """
        ...


@runtime_checkable
class Drawn(Protocol):
    """What `Prior.sample` returns: z, and the evaluations of the latent network per draw."""

    @property
    def z(self) -> Float[Tensor, "n l"]:
        """Codes, float32."""

    @property
    def nfe(self) -> int:
        """Evaluations of the prior's network that a code took; 0 where it has none."""


@runtime_checkable
class Prior(Protocol):
    """A distribution over the z of a model, to generate from."""

    @property
    def latent_dim(self) -> int:
        """Length l of z."""
        ...

    def sample(self, noise: Noise, n: int) -> Drawn:
        """Draws n codes, on the scale that `decode` takes; all randomness comes from `noise`."""
        ...


@runtime_checkable
class Loaded(Protocol):
    """A model that came from a checkpoint.

    Attributes:
        model: in evaluation mode, on the CPU.
        sha256: of the file, hex.
        train_data: what it was trained on, "" where nobody says.
    """

    @property
    def model(self) -> RepresentationModel:
        """The model itself."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hex."""

    @property
    def train_data(self) -> str:
        """What it was trained on, in words; "" where that is not known."""


def require_images(x: Tensor, size: int, model: nn.Module) -> None:
    """Raise ValueError unless x is (b, 3, size, size): networks would take other sizes too, and answer nonsense.

    Its dtype has to be that of the model's weights; under autocast any but float64 will do.
    """
    _require(x, (3, size, size), "images", model)


def require_latents(z: Tensor, length: int, model: nn.Module) -> None:
    """Raise ValueError unless z is (b, length), of a dtype that the model takes (`require_images`)."""
    _require(z, (length,), "z", model)


def require_endpoint(x_T: Tensor, size: int, model: nn.Module, *, of: Tensor) -> None:
    """Raise ValueError unless x_T has the shape of images, one for each z in `of`, and a dtype that the model takes."""
    _require(x_T, (3, size, size), "x_T", model)
    if len(x_T) != len(of):
        raise ValueError(f"expected one x_T for each z, found {len(x_T)} for {len(of)}")


def _require(value: Any, shape: tuple[int, ...], what: str, model: nn.Module) -> None:
    wanted = f"expected {what} of shape (b, {', '.join(map(str, shape))})"
    if not isinstance(value, Tensor):
        raise ValueError(f"{wanted}, found {type(value).__name__}: make it a tensor, by torch.from_numpy for instance")
    if tuple(value.shape[1:]) != shape:
        raise ValueError(f"{wanted}, found {tuple(value.shape)}")
    dtype = next(model.parameters()).dtype
    if value.dtype == dtype:
        return
    cast = value.dtype != torch.float64 and value.is_floating_point() and torch.is_autocast_enabled(value.device.type)
    if not cast:
        raise ValueError(f"expected {what} of {dtype}, as the weights are, found {value.dtype}")


def on_device(model: RepresentationModel, device: torch.device) -> RepresentationModel:
    """The model on `device`, in evaluation mode."""
    if isinstance(model, nn.Module):
        model.to(device).eval()
    return model


def trained_on(loaded: Loaded, so: str = "it makes other images look like those") -> str:
    """One line on what a model has seen, and what that does."""
    if getattr(loaded, "weights", "trained") == "untrained":
        return f"{loaded.model.name} is untrained: what it makes of images means nothing."
    data = loaded.train_data.strip()
    data = data if data and not data.startswith("(") else f"images that its file does not name {data}".strip()
    drawn = ", faces that this package drew" if data.startswith("faces-v") else ""
    return f"{loaded.model.name} was trained on {data}{drawn}: {so}."
