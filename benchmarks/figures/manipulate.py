"""An attribute strengthened and weakened, by a step of z along a linear direction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from baselines.editing import manipulate_images
from benchmarks.figures import directions
from benchmarks.figures.directions import Direction
from benchmarks.figures.scene import ImageOptions, Load, Scene, pixels
from benchmarks.figures.sheet import Block, Pixels, Sheet, require_format
from dbae.data import open_data
from dbae.interface import DecodesEndpoint, InfersEndpoint
from dbae.latents import LatentCache, default_folder
from dbae.support.errors import UserError
from dbae.support.precision import autocast

DEFAULT = ("Smiling",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manipulate(ImageOptions):
    """Each image with less and more of an attribute: z' = z + s sqrt(l) std w / |w|; x_T is kept, or that of z'."""

    attribute: tuple[str, ...] | None = None
    """Attributes, each of which gets a row an image. Default: Smiling, or that of a kept --direction."""
    data: str = "faces:?n=2500"
    """A labelled data set to train directions on, KIND:ROOT[?size=..&n=..]."""
    limit: int = 2000
    """Train on its first LIMIT training images."""
    direction: str | None = None
    """Take the direction from a file, in place of training one: what --save-direction wrote, or the classifier that
    DiffAE, PDAE or DBAE publish."""
    save_direction: Path | None = None
    """Keep the trained direction as an .npz, for --direction."""
    strengths: Annotated[tuple[float, ...], tyro.conf.arg(metavar="S...")] = (-0.6, -0.3, 0.0, 0.3, 0.6)
    """Steps s; the papers take 0.3."""
    endpoint: Literal["own", "random"] = "own"
    """own: x_T inferred from the image where a model can infer it, else as it comes from z; random: drawn, where a
    model starts at noise."""
    encode_steps: int = 250
    """Evaluations of inferring x_T."""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure.

        Raises:
            UserError: what cannot be opened, no such attribute, or a model whose z is x_T.
        """
        require_format(self.out, moving=False)
        if self.save_direction is not None:
            if len(self.attribute or DEFAULT) > 1 or self.direction is not None:
                raise UserError("--save-direction: expected one --attribute and no --direction.")
            directions.require_free(self.save_direction)
        scene = Scene.of(self, load)
        if scene.model.encode_nfe:
            raise UserError(f"{scene.loaded.name}: its z is x_T itself, in which no attribute is linear. Name another.")
        if self.endpoint == "random" and "random" not in scene.model.endpoints:
            raise UserError(f"--endpoint random: {scene.loaded.name} does not start at noise. Leave it out.")
        found = [direction.to(scene.device) for direction in self._directions(scene)]
        with torch.inference_mode(), autocast(scene.device, self.precision):
            kept = self._endpoint(scene)
        ways: dict[str, Tensor | None] = {} if kept is None else {"x_T kept": kept}
        if kept is None or _follows(scene, self.endpoint):
            ways["x_T of z'" if ways else "image"] = None
        edits = [self._edited(scene, direction, ways) for direction in found]
        blocks = [
            self._block(scene, i, d, rows)
            for d, (rows, _) in zip(found, edits, strict=True)
            for i in range(len(scene.x))
        ]
        notes = [*dict.fromkeys(direction.about for direction in found), *scene.notes(x_T=False)]
        return [Sheet(scene.title("Manipulation", edits[0][1]), blocks, notes)]

    def _directions(self, scene: Scene) -> list[Direction]:
        if self.direction is not None and self.direction.endswith(".npz"):
            kept = directions.load(Path(self.direction), scene.loaded)
            if self.attribute and self.attribute != (kept.attribute,):
                raise UserError(
                    f"--attribute {' '.join(self.attribute)}: expected {kept.attribute}, which {self.direction} is a "
                    "direction of. Leave out one of the two."
                )
            return [kept]
        names = self.attribute or DEFAULT
        if self.direction is not None:
            return [directions.of_classifier(self.direction, name, scene.loaded) for name in names]
        dataset = open_data(self.data, size=scene.model.image_size)
        cache = LatentCache(default_folder(), scene.device, precision=self.precision, progress=True)
        found = [directions.train(scene.loaded, dataset, name, cache, limit=self.limit) for name in names]
        if self.save_direction is not None:
            directions.save(found[0], self.save_direction, scene.loaded.sha256)
        return found

    def _endpoint(self, scene: Scene) -> Tensor | None:
        """x_T of the images as they are; None where a model has none to keep."""
        if self.endpoint == "random":
            return scene.noise("x_T", range(len(scene.x))).normal(scene.x.shape)
        z = scene.model.encode(scene.x)
        if isinstance(scene.model, InfersEndpoint):
            return scene.model.infer_endpoint(scene.x, z, steps=self.encode_steps)[0]
        return scene.model.endpoint(z) if isinstance(scene.model, DecodesEndpoint) else None

    def _edited(
        self, scene: Scene, direction: Direction, ways: dict[str, Tensor | None]
    ) -> tuple[dict[str, list[list[Pixels]]], int]:
        """Row -> for every strength, the pictures of all images; and the evaluations of each."""
        rows: dict[str, list[list[Pixels]]] = {}
        for label, x_T in ways.items():
            rows[label] = []
            for strength in self.strengths:
                with torch.inference_mode(), autocast(scene.device, self.precision):
                    edited = manipulate_images(
                        scene.model,
                        scene.x,
                        direction.weight,
                        strength,
                        mean=direction.mean,
                        std=direction.std,
                        x_T=x_T,
                        sampler=scene.sampler,
                        noise=scene.noise("sample", range(len(scene.x))),
                    )
                rows[label].append(pixels(edited.images.float(), scene.names))
        return rows, edited.nfe

    def _block(self, scene: Scene, i: int, direction: Direction, rows: dict[str, list[list[Pixels]]]) -> Block:
        """Rows of one image."""
        original = pixels(scene.x[i : i + 1], scene.names[i : i + 1])
        shown: dict[str, list[Pixels | None]] = {
            label: [*(original if place == 0 else [None]), *(pictures[i] for pictures in row)]
            for place, (label, row) in enumerate(rows.items())
        }
        return Block(
            shown, [scene.names[i], *(f"{direction.attribute} {f'{s:+g}' if s else '0'}" for s in self.strengths)]
        )


def _follows(scene: Scene, endpoint: str) -> bool:
    """Whether x_T is decoded from z, so that it can follow."""
    return (
        endpoint == "own" and isinstance(scene.model, DecodesEndpoint) and not isinstance(scene.model, InfersEndpoint)
    )
