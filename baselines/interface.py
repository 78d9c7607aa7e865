"""What every benchmark talks to: the protocols of a model, which are those of `dbae.interface`, and `LoadedModel`, the
only description of a loaded one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dbae.interface import Decoded, Drawn, EncodesCurve, InfersEndpoint, Prior, RepresentationModel, ShowsMore
from dbae.noise import PerImageNoise
from dbae.samplers.config import SamplerConfig, evaluations
from dbae.support.errors import UserError

__all__ = [
    "Decoded",
    "Drawn",
    "EncodesCurve",
    "InfersEndpoint",
    "LoadedModel",
    "Prior",
    "RepresentationModel",
    "ShowsMore",
    "Statistics",
    "WeightsUsed",
    "require_model",
    "weights_digest",
]

WeightsUsed = Literal["EMA", "raw", "not told"]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of the latents of a training set, shape (l,), float32."""

    mean: Tensor
    std: Tensor


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model and where it comes from: of a file (`baselines.load.load`), or a user's own object (`of`).

    Attributes:
        model: the model with its trained weights, in evaluation mode; of a file, float32 on the CPU.
        name: name in result rows.
        method: e.g. "DBAE"; variant: e.g. "deterministic".
        train_data: what it was trained on, "" where neither the file nor a card says.
        weights: "trained", or "untrained" for weights that have seen no image.
        sha256: of the file, hex; of an object, see `of`.
        untrained: seed -> the same architecture with fresh weights, a function of the seed; None where nobody knows
            how, and then there is no such control.
        path: the file; None for an object.
        weights_used: "EMA" where the file has averaged weights, else "raw"; "not told" where it does not say.
        prior: the distribution of z to generate from, where there is one.
        statistics: mean and deviation of z over the training images, where the authors publish them.
        notes: what else a user should know, one sentence each.
        facts: what the user told of a file that does not tell all; part of `variant`.
    """

    model: RepresentationModel
    name: str
    method: str = ""
    variant: str = ""
    train_data: str = ""
    weights: Literal["trained", "untrained"] = "trained"
    sha256: str = ""
    untrained: Callable[[int], RepresentationModel] | None = None
    path: Path | None = None
    weights_used: WeightsUsed = "not told"
    prior: Prior | None = None
    statistics: Statistics | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The path of a model that came from a file."""
        if self.path is None:
            raise ValueError(f"{self.name} came from no file")
        return self.path

    def key(self, model: RepresentationModel) -> str:
        """What decides what `model`, this one or its untrained twin, computes: the key of what can be kept of it.

        Method, variant and weights; of an object also `sha256`, since nobody knows its code.
        """
        weights = weights_digest(model) if isinstance(model, nn.Module) else LoadedModel.of(model).sha256
        return f"{self.method} {self.variant} {weights}{'' if self.path else f' {self.sha256}'}"

    @classmethod
    def of(
        cls,
        model: RepresentationModel,
        *,
        name: str | None = None,
        method: str = "",
        variant: str = "",
        train_data: str = "",
        weights: Literal["trained", "untrained"] = "trained",
        untrained: Callable[[int], RepresentationModel] | None = None,
        prior: Prior | None = None,
    ) -> LoadedModel:
        """The description of an object that came from no file; a module is put into evaluation mode.

        Its `sha256`, by which latents, images and rows are told apart, is the hash of its weights, where it is a torch
        module, of the z that it gives fixed images of noise, and of what it decodes in two steps, so that changed code
        is another model. What shows in neither (an inversion, which is not run for that and has its name here, more
        steps, a change below a hundredth) is measured again with `force` and another `DBAE_CACHE`.

        Args:
            name: None is the model's own.
        """
        name = model.name if name is None else name
        digest = hashlib.sha256(name.encode() if model.encode_nfe else b"")
        digest.update(_of_noise(model))
        if isinstance(model, nn.Module):
            digest.update(weights_digest(model).encode())
        return cls(model, name, method, variant, train_data, weights, digest.hexdigest(), untrained, prior=prior)


def require_model(model: object) -> None:
    """Raise UserError, which names what is lacking, unless the object is a `RepresentationModel`."""
    wanted = [*RepresentationModel.__annotations__, "posterior", "encode", "decode"]
    if lacking := [name for name in wanted if not hasattr(model, name)]:
        raise UserError(
            f"{type(model).__name__}: expected a model with the attributes and methods of "
            f"baselines.interface.RepresentationModel, found none called {', '.join(lacking)}. Give it what it lacks "
            "(tests/examples/autoencoder.py is a small one), or measure its z alone."
        )


def weights_digest(model: object) -> str:
    """Hex SHA-256 of a model's parameters and buffers, names included: equal weights in two files are equal.

    Raises:
        TypeError: `model` is not a torch module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch module, found {type(model).__name__}")
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _of_noise(model: RepresentationModel) -> bytes:
    """z of four images of noise and what one z decodes to, in hundredths of the largest of each, and how large that is.

    A device's rounding hardly counts so.
    """
    device = torch.device("cpu")
    if isinstance(model, nn.Module):
        device = next((p.device for p in model.eval().parameters()), device)
    size = model.image_size
    x = PerImageNoise(0, range(4), stream="images", device=device).normal((4, 3, size, size)).clamp(-1, 1)
    found = [] if model.encode_nfe else [part for part in model.posterior(x) if part is not None]
    z = found[0] if found else PerImageNoise(0, range(4), stream="z", device=device).normal((4, model.latent_dim))
    return b"".join(map(_coarse, [*found, *_decoded(model, z[:1])]))


def _decoded(model: RepresentationModel, z: Tensor) -> list[Tensor]:
    """What z decodes to in two steps of the model's default sampler.

    None of a model that has no decoder, that fails, which it will say where it is measured, or that draws noise of its
    own, by which it would be another model every time.
    """
    if not model.samplers:
        return []
    images = []
    for seed in (0, 1):
        with torch.random.fork_rng([z.device] if z.is_cuda else []), contextlib.suppress(Exception):
            torch.manual_seed(seed)
            method: Any = model.samplers[0]
            sampler = SamplerConfig(method, evaluations(SamplerConfig(method), 2))
            noise = PerImageNoise(0, range(len(z)), stream="decode", device=z.device)
            images.append(model.decode(z, sampler=sampler, noise=noise).images)
    told = len(images) == 2 and all(isinstance(each, Tensor) for each in images) and torch.equal(*images)
    return images[:1] if told else []


def _coarse(values: Tensor) -> bytes:
    values = values.detach().double().cpu().nan_to_num()
    largest = values.abs().max().clamp(min=1e-30)
    return f"{largest:.1e}".encode() + (values / largest * 100).round().to(torch.int16).numpy().tobytes()
