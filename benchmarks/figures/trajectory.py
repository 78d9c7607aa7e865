"""The way from x_T to an image: states of the sampler."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.figures.scene import ImageOptions, Load, Scene, pixels
from benchmarks.figures.sheet import Block, Pixels, Sheet, is_film, require_format
from dbae.decoding import Endpoint
from dbae.samplers.base import watched
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory(ImageOptions):
    """States of the sampler on its way from x_T to each image, a row an image."""

    columns: int | None = None
    """States, of x_T and the image among them. Default: 9, and all of them (60 at most) in a GIF."""
    endpoint: Endpoint = "own"
    """Where x_T comes from: decoded from z; random, N(0, I); inferred from the image by as many steps as decode; own is
    the first of these that the model has."""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure, or the frames of a film.

        Raises:
            UserError: what cannot be opened, or a model that has no states to show.
        """
        require_format(self.out, moving=True)
        scene = Scene.of(self, load)
        states, nfe = self._states(scene)
        if len(states) < 3:
            raise UserError(
                f"{scene.loaded.name}: has no states between x_T and image to show (it decodes in one step). Name "
                "another --ckpt or --method."
            )
        film = is_film(self.out)
        count = min(len(states), self.columns or (60 if film else 9))
        chosen = np.linspace(0, len(states) - 1, count).round().astype(int).tolist()
        labels = [f"{name}, state {i} of {len(states) - 1}" for i in chosen for name in scene.names]
        shown = pixels(torch.cat([states[i] for i in chosen]).float(), labels)
        columns = [shown[i : i + len(scene.names)] for i in range(0, len(shown), len(scene.names))]
        original = pixels(scene.x, scene.names)
        headings = ["x_T", *(f"{i} of {len(states) - 1}" for i in chosen[1:])]
        title, notes = scene.title("Trajectory", nfe), [*scene.notes(x_T=True), "Headings count states of the sampler."]
        if film:
            frames = zip(headings, columns, strict=True)
            return [Sheet(title, [_frame(scene, heading, column, original)], notes) for heading, column in frames]
        rows = {name: [original[i], *(column[i] for column in columns)] for i, name in enumerate(_unique(scene.names))}
        return [Sheet(title, [Block(rows, ["image", *headings])], notes)]

    def _states(self, scene: Scene) -> tuple[list[Float[Tensor, "n 3 s s"]], int]:
        """All states of the run that decodes, on the CPU, and its evaluations."""
        with watched() as runs:
            found = scene.decoded(scene.x, self.endpoint)
        return [state.cpu() for state in runs[-1]] if runs else [], found.nfe


def _frame(scene: Scene, heading: str, column: list[Pixels], original: list[Pixels]) -> Block:
    return Block({"image": original, heading: column}, scene.names)


def _unique(names: tuple[str, ...]) -> list[str]:
    """Names of rows, the second of one name with a number."""
    return [name if names.index(name) == i else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]
