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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from tyro.conf import arg

from baselines.interface import LoadedModel, Prior, RepresentationModel
from baselines.load import load_prior
from benchmarks.extractors.features import INCEPTION_FILES, ExtractorKind, load_extractors
from benchmarks.extractors.weights import there
from benchmarks.generation.distribution import SMALLEST
from benchmarks.generation.generated import GeneratedImages
from benchmarks.generation.report import format_generation, save_sheet
from benchmarks.generation.samplefiles import open_samples, save_npz
from benchmarks.generation.source import Endpoint, Generation, Images, Mode, Protocol, Source
from benchmarks.generation.study import Study
from benchmarks.results.file import beside
from benchmarks.results.record import Record
from benchmarks.runner import DataOptions, Family, Lack, Load, OpenData, Session
from benchmarks.subjects.inputs import require_names
from benchmarks.subjects.settings import sampler
from dbae.data.base import ImageDataset
from dbae.data.overlap import require_apart
from dbae.prior import LatentSampling
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.precision import Precision

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationOptions(DataOptions):
    """Options of the command."""

    ckpt: tuple[str, ...] = ()
    """Checkpoints to measure: files or names. Default: builtin:dbae, unless there are --samples."""
    data: tuple[str, ...] = ("faces",)
    """Real images to compare with, KIND:ROOT[?size=..&n=..]."""
    split: str = "all"
    """Which of the real images."""
    out: Path = Path("runs/generation.csv")
    """The results file; rows are added to what it has."""
    prior: str | None = None
    """Prior over z for checkpoints without one of their own: a file of `python -m dbae.train_prior`, or a name."""
    prior_nfe: int | None = None
    """Evaluations of the prior's network a draw. Default: as the prior has it, 1000 if nothing else was said."""
    samples: tuple[str, ...] = ()
    """Generated images to measure: folders, zips, or .npz files with arr_0 of uint8 (n, s, s, 3)."""
    protocol: tuple[Protocol, ...] = ("paper",)
    """paper: z drawn from the posterior, as the released code always does, and PDAE's last steps without a prior's z;
    standard: the mean of the posterior, and all steps with z."""
    mode: tuple[Mode, ...] = ()
    """prior: unconditional; ae: z from other real images ("+AE"). Default: both, prior where there is one."""
    x_T: tuple[Endpoint, ...] = ("own",)
    """own: as the model gets it from z; random: N(0, I) in any case; a number from 0 to 1: own for that share of the
    images, random for the others."""
    method: tuple[str, ...] = ()
    """Samplers; those that a model lacks are left out. Default: the model's own."""
    nfe: tuple[int, ...] = (100,)
    """Budgets of network evaluations an image."""
    churn: float = 0.0
    """Share of every step that is stochastic (ddbm_*); 0.33 is taken to be the paper's."""
    eta: float = 0.0
    """Noise of dbim and ddim."""
    end_data: float = 0.5
    """0.5 as trained; 0.0 as the released evaluation scripts (samplers of a bridge)."""
    boot_noise: bool = True
    """Noise in the first step of dbim* and dbms2."""
    n: Annotated[int, arg(aliases=("-n",))] = 50_000
    """Images to generate, and real ones to compare them with, as far as the data has them."""
    limit: int | None = None
    """No more than LIMIT of either, for a trial."""
    neighbours: int = 10_000
    """Images of each kind for precision, recall, density, coverage and the Inception Score."""
    extractor: tuple[ExtractorKind, ...] = ()
    """The network that sees the images. Default: inception where its weights are found, else faces."""
    inception_weights: Path | None = None
    """Weights of FID's Inception. Default: looked for in $DBAE_WEIGHTS_DIR and PyTorch's cache."""
    save_npz: bool = False
    """Also write generated images in guided-diffusion's format, to OUT_samples/."""
    seed: int = 0
    """Seed of z, x_T and the samplers' noise, and of the choice of real images."""
    batch_size: int = 64
    """Images sampled at a time, at most 256; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Arithmetic of the generating networks; extractors are fp32."""
    force: bool = False
    """Measure again what OUT already has, with the images that are there."""

    different: ClassVar[tuple[str, ...]] = ("data", "protocol")

    def __post_init__(self) -> None:
        if wrong := [x for x in self.x_T if isinstance(x, float) and not 0 <= x <= 1]:
            raise UserError(f"--x-T: expected own, random or a number from 0 to 1, found {wrong[0]:g}.")

    def check(self) -> None:
        """Raises UserError naming the option that cannot be, or a folder that is both read and written."""
        super().check()
        require_apart(self.samples, self.out)

    @property
    def models(self) -> tuple[str, ...]:
        """Checkpoints to measure."""
        return self.ckpt or (() if self.samples else ("builtin:dbae",))

    def settings(self, source: Source) -> Iterator[Generation]:
        """Every way of generating to measure, cheapest first."""
        known = source.model.samplers
        methods = [m for m in self.method or known[:1] if m in known]
        if not methods:
            log.warning("%s: has none of %s, only %s.", source.loaded.name, ", ".join(self.method), ", ".join(known))
        endpoints = [x_T for x_T in self.x_T if source.can_start_at(x_T)]
        if len(endpoints) < len(self.x_T):
            log.warning("%s: does not blend endpoints; --x-T NUMBER is left out.", source.loaded.name)
        possible: tuple[Mode, ...] = ("prior", "ae") if source.prior else ("ae",)
        for mode in self.mode or possible:
            for protocol in self.protocol:
                for endpoint in endpoints:
                    for nfe in sorted(self.nfe):
                        for method in methods:
                            as_released = mode == "prior" and protocol == "paper"
                            stop = getattr(source.model, "prior_stop", 0.0) if as_released else 0.0
                            yield Generation(mode, protocol, endpoint, self._sampler(method, nfe, stop))

    def _sampler(self, method: str, nfe: int, stop: float) -> SamplerConfig:
        given = {name: getattr(self, name) for name in ("churn", "eta", "end_data", "boot_noise")}
        try:
            return sampler(method, nfe, **given, stop=stop)
        except ValueError as error:
            raise UserError(f"--method, --nfe, --churn, --eta or --end-data: {error}.") from error


class GenerationBenchmark(Family[GenerationOptions, Record]):
    """Every checkpoint and every set of samples against every data set."""

    name, description, options = "generation", __doc__, GenerationOptions

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
        extractors = load_extractors(options.extractor, options.inception_weights, device=session.device)

        @functools.cache
        def study(data: str, size: int, at_most: int) -> Study:
            images = _images(data, size, at_most, options, open_data)
            return Study(images, extractors, session, neighbours=options.neighbours)

        rows: list[Record] = []
        for name in options.samples:
            rows += _measure_samples(open_samples(name), options, study)
        for name in options.models:
            loaded = require_names(load(name))
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


def _measure_model(source: Source, options: GenerationOptions, study: Study) -> list[Record]:
    if shared := len(study.images.others) - len(study.images.unseen):
        name = study.images.dataset.name
        log.warning("%s: %d images are both encoded and compared with, as there are no others.", name, shared)
    rows = []
    for setting in options.settings(source):
        found, generated = study.generated(source, setting, images_needed=options.save_npz)
        rows += found
        if generated is not None and study.world.is_main:
            _keep(generated, found[0], options)
    return rows + _controls(study, options)


def _measure_samples(samples: ImageDataset, options: GenerationOptions, study_of: Callable[..., Study]) -> list[Record]:
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
    """The distribution of z for a model: of the checkpoint, else of --prior."""
    prior = loaded.prior
    if prior is None and options.prior is not None:
        prior = load_prior(options.prior, of=loaded)
    if prior is None and "prior" in options.mode:
        raise UserError(
            f"{loaded.name}: --mode prior needs a distribution of z, and the checkpoint has none. Name one with "
            "--prior FILE (python -m dbae.train_prior makes it), or use --mode ae."
        )
    if prior is not None and options.prior_nfe is not None:
        if not isinstance(getattr(prior, "sampling", None), LatentSampling):
            raise UserError(f"--prior-nfe {options.prior_nfe}: the prior of {loaded.name} is no diffusion model.")
        prior.sampling = dataclasses.replace(prior.sampling, steps=options.prior_nfe)  # type: ignore[attr-defined]
    return prior


def _controls(study: Study, options: GenerationOptions) -> list[Record]:
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
