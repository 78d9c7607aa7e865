"""Reconstructions, and how much several of one image differ."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.figures.scene import ImageOptions, Load, Scene, pixels
from benchmarks.figures.sheet import Block, Pixels, Sheet, require_format
from benchmarks.metrics.spread import spread
from dbae.decoding import Endpoint, endpoint_of, shows_endpoint
from dbae.images import naming, require_finite
from dbae.reconstruct import reconstruct
from dbae.support.precision import autocast

ACROSS = 8
"""Images side by side."""
_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Drawn(ImageOptions):
    """Options of figures of several reconstructions of each image."""

    endpoint: Endpoint = "own"
    """Where x_T comes from: decoded from z; random, N(0, I); inferred from the image by as many steps as decode; own is
    the first of these that the model has."""
    draws: int = 16
    """Reconstructions of each image: z drawn from the posterior, x_T and the sampler's noise where they are random."""

    what: ClassVar[str] = ""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure.

        Raises:
            UserError: what cannot be opened, or an endpoint that the model has not.
        """
        require_format(self.out, moving=False)
        scene = Scene.of(self, load)
        x_T = shows_endpoint(scene.model, endpoint_of(scene.model, self.endpoint))
        with torch.inference_mode(), autocast(scene.device, self.precision):
            found = reconstruct(
                scene.model,
                scene.x,
                sampler=scene.sampler,
                draws=self.draws,
                seed=self.seed,
                endpoint=self.endpoint,
            ).cpu()
        labels = ["image", *(["x_T"] if x_T else []), "reconstruction", *(f"draw {j + 1}" for j in range(self.draws))]
        named = {label: pixels(found[:, k].float(), scene.names) for k, label in enumerate(labels)}
        mean, std, top = _statistics(found[:, -self.draws :].float(), found[:, 0].float(), scene)
        rows = self.chosen(named | {"mean": mean, "deviation": std})
        blocks = [
            Block({label: row[i : i + ACROSS] for label, row in rows.items()}, scene.names[i : i + ACROSS])
            for i in range(0, len(scene.names), ACROSS)
        ]
        scale = f"deviation from 0 (black) to {top:.3f} (light), of pixels from 0 to 1"
        note = f"Mean and standard deviation are of {self.draws} draws; {scale}."
        return [Sheet(self.headline(scene), blocks, [note, *scene.notes(x_T="x_T" in rows)])]

    def chosen(self, rows: dict[str, list[Pixels]]) -> dict[str, list[Pixels]]:
        """The rows of the figure, in their order."""
        raise NotImplementedError

    def headline(self, scene: Scene) -> str:
        """The title."""
        where = endpoint_of(scene.model, self.endpoint)
        x_T = f", x_T {where}" if len(scene.model.endpoints) > 1 or where != "decoded" else ""
        return scene.title(self.what, scene.evaluations) + x_T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconstruct(_Drawn):
    """Each image, its x_T and reconstruction, and mean and standard deviation of further draws."""

    what: ClassVar[str] = "Reconstruction"

    def chosen(self, rows: dict[str, list[Pixels]]) -> dict[str, list[Pixels]]:
        """Without single draws."""
        return {label: row for label, row in rows.items() if not label.startswith("draw ")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics(_Drawn):
    """Each image, mean and standard deviation of its draws, and three of them: what z (and x_T) leave to chance."""

    what: ClassVar[str] = "Draws"

    def chosen(self, rows: dict[str, list[Pixels]]) -> dict[str, list[Pixels]]:
        """Without x_T and the reconstruction from the mean."""
        shown = ("image", "mean", "deviation", *(f"draw {j + 1}" for j in range(_SHOWN)))
        return {label: rows[label] for label in shown if label in rows}


def _statistics(
    draws: Float[Tensor, "n m 3 s s"], x0: Float[Tensor, "n 3 s s"], scene: Scene
) -> tuple[list[Pixels], list[Pixels], float]:
    """Mean and deviation of every image's draws as pictures, and the deviation that is the lightest."""
    with naming(scene.names):
        require_finite(draws)
    found = [spread(of_one, x) for of_one, x in zip(draws, x0, strict=True)]
    deviations = torch.stack([one.std.mean(0) for one in found]).numpy()
    means = pixels(torch.stack([one.mean for one in found]) * 2 - 1, scene.names)
    top = float(deviations.max())
    return means, [_coloured(deviation / (top or 1.0)) for deviation in deviations], top


def _coloured(values: Float[np.ndarray, "s s"]) -> UInt8[Tensor, "3 s s"]:
    """Values from 0 to 1 in matplotlib's magma, from black to light."""
    import matplotlib

    colours = matplotlib.colormaps["magma"](values)[..., :3]
    return torch.from_numpy((colours * 255).round().astype(np.uint8)).permute(2, 0, 1)
