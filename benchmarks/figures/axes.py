"""Which numbers of z lead the decoder most, over all noise levels; what each of them changes. No labels are needed.

    strength of axis d at t    how much it moves the predicted noise (`dbae.interface.GuidesByAxes`), mean over images
    rank                       by the mean over times, evenly from 0 to 999

The picture has a row for each of the first axes: z of the first image with that number from -reach to reach, decoded
from one x_T. OUT.csv has all axes at all times: `rank,axis,t,strength,stderr`, the error being over images.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from benchmarks.figures.scene import ImageOptions, Load, Scene, pixels
from benchmarks.figures.sheet import Block, Pixels, Sheet, require_format
from dbae.decoding import decoded_by
from dbae.interface import GuidesByAxes
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

_LAST = 999


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axes(ImageOptions):
    """The numbers of z that guide most, and what they change, of models that are guided by their encoder."""

    image: tuple[str, ...] = ("faces:?n=16",)
    """Images that strengths are means over: files, "patterns", folders, zips, KIND:ROOT. The first is shown."""
    n: int = 6
    """Axes to show."""
    columns: int = 7
    """Values of each."""
    reach: float = 2.5
    """The largest, and the smallest but for its sign."""
    steps: int = 10
    """Times at which strengths are measured."""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure; writes OUT.csv.

        Raises:
            UserError: what cannot be opened, or a model whose numbers of z do not guide.
        """
        require_format(self.out, moving=False)
        scene = Scene.of(self, load)
        times = [int(t) for t in np.linspace(0, _LAST, self.steps).round()]
        found = strengths(scene, times)
        mean = found.mean((0, 1))
        ranked = np.argsort(-mean, kind="stable")
        write_csv(self.out.with_suffix(".csv"), found, times, ranked)
        values = np.linspace(-self.reach, self.reach, self.columns)
        rows = {}
        for axis in ranked[: self.n]:
            peak = times[int(found.mean(1)[:, axis].argmax())]
            rows[f"z {axis}: {mean[axis] / mean.sum():.0%}, most at t={peak}"] = self._moved(scene, int(axis), values)
        about = f"{len(scene.x)} images, {self.steps} times; shares of what all {len(mean)} numbers of z guide"
        title = scene.title("Axes that guide most", scene.evaluations)
        return [Sheet(title, [Block(rows, [f"{v:+.1f}" for v in values])], [about, *scene.notes(x_T=False)])]

    def _moved(self, scene: Scene, axis: int, values: np.ndarray) -> list[Pixels]:
        """The first image with one number of z at these values."""
        n = len(values)
        z = scene.model.encode(scene.x[:1]).repeat(n, 1)
        z[:, axis] = torch.from_numpy(values).to(z)
        x_T, noise = (scene.noise(stream, [0] * n) for stream in ("x_T", "sample"))
        start = x_T.normal((n, *scene.x.shape[1:]))
        with torch.no_grad():
            decoded = decoded_by(scene.model, z, x_T=start, sampler=scene.sampler, noise=noise)
        return pixels(decoded.images, [f"z {axis} at {v:+.1f}" for v in values])


def strengths(scene: Scene, times: list[int]) -> Float64[np.ndarray, "t n l"]:
    """How strongly each number of z guides at each time, of every image.

    Raises:
        UserError: they do not.
    """
    model = scene.model
    if not isinstance(model, GuidesByAxes):
        raise UserError(
            f"{scene.loaded.name}: expected a model that is guided by the gradient of its encoder, found "
            f"{scene.loaded.method or 'another'}. Name one that `python -m baselines.train --method sami` trained."
        )
    keys = range(len(scene.x))
    found = [model.guidance(scene.x, t, scene.noise(f"guidance at {t}", keys)) for t in times]
    return torch.stack(found).double().cpu().numpy()


def write_csv(path: Path, found: Float64[np.ndarray, "t n l"], times: list[int], ranked: np.ndarray) -> None:
    """A row an axis and time, the strongest axis first."""
    n = found.shape[1]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "axis", "t", "strength", "stderr"])
        for rank, axis in enumerate(ranked, 1):
            for t, values in zip(times, found[:, :, axis], strict=True):
                error = values.std(ddof=1) / n**0.5 if n > 1 else ""
                writer.writerow([rank, int(axis), t, float(values.mean()), error and float(error)])
