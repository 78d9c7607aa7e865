"""Images from nothing: z drawn from the distribution of latents that belongs to a model."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
import tyro
from torch import nn

from baselines.sample import open_any
from benchmarks.figures.scene import Load, PictureOptions, Scene, pixels
from benchmarks.figures.sheet import Block, Sheet, require_format
from dbae.sample import Options, draw, settled

ACROSS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples(PictureOptions):
    """Images of drawn z, those that `python -m baselines.sample` makes with the same seed."""

    prior: str | None = None
    """What `python -m dbae.train_prior` wrote for this checkpoint, where it has no distribution of z of its own."""
    prior_nfe: int | None = None
    """Steps of the prior. Default: its own."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 32
    """Images."""

    def sheets(self, load: Load) -> list[Sheet]:
        """The figure.

        Raises:
            UserError: what cannot be opened, or no distribution of z.
        """
        require_format(self.out, moving=False)
        loaded = load(self.ckpt)
        scene = Scene.of(self, lambda name: loaded)
        options = Options(
            out=self.out, n=self.n, ckpt=self.ckpt, prior=self.prior, prior_nfe=self.prior_nfe, sampler=self.sampler
        )
        found = open_any(options, lambda name: loaded)
        options = settled(options, found)
        if isinstance(found.prior, nn.Module):
            found.prior.to(scene.device)
        images = draw(
            scene.model,
            found.prior,
            np.arange(self.n),
            seed=self.seed,
            sampler=options.sampler,
            endpoint_blend=options.endpoint_blend,
            precision=self.precision,
        )
        shown = pixels(images, [f"sample {i}" for i in range(self.n)])
        rows = {f"{i}": shown[i : i + ACROSS] for i in range(0, self.n, ACROSS)}
        return [Sheet(scene.title("Samples", scene.evaluations), [Block(rows)], scene.notes(x_T=False))]
