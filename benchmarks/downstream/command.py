r"""Attribute prediction: how well a linear map reads attributes from the latents of frozen encoders (DBAE, Table 1).

Binary attributes give AP, continuous ones Pearson r and MSE. Every run measures four controls beside the model: random
latents, the same encoder untrained, PCA of pixels at the same dimension, and prevalence.

The built-in model on drawn faces; nothing is downloaded:

    python -m benchmarks.downstream

Your checkpoint on your images, five seeds:

    python -m benchmarks.downstream --ckpt runs/utkface/last.safetensors --data zip:utkface64.zip \
        --seeds 0 1 2 3 4 --out results/utkface/downstream.csv

A quick look at the first 500 images of every split:

    python -m benchmarks.downstream --limit 500 --protocol standard --out runs/quick.csv

On four GPUs, which share the images to encode and the probes to train:

    torchrun --nproc-per-node 4 -m benchmarks.downstream --ckpt ema_0.9999_1020000.pt --data celeba

OUT has one row a model, protocol, metric and seed, and the mean over seeds with its standard error;
OUT_attributes.csv has the value of every attribute, and OUT_attributes.png shows them. A killed run continues where it
stopped. Latents are computed once and kept in $DBAE_CACHE (default ~/.cache/dbae).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from baselines.interface import LoadedModel
from benchmarks.downstream.probe import Protocol
from benchmarks.downstream.report import Table, draw_attributes, format_table
from benchmarks.downstream.study import Study
from benchmarks.results.file import Results, beside
from benchmarks.subjects.inputs import limited
from benchmarks.subjects.subject import subjects_of
from dbae.data.base import ImageDataset
from dbae.data.overlap import require_apart
from dbae.data.source import open_data
from dbae.latents import LatentCache, default_folder
from dbae.support import cli
from dbae.support.distributed import is_main
from dbae.support.errors import UserError
from dbae.support.precision import Precision

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints: files or names."""
    data: tuple[str, ...] = ("faces",)
    """Data sets, KIND:ROOT[?size=..&n=..]; they need attribute labels and the splits train and test."""
    out: Path = Path("runs/downstream.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[Protocol, ...] = ("paper", "standard")
    """paper: as the published numbers were computed; standard: shuffled, standardised z, selection on validation."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the probes."""
    limit: int | None = None
    """Use only the first LIMIT images of every split."""
    batch_size: int = 128
    """Images encoded at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Of the encoder; probes are trained in fp32."""
    device: str = "auto"
    """Where the encoder runs: auto, cpu, cuda, cuda:1."""
    workers: int = 0
    """Processes that read images; 0 reads in a thread."""
    force: bool = False
    """Measure again what OUT already has."""

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        for name in ("ckpt", "data", "protocol", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"--{name}: expected one or more different values, found {list(values)}.")
        if self.out.suffix != ".csv":
            raise UserError(f"--out {self.out}: expected a file name that ends in .csv.")
        if min(self.seeds) < 0:
            raise UserError(f"--seeds: expected 0 or more, found {min(self.seeds)}.")
        for name, least in (("limit", 2), ("batch_size", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected {least} or more.")


def run(
    options: Options,
    load: Callable[[str], LoadedModel],
    open_data: Callable[..., ImageDataset] = open_data,
) -> list[Table]:
    """Measure every checkpoint on every data set under every protocol; one table each.

    Args:
        options: the command line.
        load: checkpoint file or name -> model.
        open_data: (source, size=pixels) -> data set.

    Raises:
        UserError: an option, a file or the data is not usable; what was measured before is in the results.
    """
    require_apart(options.data, options.out)
    options.check()
    results = Results(options.out)
    cache = LatentCache(
        default_folder(),
        cli.device(options.device),
        batch_size=options.batch_size,
        workers=options.workers,
        precision=options.precision,
        progress=True,
    )
    if "standard" in options.protocol and len(options.seeds) < 3:
        log.warning("protocol standard asks for 3 seeds or more; found %d", len(options.seeds))
    tables = []
    for source in options.ckpt:
        loaded = load(source)
        for data in options.data:
            dataset = limited(open_data(data, size=loaded.model.image_size), options.limit)
            tables += _measure(loaded, dataset, cache, results, options)
    return tables


def _measure(
    loaded: LoadedModel, dataset: ImageDataset, cache: LatentCache, results: Results, options: Options
) -> list[Table]:
    """All protocols of one model on one data set."""
    if dataset.size != loaded.model.image_size:
        raise UserError(
            f"{dataset.name}: {loaded.name} takes images of {loaded.model.image_size} pixels, found {dataset.size}. "
            "Leave out size= in --data."
        )
    study = Study(dataset, results, precision=options.precision, force=options.force, world=cache.world)
    started = time.perf_counter()
    subjects = subjects_of(loaded, dataset, study.train, cache)
    tables = [study.table(subjects, protocol, options.seeds) for protocol in options.protocol]
    other = time.perf_counter() - started - study.probe_seconds
    log.info("%s on %s: encode %.1f s, probe %.1f s", loaded.name, dataset.name, other, study.probe_seconds)
    return tables


def main(options: Options) -> None:
    """Run, print the tables, draw the figure."""
    from baselines.load import load

    tables = run(options, load)
    if not is_main():
        return
    print("\n\n".join(map(format_table, tables)))
    figure = beside(options.out, "_attributes.png")
    draw_attributes(tables, figure)
    log.info("%s, %s, %s", options.out, beside(options.out, "_attributes.csv"), figure)


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.downstream`; returns the exit status."""
    return cli.run(main, Options, module="benchmarks.downstream", description=__doc__, arguments=arguments)
