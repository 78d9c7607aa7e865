r"""Reconstruction: how close decode(encode(x)) comes to x, against the number of network evaluations (Tables 2, 9, 10).

The built-in model on drawn faces; nothing is downloaded:

    python -m benchmarks.reconstruction --limit 200

The paper's sweep on your images, both settings of the released code's end_data:

    python -m benchmarks.reconstruction --ckpt ema_0.9999_1020000.pt --data zip:faces.zip \
        --nfe 10 20 50 100 --end-data 0.5 0.0 --out results/mine/reconstruction.csv

Fast samplers beside it, started without noise as the paper's sampler is:

    python -m benchmarks.reconstruction --method ddbm_euler dbim dbim2 --no-boot-noise --nfe 5 10 20

A model with a random or an inferred x_T gives rows of both; PDAE's long inference beside the matching one:

    python -m benchmarks.reconstruction --ckpt pdae.pt --data celebahq --encode-steps match 1000

On four GPUs:

    torchrun --nproc-per-node 4 -m benchmarks.reconstruction --ckpt ema_0.9999_1020000.pt --data celebahq

OUT has one row a sampler, budget and metric (mean over images, standard error over images); OUT_images/ has every
image's values, one npz a setting; OUT_nfe.png shows all of OUT against evaluations. `one_step` (one evaluation) is
always measured where a model has it: for pixel metrics it is a real competitor. LPIPS joins in where its weights are
found. A killed run continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from benchmarks.extractors import perceptual
from benchmarks.reconstruction.report import draw_sweep, format_sweep
from benchmarks.reconstruction.study import Protocol, Running, Study
from benchmarks.results.file import beside
from benchmarks.results.record import Record, RecordFile
from benchmarks.subjects.decoding import on_device, reads_latents
from benchmarks.subjects.inputs import cells_of, cells_of_data, require_size
from benchmarks.subjects.settings import SettingOptions
from benchmarks.subjects.subject import Loaded, encoder_of
from dbae.data.base import ImageDataset
from dbae.data.overlap import require_apart
from dbae.data.source import open_data
from dbae.latents import LatentCache, default_folder
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.precision import Precision

TASK_VERSION = 1

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
    out: Path = Path("runs/reconstruction.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[Protocol, ...] = ("paper",)
    """paper: z drawn from the posterior, as the released code always does; standard: its mean."""
    settings: tyro.conf.OmitArgPrefixes[SettingOptions] = SettingOptions()
    lpips_weights: tuple[Path, ...] = ()
    """AlexNet's or VGG's weights (torchvision's files); default: those found on this machine."""
    seed: int = 0
    """Of z and of the samplers' noise."""
    limit: int | None = None
    """Use only the first LIMIT images."""
    batch_size: int = 64
    """Images sampled at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Of the networks."""
    device: str = "auto"
    """Where they run: auto, cpu, cuda, cuda:1."""
    workers: int = 0
    """Processes that read images; 0 reads in a thread."""
    force: bool = False
    """Measure again what OUT already has."""


def run(
    options: Options, load: Callable[[str], Loaded], open_data: Callable[..., ImageDataset] = open_data
) -> list[Record]:
    """Measure every checkpoint on every data set; all rows of this command.

    Args:
        options: the command line.
        load: checkpoint file or name -> model.
        open_data: (source, size=pixels) -> data set.

    Raises:
        UserError: an option, a file or the data is not usable; what was measured before is in the results.
    """
    require_apart(options.data, options.out)
    device = cli.device(options.device)
    running = Running(
        device,
        precision=options.precision,
        batch_size=options.batch_size,
        workers=options.workers,
        seed=options.seed,
        force=options.force,
        lpips=perceptual.available(options.lpips_weights, device),
        world=distributed.world(device),
    )
    rows = []
    for source in options.ckpt:
        loaded = load(source)
        settings = options.settings.settings(loaded.model)
        for data in options.data:
            study = _study(loaded, open_data(data, size=loaded.model.image_size), running, options)
            for protocol in options.protocol:
                for setting in settings:
                    rows += study.rows(protocol, setting, RecordFile(options.out))
    return rows


def _study(loaded: Loaded, dataset: ImageDataset, running: Running, options: Options) -> Study:
    require_size(loaded, dataset)
    split = options.split or ("test" if "test" in dataset.splits else "all")
    indices = dataset.split(split)[: options.limit]
    if len(indices) < 2:
        raise UserError(f"{dataset.name}: expected 2 or more images, found {len(indices)}. Choose another --limit.")
    columns = {
        "task": "reconstruction",
        "task_version": TASK_VERSION,
        **cells_of(loaded),
        **cells_of_data(dataset, split, len(indices)),
        "seed": str(options.seed),
        "precision": options.precision,
    }
    model, latents = on_device(loaded.model, running.device), None
    if reads_latents(model):
        cache = LatentCache(
            default_folder(), running.device, workers=running.workers, precision=running.precision, progress=True
        )
        latents = cache.get(encoder_of(model, loaded.name, loaded, running.device), dataset, indices)
    return Study(model, dataset, indices, latents, columns, running)


def main(options: Options) -> None:
    """Run, print the sweep, draw the figure."""
    from baselines.load import load

    rows = run(options, load)
    if not rows or not distributed.is_main():
        return
    print(format_sweep(rows))
    figure = beside(options.out, "_nfe.png")
    draw_sweep(RecordFile(options.out).read(), figure)
    log.info("%s, %s, %s", options.out, beside(options.out, "_images"), figure)


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.reconstruction`; returns the exit status."""
    return cli.run(main, Options, module="benchmarks.reconstruction", description=__doc__, arguments=arguments)
