r"""Variation: what differs between many reconstructions of one image (DBAE, Figures 3 and 10).

What z and x_T do not hold, the sampler has to draw. 100 reconstructions of each of four faces by the built-in model:

    python -m benchmarks.variation

Your checkpoint, the paper's sampler with churn beside the deterministic one:

    python -m benchmarks.variation --ckpt ema_0.9999_1020000.pt --data zip:faces.zip --nfe 20 --churn 0.33
    python -m benchmarks.variation --ckpt ema_0.9999_1020000.pt --data zip:faces.zip --nfe 20

A draw is whatever the model draws: z (protocol paper, of a stochastic encoder), a random x_T, the sampler's noise. A
model that draws nothing varies by nothing. OUT has the means over images; OUT_images/ has one npz a setting with every
image's mean, standard deviation map and values; OUT_draws.png shows the image, their mean, the map and three draws. A
killed run continues where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import tyro

from baselines.interface import LoadedModel
from benchmarks.extractors import perceptual
from benchmarks.reconstruction.study import ProtocolName
from benchmarks.results import beside
from benchmarks.runner import Benchmark, DataOptions, Session
from benchmarks.subjects import SettingOptions, on_device, split_of
from benchmarks.variation.report import draw_maps, format_variation
from benchmarks.variation.study import VariationStudy, Varied
from dbae.data import ImageDataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariationOptions(DataOptions):
    """Options of the command."""

    out: Path = Path("runs/variation.csv")
    """The results file; rows are added to what it has."""
    split: str = ""
    """Which images to reconstruct; default: the split test where there is one, else all."""
    draws: int = 100
    """Reconstructions of each image."""
    draw_images: int = 4
    """How many images: the first of the split."""
    protocol: tuple[ProtocolName, ...] = ("paper",)
    """paper: z drawn from the posterior for every reconstruction; standard: its mean for all of them."""
    settings: tyro.conf.OmitArgPrefixes[SettingOptions] = SettingOptions(nfe=(10,))
    lpips_weights: tuple[Path, ...] = ()
    """AlexNet's or VGG's weights (torchvision's files); default: those found on this machine."""
    seed: int = 0
    """Seed of every draw."""
    batch_size: int = 50
    """Reconstructions sampled at a time; changes no number beyond rounding."""

    least: ClassVar[dict[str, int]] = {**DataOptions.least, "draws": 2, "draw_images": 1}


class Variation(Benchmark[VariationOptions, Varied]):
    """Many reconstructions of a few images, in every setting of every model."""

    name, options, decoded = "variation", VariationOptions, True

    def begin(self, options: VariationOptions, session: Session) -> dict[str, perceptual.Distance]:
        """LPIPS, as far as its weights are there."""
        return perceptual.available(options.lpips_weights, session.device)

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: VariationOptions, shared: Any
    ) -> list[Varied]:
        """Rows and pictures of every protocol and setting."""
        on_device(loaded.model, session.device)
        split = split_of(dataset, options.split)
        indices = dataset.split(split)[: options.draw_images]
        study = VariationStudy(loaded, dataset, split, indices, options.draws, session, options.seed, shared)
        settings = options.settings.settings(loaded.model)
        return [study.rows(protocol, setting) for protocol in options.protocol for setting in settings]

    def report(self, options: VariationOptions, found: Sequence[Varied]) -> list[Path]:
        """The means as a table, the maps as a figure."""
        print(format_variation([row for varied in found for row in varied.rows]))
        figure = beside(options.out, "_draws.png")
        draw_maps([varied.shown for varied in found], figure)
        return [beside(options.out, "_images"), figure]


VARIATION = Variation()
run, command = VARIATION.run, VARIATION.command
