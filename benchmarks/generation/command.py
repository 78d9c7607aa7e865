r"""Generation: how close generated images come to real ones, as a distribution (Tables 4 and 11).

The built-in model and prior, and z from other real images; nothing is downloaded:

    python -m benchmarks.generation --prior builtin:prior --prior-nfe 50 -n 500 --nfe 10

The paper's tables for a checkpoint with a prior; Inception's weights are found in $DBAE_WEIGHTS_DIR:

    python -m benchmarks.generation --ckpt ema_0.9999_1020000.pt --prior prior.safetensors --data ffhq \
        --mode prior ae -n 50000 --nfe 250 500 1000 --churn 0.33 --out results/mine/generation.csv

Images that another program made, in a folder, a zip or guided-diffusion's npz:

    python -m benchmarks.generation --samples samples.npz --data ffhq

OUT has one row a set of images and metric: FID, KID, precision, recall, density, coverage and Inception Score with
Inception; without its weights FD-faces and so on by the extractor that comes with this package (which numbers are what:
`benchmarks.generation.distribution`). Control rows compare other real images with the real ones: no model does better
for that many images. OUT_samples/ has a sheet of every set. Generated images stay in $DBAE_CACHE/generated, so that a
killed run continues where it stopped, and another metric does not sample again.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from baselines.interface import LoadedModel, Prior, RepresentationModel
from baselines.load import load_prior
from benchmarks.extractors.features import INCEPTION_FILES, load_extractors
from benchmarks.extractors.weights import there
from benchmarks.generation.distribution import SMALLEST
from benchmarks.generation.generated import GeneratedImages
from benchmarks.generation.options import GenerationOptions
from benchmarks.generation.report import format_generation, save_sheet
from benchmarks.generation.samplefiles import open_samples, save_npz
from benchmarks.generation.source import Images, Source
from benchmarks.generation.study import GenerationStudy
from benchmarks.results import Record, beside
from benchmarks.runner import Family, Lack, Load, OpenData, Session
from benchmarks.subjects import decodes, require_names
from dbae.data import ImageDataset
from dbae.prior import AnotherPriorError, LatentSampling
from dbae.support.errors import UserError

log = logging.getLogger(__name__)


class GenerationBenchmark(Family[GenerationOptions, Record]):
    """Every checkpoint and every set of samples against every data set."""

    name, options = "generation", GenerationOptions

    def possible(
        self, options: GenerationOptions, loaded: LoadedModel, dataset: ImageDataset | None
    ) -> tuple[GenerationOptions | None, list[Lack]]:
        """A prior, for unconditional samples; weights of FID's Inception."""
        lacks = []
        if dataset is not None:
            dataset.split(options.split)
        if not options.extractor and not there(INCEPTION_FILES, options.inception_weights):
            remedy = f"put {INCEPTION_FILES[0].url} into $DBAE_WEIGHTS_DIR"
            lacks.append(Lack("FID's Inception", "FD-faces is measured in place of FID", remedy))
        if "prior" not in options.mode:
            return options, lacks
        try:
            prior_of(loaded, options)
        except UserError as error:
            left = tuple(mode for mode in options.mode if mode != "prior")
            lacks.append(
                Lack(f"a distribution of z for {loaded.name}", "unconditional samples are left out", str(error))
            )
            return (dataclasses.replace(options, mode=left) if left else None), lacks
        return options, lacks

    def work(
        self, options: GenerationOptions, model: RepresentationModel, dataset: ImageDataset | None
    ) -> tuple[int, int]:
        """Evaluations of all budgets, samplers and modes."""
        methods = [m for m in options.method if m in model.samplers] or model.samplers[:1]
        images = min(options.n, options.limit or options.n)
        return images, sum(options.nfe) * len(methods) * max(len(options.mode), 1)

    def measured(self, options: GenerationOptions, session: Session, load: Load, open_data: OpenData) -> list[Record]:
        """All rows, on rank 0. Models and samples of one size share the features of the real images."""
        extractors = load_extractors(
            options.extractor,
            options.inception_weights,
            device=session.device,
            execute_code=options.execute_inception_code,
        )

        @functools.cache
        def study(data: str, size: int, at_most: int) -> GenerationStudy:
            images = _images(data, size, at_most, options, open_data)
            return GenerationStudy(images, extractors, session, neighbours=options.neighbours)

        rows: list[Record] = []
        for name in options.samples:
            rows += _measure_samples(open_samples(name), options, study)
        for name in options.models:
            loaded = require_names(load(name))
            if not decodes(loaded, self.name):
                continue
            prior = prior_of(loaded, options)
            for data in options.data:
                compared = study(data, loaded.model.image_size, options.n)
                source = Source(
                    loaded,
                    prior,
                    compared.images,
                    seed=options.seed,
                    precision=options.precision,
                    device=session.device,
                )
                rows += _measure_model(source, options, compared)
        return list({row.identity: row for row in rows}.values())

    def report(self, options: GenerationOptions, found: Sequence[Record]) -> list[Path]:
        """One table, a line a set of images; sheets are there already."""
        print(format_generation(found))
        sheets = beside(options.out, "_samples")
        return [sheets] if sheets.exists() else []


def _measure_model(source: Source, options: GenerationOptions, study: GenerationStudy) -> list[Record]:
    if shared := len(study.images.others) - len(study.images.unseen):
        name = study.images.dataset.name
        log.warning("%s: %d images are both encoded and compared with, as there are no others.", name, shared)
    rows = []
    for setting in list(options.settings(source)):  # all are possible before the first is generated
        found, generated = study.generated(source, setting, images_needed=options.save_npz)
        rows += found
        if generated is not None and study.world.is_main:
            _keep(generated, found[0], options)
    return rows + _controls(study, options)


def _measure_samples(
    samples: ImageDataset, options: GenerationOptions, study_of: Callable[..., GenerationStudy]
) -> list[Record]:
    if len(samples) < SMALLEST:
        raise UserError(f"--samples: expected {SMALLEST} or more images in {samples.name}, found {len(samples)}.")
    rows = []
    for data in options.data:
        study = study_of(data, samples.size, len(samples))
        for protocol in options.protocol:
            columns = {
                "protocol": protocol,
                "model": samples.name,
                "weights": "trained",
                "checkpoint_sha256": samples.fingerprint,
                "seed": str(options.seed),
            }
            rows += study.rows(columns, samples, np.arange(study.images.n))
        rows += _controls(study, options)
    return rows


def _images(data: str, size: int, at_most: int, options: GenerationOptions, open_data: OpenData) -> Images:
    dataset = open_data(data, size=size)
    if dataset.size != size:
        raise UserError(
            f"--data {data}: expected images of {size} pixels, as the generated ones are, found {dataset.size}. "
            "Leave out size=."
        )
    n = min(options.n, at_most, options.n if options.limit is None else options.limit)
    return Images.of(dataset, options.split, n, options.seed)


def prior_of(loaded: LoadedModel, options: GenerationOptions) -> Prior | None:
    """The distribution of z for a model: the checkpoint's own, if it is learned, else --prior, else N(0, I) by nature.

    A --prior of another model is passed over where a model has N(0, I), so that one command may measure several; the
    log says so.
    """
    prior = loaded.prior
    if options.prior is not None and not isinstance(prior, nn.Module):
        try:
            prior = load_prior(options.prior, of=loaded)
        except AnotherPriorError:
            if prior is None:
                raise
            log.warning("%s: --prior %s is of another autoencoder; z is drawn from N(0, I)", loaded.name, options.prior)
    if prior is None and "prior" in options.mode:
        raise UserError(
            f"{loaded.name}: --mode prior needs a distribution of z, and the checkpoint has none. Name one with "
            "--prior FILE (python -m baselines.train_prior makes it), or use --mode ae."
        )
    told: dict[str, Any] = {} if options.prior_nfe is None else {"steps": options.prior_nfe}
    if options.prior_clip != "native":
        told["clip"] = {"none": False, "both": True}.get(options.prior_clip, options.prior_clip)
    if prior is not None and told:
        if not isinstance(getattr(prior, "sampling", None), LatentSampling):
            raise UserError(f"--prior-nfe, --prior-clip: the prior of {loaded.name} is no diffusion model.")
        prior.sampling = dataclasses.replace(prior.sampling, **told)  # type: ignore[attr-defined]
    return prior


def _controls(study: GenerationStudy, options: GenerationOptions) -> list[Record]:
    return [row for protocol in options.protocol for row in study.control(protocol, options.seed)]


def _keep(images: GeneratedImages, row: Record, options: GenerationOptions) -> None:
    """Write the sheet of a set, and its npz if asked to."""
    about = f"{row.model} z={row.z} x_T={row.x_T} {row.sampler} nfe={row.nfe} {images.folder.name[:8]}"
    path = beside(options.out, "_samples") / re.sub(r"[^\w.=-]+", "_", about)
    save_sheet(images, path.with_name(f"{path.name}.png"))
    if options.save_npz:
        save_npz(images, path.with_name(f"{path.name}.npz"))


GENERATION = GenerationBenchmark()
run, command = GENERATION.run, GENERATION.command
