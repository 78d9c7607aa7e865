"""What a figure is drawn of: a model, a user's images, a sampler, and the noise of each image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, SupportsIndex

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from baselines.load import LoadedModel
from benchmarks.figures.sheet import Pixels
from dbae.data import Crop, Exif, open_images
from dbae.data.files import printable
from dbae.decoding import Decoding, Endpoint, decode, endpoint_of, require_budget, starting_point
from dbae.images import naming, to_float, to_uint8
from dbae.interface import RepresentationModel, on_device, trained_on
from dbae.noise import PerImageNoise
from dbae.samplers import OwnSampler, SamplerConfig, evaluations, sampler_of, steps_for
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.precision import Precision, autocast

Load = Callable[[str], LoadedModel]
MOST = 64
"""Images of a figure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Options of every figure."""

    out: Path
    """The picture to write; its ending says as what: .png, .svg, and .gif of what moves."""
    ckpt: str = "builtin:dbae"
    """A checkpoint file or name."""
    scale: int | None = None
    """Enlarge every pixel to a square of so many. Default: as far as pictures stay within 128 pixels."""
    seed: int = 0
    """Seed of everything that is drawn."""
    precision: Precision = "fp32"
    """Arithmetic of the networks."""
    device: str = "auto"
    """Where they run: auto, cpu, cuda, cuda:1."""
    sampler: tyro.conf.OmitArgPrefixes[SamplerConfig] = OwnSampler()
    """How images are decoded."""

    def __post_init__(self) -> None:
        for name in ("scale", "seed", "draws", "n", "steps", "columns", "encode_steps", "limit"):
            value = getattr(self, name, None)
            least = {"seed": 0, "draws": 2, "steps": 2, "columns": 2, "limit": 2}.get(name, 1)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')}: expected {least} or more, found {value}.")
        for name in ("strengths", "reach"):
            numbers = np.atleast_1d(getattr(self, name, 1.0))
            if not numbers.size or not np.isfinite(numbers).all():
                found = ", ".join(map(str, numbers.tolist())) or "none"
                raise UserError(f"--{name}: expected finite numbers, found {found}. Leave out what is none.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions(PictureOptions):
    """Options of figures of given images."""

    image: Annotated[tuple[str, ...], tyro.conf.arg(metavar="IMAGES...")] = ("faces:?n=4",)
    """Images: files, "patterns", folders, zips, KIND:ROOT."""
    crop: Crop = "centre"
    """Square taken from other aspects: centre; top; whole (black bars)."""
    exif: Exif = "upright"
    """upright turns photographs as their EXIF orientation says; ignore reads them as stored."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A model on its device, in evaluation mode, and how it decodes.

    Attributes:
        loaded: the model and where it comes from.
        sampler: what --method and its like mean for this model.
        x: the images, in [-1, 1]; names: what they are called, on one line.
    """

    loaded: LoadedModel
    options: PictureOptions
    sampler: SamplerConfig
    device: torch.device
    x: Float[Tensor, "n 3 s s"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, options: PictureOptions, load: Load) -> Scene:
        """Open what the options name.

        Raises:
            UserError: a checkpoint, an image, a sampler or a device that is not usable, or too many images.
        """
        loaded, device = load(options.ckpt), cli.device(options.device)
        model = on_device(loaded.model, device)
        sampler = sampler_of(options.sampler, model.samplers, loaded.name)
        require_budget(model, sampler)
        if not isinstance(options, ImageOptions):
            return cls(loaded, options, sampler, device, torch.empty(0, 3, model.image_size, model.image_size), ())
        data = open_images(options.image, size=model.image_size, crop=options.crop, exif=options.exif)
        if len(data) > MOST:
            raise UserError(f"--image: expected up to {MOST} images, found {len(data)}. Name fewer.")
        x = to_float(data.batch(range(len(data))).to(device))
        names = tuple(printable(re.split(r"[/\\]", data.label(i))[-1]) for i in range(len(data)))
        return cls(loaded, options, sampler, device, x, names)

    @property
    def model(self) -> RepresentationModel:
        return self.loaded.model

    @property
    def evaluations(self) -> int:
        """Network evaluations of decoding an image."""
        return evaluations(self.sampler, steps_for(self.sampler))

    def decoded(self, x: Float[Tensor, "n 3 s s"], endpoint: Endpoint) -> Decoding:
        """Reconstructions from the mean of the posterior.

        Raises:
            UserError: the model has no such endpoint.
        """
        model, where, keys = self.model, endpoint_of(self.model, endpoint), range(len(x))
        with torch.inference_mode(), autocast(self.device, self.options.precision):
            unused = where == "inferred" and model.encode_nfe
            z = x.new_zeros(len(x), model.latent_dim) if unused else model.encode(x)
            return decode(
                model,
                x,
                z,
                sampler=self.sampler,
                noise=self.noise("sample", keys),
                x_T=starting_point(model, z, where, self.noise("x_T", keys)),
                encode_steps=steps_for(self.sampler) if where == "inferred" else None,
            )

    def noise(self, stream: str, keys: Iterable[SupportsIndex]) -> PerImageNoise:
        """Noise of images `keys` for one purpose."""
        return PerImageNoise(self.options.seed, keys, stream=stream, device=self.device)

    def title(self, what: str, nfe: int) -> str:
        """Title of a figure: what it shows, the model, and how it decodes.

        Args:
            nfe: counted evaluations an image.
        """
        method = ", ".join(filter(None, (self.loaded.method, self.loaded.variant)))
        about = f" ({method})" if method else ""
        times = "one evaluation" if nfe == 1 else f"{self.sampler.method}, {nfe} evaluations"
        return f"{what} by {self.loaded.name}{about}: {times}"

    def notes(self, *, x_T: bool) -> list[str]:
        """What a reader of any figure should know; `x_T` is whether it shows some."""
        return [trained_on(self.loaded), *(["x_T is shown clamped to the range of images."] if x_T else [])]


def pixels(images: Float[Tensor, "n 3 s s"], names: Sequence[str]) -> list[Pixels]:
    """Pictures of images in [-1, 1], on the CPU; what lies beyond is clamped.

    Raises:
        NotFiniteError: one has NaN or infinite values; says which of `names`, one an image.
    """
    with naming(names):
        return list(to_uint8(images).cpu())
