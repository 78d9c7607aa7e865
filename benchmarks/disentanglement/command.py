r"""Disentanglement: does one latent dimension, and only that one, carry an attribute? (DBAE, Table 3 and Figure 4)

TAD and ATTRS under the three protocols that published rows come from; MIG, SAP, DCI and the FactorVAE score where the
factors of the images are known. Three controls stand beside every model: the same encoder untrained, PCA, random z.

The built-in model on drawn faces; nothing is downloaded:

    python -m benchmarks.disentanglement --limit 500

Checkpoints of several total-correlation weights, with the FID that benchmarks.generation measured of each:

    python -m benchmarks.disentanglement --ckpt tc-0.safetensors tc-1.safetensors tc-10.safetensors \
        --data celeba --generation results/mine/generation.csv --out results/mine/disentanglement.csv

Any labelled data whose label columns are the factors behind it (3DShapes, dSprites, as a zip with labels):

    python -m benchmarks.disentanglement --data zip:shapes3d.zip --factors floor_hue wall_hue object_hue scale shape

OUT has one row a model, protocol and metric, OUT_attributes.csv every attribute, and OUT_tc.png shows TAD against FID
where OUT has checkpoints of two or more total-correlation weights. Numbers of different protocols, or of
other numbers of images, must not be compared. A killed run continues where it stopped; latents are kept in $DBAE_CACHE.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.disentanglement.report import draw_tradeoff, format_rows
from benchmarks.disentanglement.study import Study, Z
from benchmarks.metrics.disentanglement import Protocol
from benchmarks.results.file import Results, beside
from benchmarks.results.record import Record, RecordFile
from benchmarks.subjects.inputs import limited, require_size
from benchmarks.subjects.subject import Loaded, subjects_of
from dbae.checkpoints import own as checkpoint
from dbae.data.base import ImageDataset
from dbae.data.overlap import require_apart
from dbae.data.source import open_data
from dbae.latents import LatentCache, default_folder
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.precision import Precision
from dbae.support.progress import progress_bar

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints: files or names."""
    data: tuple[str, ...] = ("faces",)
    """Data sets with binary labels, KIND:ROOT[?size=..&n=..]."""
    out: Path = Path("runs/disentanglement.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[Protocol, ...] = ("paper", "infodiffusion", "standard")
    """Of TAD and ATTRS."""
    z: tuple[Z, ...] = ("mean",)
    """Posterior means or draws, of the first two protocols; which of them the paper took is not known."""
    factors: tuple[str, ...] = ()
    """Label columns that are the factors behind the images; default: those that the data set names, as faces do."""
    factor_images: int = 1000
    """Images to fit, and to test, scores against factors on; the field takes 10000, which costs minutes a factor."""
    generation: tuple[Path, ...] = ()
    """Results of benchmarks.generation, to show FIDs of the same checkpoints."""
    limit: int | None = None
    """Use only the first LIMIT images of every split."""
    batch_size: int = 128
    """Images encoded at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Of the encoder."""
    device: str = "auto"
    """Where the encoder runs: auto, cpu, cuda, cuda:1."""
    workers: int = 0
    """Processes that read images; 0 reads in a thread."""
    force: bool = False
    """Measure again what OUT already has."""

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        for name, least in (("limit", 10), ("factor_images", 10), ("batch_size", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected {least} or more.")
        for path in self.generation:
            if not path.is_file():
                raise UserError(f"--generation {path}: no such file; python -m benchmarks.generation --out writes one.")


def run(
    options: Options, load: Callable[[str], Loaded], open_data: Callable[..., ImageDataset] = open_data
) -> list[Record]:
    """Measure every checkpoint, and its controls, on every data set; all rows of this command but single attributes.

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
    device = cli.device(options.device)
    cache = LatentCache(default_folder(), device, options.batch_size, options.workers, options.precision, progress=True)
    rows = []
    for source in options.ckpt:
        loaded = load(source)
        for data in options.data:
            dataset = limited(open_data(data, size=loaded.model.image_size), options.limit)
            require_size(loaded, dataset)
            rows += _measure(loaded, dataset, cache, results, options)
    return rows


def _measure(
    loaded: Loaded, dataset: ImageDataset, cache: LatentCache, results: Results, options: Options
) -> list[Record]:
    """All rows of one model and its controls on one data set."""
    study = Study(
        dataset,
        results,
        factors=options.factors,
        factor_images=options.factor_images,
        precision=options.precision,
        force=options.force,
        world=cache.world,
    )
    train = dataset.split("train" if "train" in dataset.splits else "all")
    subjects = subjects_of(loaded, dataset, train, cache)
    rows = []
    if (weight := tc_weight(loaded)) is not None:
        rows.append(study.setting_row(subjects[0], "TC_weight", weight))
    with progress_bar(len(subjects), f"{loaded.name} on {dataset.name}", unit="model") as bar:
        for subject in subjects:
            settings = dict.fromkeys((p, "mean" if p == "standard" else z) for p in options.protocol for z in options.z)
            for protocol, z in settings:
                rows += study.rows(subject, protocol, z)
            rows += study.factor_rows(subject)
            bar.update(1)
    return rows


def tc_weight(loaded: Loaded) -> float | None:
    """Weight of the total correlation in the model's training; None where we did not train it."""
    path = getattr(loaded, "path", None)
    if path is None or path.suffix != ".safetensors":
        return None
    card, _ = checkpoint.read(path)
    return float(card.objective.get("tc_weight", 0.0)) if card.images_seen else None


def main(options: Options) -> None:
    """Run, print the tables, draw the figure."""
    from baselines.load import load

    rows = run(options, load)
    distances = [r for path in options.generation for r in RecordFile(path).read() if r.task == "generation"]
    if not distributed.is_main():
        return
    print(format_rows(rows, distances))
    written = [str(options.out), str(beside(options.out, "_attributes.csv"))]
    if draw_tradeoff(RecordFile(options.out).read(), distances, beside(options.out, "_tc.png")):
        written.append(str(beside(options.out, "_tc.png")))
    log.info("%s", ", ".join(written))


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.disentanglement`; returns the exit status."""
    return cli.run(main, Options, module="benchmarks.disentanglement", description=__doc__, arguments=arguments)
