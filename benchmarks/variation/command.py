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
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from benchmarks.extractors import perceptual
from benchmarks.reconstruction.study import Protocol, Running
from benchmarks.results.file import beside
from benchmarks.results.record import Record, RecordFile
from benchmarks.subjects.decoding import on_device
from benchmarks.subjects.inputs import require_size
from benchmarks.subjects.settings import SettingOptions
from benchmarks.subjects.subject import Loaded
from benchmarks.variation.report import Shown, draw_maps, format_variation
from benchmarks.variation.study import Study
from dbae.data.base import ImageDataset
from dbae.data.overlap import require_apart
from dbae.data.source import open_data
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.precision import Precision

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints: files or names."""
    data: tuple[str, ...] = ("faces",)
    """Data sets, KIND:ROOT[?size=..&n=..]."""
    split: str = ""
    """Which images; default: the split test where there is one, else all."""
    out: Path = Path("runs/variation.csv")
    """The results file; rows are added to what it has."""
    draws: int = 100
    """Reconstructions of each image."""
    draw_images: int = 4
    """How many images: the first of the split."""
    protocol: tuple[Protocol, ...] = ("paper",)
    """paper: z drawn from the posterior for every reconstruction; standard: its mean for all of them."""
    settings: tyro.conf.OmitArgPrefixes[SettingOptions] = SettingOptions(nfe=(10,))
    lpips_weights: tuple[Path, ...] = ()
    """AlexNet's or VGG's weights (torchvision's files); default: those found on this machine."""
    seed: int = 0
    """Of every draw."""
    batch_size: int = 50
    """Reconstructions sampled at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Of the networks."""
    device: str = "auto"
    """Where they run: auto, cpu, cuda, cuda:1."""
    force: bool = False
    """Measure again what OUT already has."""


def run(
    options: Options, load: Callable[[str], Loaded], open_data: Callable[..., ImageDataset] = open_data
) -> tuple[list[Record], list[Shown]]:
    """Measure every checkpoint on every data set; the rows, and what the figure shows of them.

    Args:
        options: the command line.
        load: checkpoint file or name -> model.
        open_data: (source, size=pixels) -> data set.

    Raises:
        UserError: an option, a file or the data is not usable; what was measured before is in the results.
    """
    require_apart(options.data, options.out)
    for name, least in (("draws", 2), ("draw_images", 1), ("batch_size", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected {least} or more.")
    device = cli.device(options.device)
    running = Running(
        device,
        precision=options.precision,
        batch_size=options.batch_size,
        seed=options.seed,
        force=options.force,
        lpips=perceptual.available(options.lpips_weights, device),
        world=distributed.world(device),
    )
    rows, shown = [], []
    for source in options.ckpt:
        loaded = load(source)
        on_device(loaded.model, device)
        for data in options.data:
            dataset = open_data(data, size=loaded.model.image_size)
            require_size(loaded, dataset)
            split = options.split or ("test" if "test" in dataset.splits else "all")
            indices = dataset.split(split)[: options.draw_images]
            study = Study(loaded, dataset, split, indices, options.draws, running)
            for protocol in options.protocol:
                for setting in options.settings.settings(loaded.model):
                    records, pictures = study.rows(protocol, setting, RecordFile(options.out))
                    rows += records
                    shown.append(pictures)
    return rows, shown


def main(options: Options) -> None:
    """Run, print the table, draw the figure."""
    from baselines.load import load

    rows, shown = run(options, load)
    if not rows or not distributed.is_main():
        return
    print(format_variation(rows))
    figure = beside(options.out, "_draws.png")
    draw_maps(shown, figure)
    log.info("%s, %s, %s", options.out, beside(options.out, "_images"), figure)


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.variation`; returns the exit status."""
    return cli.run(main, Options, module="benchmarks.variation", description=__doc__, arguments=arguments)
