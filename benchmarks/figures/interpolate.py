"""Between two images: z in a straight line, x_T decoded from it, or turned from one image's to the other's."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch

from baselines.editing import Edited, interpolate_images
from benchmarks.figures.scene import ImageOptions, Load, Scene, pixels
from benchmarks.figures.sheet import Block, Pixels, Sheet, is_film, require_format
from dbae.support.errors import UserError
from dbae.support.precision import autocast


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolate(ImageOptions):
    """Images between two, and the x_T they start at, for the first and second image, the third and fourth, ..."""

    columns: int | None = None
    """Images from one to the other, both reconstructions included. Default: 7, and 25 of a GIF."""
    endpoint: Literal["own", "random"] = "own"
    """own: x_T inferred from both images and turned from one to the other (slerp) where a model can infer it, else as
    it comes from z; random: from one draw to another, where a model starts at noise."""
    encode_steps: int = 250
    """Evaluations of inferring x_T."""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure, or the frames of a film.

        Raises:
            UserError: an odd number of images, or what cannot be opened.
        """
        require_format(self.out, moving=True)
        scene = Scene.of(self, load)
        if len(scene.x) % 2:
            raise UserError(f"--image: expected two images, or pairs of images, found {len(scene.x)}.")
        if self.endpoint == "random" and "random" not in scene.model.endpoints:
            raise UserError(f"--endpoint random: {scene.loaded.name} does not start at noise. Leave it out.")
        film = is_film(self.out)
        shares = np.linspace(0, 1, self.columns or (25 if film else 7)).tolist()
        pairs = [self._between(scene, i, shares) for i in range(0, len(scene.x), 2)]
        title = scene.title("Interpolation", pairs[0].nfe)
        notes = scene.notes(x_T=pairs[0].x_T is not None)
        shown = [self._shown(scene, 2 * i, shares, edited) for i, edited in enumerate(pairs)]
        columns = [slice(i, i + 1) for i in range(len(shares))] if film else [slice(None)]
        return [Sheet(title, [pair.block(shares, part) for pair in shown], notes) for part in columns]

    def _between(self, scene: Scene, i: int, shares: list[float]) -> Edited:
        x_T = scene.noise("x_T", (i, i + 1)).normal(scene.x[i : i + 2].shape) if self.endpoint == "random" else None
        with torch.inference_mode(), autocast(scene.device, self.precision):
            return interpolate_images(
                scene.model,
                scene.x[i],
                scene.x[i + 1],
                shares,
                x_T=x_T,
                encode_steps=self.encode_steps,
                sampler=scene.sampler,
                noise=scene.noise("sample", [i] * len(shares)),  # the same in all, so that z alone changes
            )

    def _shown(self, scene: Scene, i: int, shares: list[float], edited: Edited) -> _Pair:
        names = scene.names[i : i + 2]
        labels = [f"{names[0]} to {names[1]}, {share:.2f} of the way" for share in shares]
        x_T = None if edited.x_T is None else pixels(edited.x_T.float(), labels)
        first, second = pixels(scene.x[i : i + 2], names)
        return _Pair(names, first, second, pixels(edited.images.float(), labels), x_T)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """Two images, what lies between them, and where it started."""

    names: tuple[str, ...]
    first: Pixels
    second: Pixels
    between: list[Pixels]
    x_T: list[Pixels] | None

    def block(self, shares: list[float], part: slice) -> Block:
        """Rows with some of what lies between, the originals at both ends."""
        headings = [self.names[0], *(f"{share:.2f}" for share in shares[part]), self.names[1]]
        rows: dict[str, list[Pixels | None]] = {"image": [self.first, *self.between[part], self.second]}
        return Block(rows | ({"x_T": [None, *self.x_T[part], None]} if self.x_T else {}), headings)
