r"""Disentanglement: does one latent dimension, and only that one, carry an attribute? (DBAE, Table 3 and Figure 4)

TAD and ATTRS under the three protocols that published rows come from; MIG, SAP, DCI and the FactorVAE score where the
factors of the images are known. Three controls stand beside every model: the same encoder untrained, PCA, random z.

The built-in model on drawn faces; nothing is downloaded:

    python -m benchmarks.disentanglement --data 'faces:?n=2000'

Checkpoints of several total-correlation weights, with the FID that benchmarks.generation measured of each:

    python -m benchmarks.disentanglement --ckpt tc-0.safetensors tc-1.safetensors tc-10.safetensors \
        --data celeba --generation results/mine/generation.csv --out results/mine/disentanglement.csv

Data whose factors are known, as drawn disks or dSprites, and labelled data whose columns are the factors behind it:

    python -m benchmarks.disentanglement --data disks --factor-images 2000
    python -m benchmarks.disentanglement --data 'dsprites:dsprites.npz?n=20000' --factor-images 10000
    python -m benchmarks.disentanglement --data zip:rooms.zip --factors floor_hue wall_hue scale

Scores beside those published of FDAE, DisDiff and DiffAE (results/paper/factors.csv), which took so many images:

    python -m benchmarks.disentanglement --data shapes3d:3dshapes.h5 --factor-protocol fdae --factor-images 10000

OUT has one row a model, protocol and metric, OUT_attributes.csv every attribute, and OUT_tc.png shows TAD against FID
where OUT has checkpoints of two or more total-correlation weights. Numbers of different protocols, or of
other numbers of images, must not be compared. A killed run continues where it stopped; latents are kept in $DBAE_CACHE.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from baselines.interface import LoadedModel
from benchmarks.disentanglement.report import draw_tradeoff, format_rows, published_scores
from benchmarks.disentanglement.study import DisentanglementStudy, FactorProtocol, Z, labels_of
from benchmarks.metrics.disentanglement import ProtocolName
from benchmarks.results import Record, RecordFile, beside
from benchmarks.runner import Benchmark, Lack, ReadingOptions, Session
from benchmarks.subjects import limited, subjects_of
from dbae.checkpoints import own as checkpoint
from dbae.data import ImageDataset
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar


@dataclasses.dataclass(frozen=True, kw_only=True)
class DisentanglementOptions(ReadingOptions):
    """Options of the command."""

    data: tuple[str, ...] = ("faces",)
    """Data sets with binary labels or known factors to measure on, KIND:ROOT[?size=..&n=..]."""
    out: Path = Path("runs/disentanglement.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[ProtocolName, ...] = ("paper", "infodiffusion", "standard")
    """How TAD and ATTRS are computed: as each of the published programs does, or soundly (standard)."""
    z: tuple[Z, ...] = ("mean",)
    """Posterior means or draws, of the first two protocols; which of them the paper took is not known."""
    factors: tuple[str, ...] = ()
    """Label columns that are the factors behind the images; default: those that the data set names, as faces do.
    Rows of others have them in their protocol."""
    factor_protocol: tuple[FactorProtocol, ...] = ("standard",)
    """Scores against factors: of z as it is, or of its first 36 principal components, as published (fdae)."""
    factor_images: int = 1000
    """Images to fit, and to test, scores against factors on; the field takes 10000, which costs minutes a factor."""
    generation: tuple[Path, ...] = ()
    """Results of benchmarks.generation, to show FIDs of the same checkpoints."""
    batch_size: int = 128
    """Images encoded at a time; changes no number beyond rounding."""

    least: ClassVar[dict[str, int]] = {**ReadingOptions.least, "limit": 10, "factor_images": 10}
    different: ClassVar[tuple[str, ...]] = (*ReadingOptions.different, "factor_protocol")

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        super().check()
        for path in self.generation:
            if not path.is_file():
                raise UserError(f"--generation {path}: no such file; python -m benchmarks.generation --out writes one.")


class Disentanglement(Benchmark[DisentanglementOptions, Record]):
    """Every model and its controls, but for single attributes, which are in a file of their own."""

    name, options = "disentanglement", DisentanglementOptions

    def possible(
        self, options: DisentanglementOptions, loaded: LoadedModel, dataset: ImageDataset | None
    ) -> tuple[DisentanglementOptions, list[Lack]]:
        """Binary labels or factors. Raises UserError where the data set has neither."""
        assert dataset is not None
        labels_of(dataset, options.factors)
        return options, []

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: DisentanglementOptions, shared: Any
    ) -> list[Record]:
        """All rows of one model and its controls."""
        dataset = limited(dataset, options.limit)
        study = DisentanglementStudy(dataset, session, factors=options.factors, factor_images=options.factor_images)
        train = dataset.split("train" if "train" in dataset.splits else "all")
        subjects = subjects_of(loaded, dataset, train, session.latents(options.batch_size))
        rows = []
        if (weight := tc_weight(loaded)) is not None:
            rows.append(study.setting_row(subjects[0], "TC_weight", weight))
        settings = dict.fromkeys((p, "mean" if p == "standard" else z) for p in options.protocol for z in options.z)
        with progress_bar(len(subjects), f"{loaded.name} on {dataset.name}", unit="model") as bar:
            for subject in subjects:
                for protocol, z in settings:
                    rows += study.rows(subject, protocol, z)
                for factor_protocol in options.factor_protocol:
                    rows += study.factor_rows(subject, factor_protocol)
                bar.update(1)
        return rows

    def report(self, options: DisentanglementOptions, found: Sequence[Record]) -> list[Path]:
        """Tables, and TAD against FID where OUT has models of several total-correlation weights."""
        distances = [r for path in options.generation for r in RecordFile(path).read() if r.task == "generation"]
        print(format_rows(found, distances, published_scores(found) if not options.factors else ()))
        figure = beside(options.out, "_tc.png")
        drawn = draw_tradeoff(RecordFile(options.out).read(), distances, figure)
        attributes = beside(options.out, "_attributes.csv")
        return [*([attributes] if attributes.exists() else []), *([figure] if drawn else [])]


def tc_weight(loaded: LoadedModel) -> float | None:
    """Weight of the total correlation in the model's training; None where we did not train it."""
    path = loaded.path
    if path is None or not checkpoint.is_own(path):
        return None
    card, _ = checkpoint.read(path)
    return float(card.objective.get("tc_weight", 0.0)) if card.images_seen else None


DISENTANGLEMENT = Disentanglement()
run, command = DISENTANGLEMENT.run, DISENTANGLEMENT.command
