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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from baselines.interface import LoadedModel, RepresentationModel
from benchmarks.extractors import perceptual
from benchmarks.extractors.features import LPIPS_FILES
from benchmarks.extractors.weights import there
from benchmarks.reconstruction.report import draw_sweep, format_sweep
from benchmarks.reconstruction.study import ProtocolName, ReconstructionStudy
from benchmarks.results import Record, RecordFile, beside
from benchmarks.runner import Benchmark, Lack, ReadingOptions, Session
from benchmarks.subjects import SettingOptions, cells_of, cells_of_data, encoder_of, on_device, reads_latents, split_of
from dbae.data import ImageDataset
from dbae.support.errors import UserError

TASK_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionOptions(ReadingOptions):
    """Options of the command."""

    out: Path = Path("runs/reconstruction.csv")
    """The results file; rows are added to what it has."""
    split: str = ""
    """Which images to reconstruct; default: the split test where there is one, else all."""
    protocol: tuple[ProtocolName, ...] = ("paper",)
    """paper: z drawn from the posterior, as the released code always does; standard: its mean."""
    settings: tyro.conf.OmitArgPrefixes[SettingOptions] = SettingOptions()
    lpips_weights: tuple[Path, ...] = ()
    """AlexNet's or VGG's weights (torchvision's files); default: those found on this machine."""
    seed: int = 0
    """Seed of z and of the samplers' noise."""


class Reconstruction(Benchmark[ReconstructionOptions, Record]):
    """Every sampler and budget of every model."""

    name, options, decoded = "reconstruction", ReconstructionOptions, True

    def begin(self, options: ReconstructionOptions, session: Session) -> dict[str, perceptual.Distance]:
        """LPIPS, as far as its weights are there."""
        return perceptual.available(options.lpips_weights, session.device)

    def possible(
        self, options: ReconstructionOptions, loaded: LoadedModel, dataset: ImageDataset | None
    ) -> tuple[ReconstructionOptions, list[Lack]]:
        """LPIPS may have no weights."""
        if options.lpips_weights or there((LPIPS_FILES["alex"],)):
            return options, []
        remedy = f"put {LPIPS_FILES['alex'].url} into $DBAE_WEIGHTS_DIR"
        return options, [Lack("AlexNet's weights", "LPIPS is left out", remedy, metric="LPIPS")]

    def work(
        self, options: ReconstructionOptions, model: RepresentationModel, dataset: ImageDataset | None
    ) -> tuple[int, int]:
        """Every setting's evaluations."""
        assert dataset is not None
        images = len(dataset.split(split_of(dataset, options.split))[: options.limit])
        return images, sum(s.sampler.nfe + s.encode_steps for s in options.settings.settings(model))

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: ReconstructionOptions, shared: Any
    ) -> list[Record]:
        """One record a protocol, setting and metric."""
        settings = options.settings.settings(loaded.model)
        study = _study(loaded, dataset, session, options, shared)
        return [row for protocol in options.protocol for setting in settings for row in study.rows(protocol, setting)]

    def report(self, options: ReconstructionOptions, found: Sequence[Record]) -> list[Path]:
        """The sweep as a table, and all of OUT as a figure."""
        print(format_sweep(found))
        figure = beside(options.out, "_nfe.png")
        draw_sweep(RecordFile(options.out).read(), figure)
        return [beside(options.out, "_images"), figure]


def _study(
    loaded: LoadedModel,
    dataset: ImageDataset,
    session: Session,
    options: ReconstructionOptions,
    lpips: dict[str, perceptual.Distance],
) -> ReconstructionStudy:
    split = split_of(dataset, options.split)
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
    model, latents = on_device(loaded.model, session.device), None
    if reads_latents(model):
        latents = session.latents().get(encoder_of(model, loaded.name, loaded, session.device), dataset, indices)
    return ReconstructionStudy(model, dataset, indices, latents, columns, session, options.seed, lpips)


RECONSTRUCTION = Reconstruction()
run, command = RECONSTRUCTION.run, RECONSTRUCTION.command
