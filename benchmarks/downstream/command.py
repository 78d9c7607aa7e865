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

How much a few labels are worth, beside all of them:

    python -m benchmarks.downstream --protocol standard --labels 100 500 2000 --out runs/labels.csv

At which noise levels the code of a DRL holds what:

    python -m benchmarks.downstream --ckpt drl.safetensors --data zip:faces.zip --protocol standard --times 11

On four GPUs, which share the images to encode and the probes to train:

    torchrun --nproc-per-node 4 -m benchmarks.downstream --ckpt ema_0.9999_1020000.pt --data celeba

OUT has one row a model, protocol, metric and seed, and the mean over seeds with its standard error;
OUT_attributes.csv has the value of every attribute, and OUT_attributes.png shows them; OUT_labels.png has the curves of
--labels and OUT_times.png those of --times. A killed run continues where it stopped. Latents are computed once and kept
in $DBAE_CACHE (default ~/.cache/dbae).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from baselines.interface import LoadedModel
from benchmarks.downstream.curves import draw_labels, draw_times
from benchmarks.downstream.figure import draw_attributes
from benchmarks.downstream.probe import ProbeKind, ProtocolName
from benchmarks.downstream.problems import problems_of
from benchmarks.downstream.report import Table, format_table
from benchmarks.downstream.study import DownstreamStudy
from benchmarks.downstream.times import TimesTable, format_times, measure_times
from benchmarks.downstream.trial import Manner
from benchmarks.results import beside
from benchmarks.runner import Benchmark, Lack, ReadingOptions, Session
from benchmarks.subjects import limited, subjects_at_times, subjects_of
from dbae.data import ImageDataset
from dbae.support.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownstreamOptions(ReadingOptions):
    """Options of the command."""

    data: tuple[str, ...] = ("faces",)
    """Data sets to measure on, KIND:ROOT[?size=..&n=..]; they need attribute labels and the splits train and test."""
    out: Path = Path("runs/downstream.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[ProtocolName, ...] = ("paper", "standard")
    """paper: as the published numbers were computed, with training images of binary attributes mirrored at random, also
    where a label says left or right; standard: the best linear map, its strength from validation, nothing mirrored."""
    probe: tuple[ProbeKind, ...] = ("linear",)
    """Probes of protocol standard: linear, mlp (one hidden layer), knn; the latter have protocol standard-mlp, -knn."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the probes; in protocol standard they draw the validation images (0: the split that the data have)."""
    batch_size: int = 128
    """Images encoded at a time; changes no number beyond rounding."""

    labels: tuple[int, ...] = ()
    """Numbers of labels: linear probes of protocol standard on so many training images as well, a draw of them for
    every seed; their strength is chosen by cross-validation among them."""

    times: int | None = None
    """Number of times, evenly over the noise levels: linear probes of protocol standard on z at each of them, at the
    best on validation, and at five side by side, of models whose encoder is told one."""

    least: ClassVar[dict[str, int]] = {**ReadingOptions.least, "labels": 10, "times": 1}

    @property
    def manners(self) -> list[Manner]:
        """How probes are trained, in the order of the tables."""
        standard = [Manner("standard", kind) for kind in self.probe] + [
            Manner("standard", n_train=n) for n in self.labels
        ]
        return [m for protocol in self.protocol for m in (standard if protocol == "standard" else [Manner(protocol)])]

    different: ClassVar[tuple[str, ...]] = (*ReadingOptions.different, "probe")

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        super().check()
        if self.probe != ("linear",) and "standard" not in self.protocol:
            raise UserError("--probe: protocol paper has linear probes; add --protocol standard.")
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"--labels: expected different numbers, found {list(self.labels)}. Name each once.")
        if self.labels and "standard" not in self.protocol:
            raise UserError("--labels: protocol paper trains on all labels; add --protocol standard.")
        if self.times is not None and "standard" not in self.protocol:
            raise UserError("--times: protocol paper has no best time; add --protocol standard.")


class Downstream(Benchmark[DownstreamOptions, Table | TimesTable]):
    """Every protocol of every model and its controls."""

    name, options = "downstream", DownstreamOptions

    def begin(self, options: DownstreamOptions, session: Session) -> None:
        """A word about seeds."""
        if "standard" in options.protocol and len(options.seeds) < 3:
            log.warning("protocol standard asks for 3 seeds or more; found %d", len(options.seeds))

    def possible(
        self, options: DownstreamOptions, loaded: LoadedModel, dataset: ImageDataset | None
    ) -> tuple[DownstreamOptions, list[Lack]]:
        """Labels and splits. Raises UserError where the data set has none."""
        assert dataset is not None
        problems_of(dataset)
        for split in ("train", "test"):
            dataset.split(split)
        return options, []

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: DownstreamOptions, shared: Any
    ) -> list[Table | TimesTable]:
        """One table a protocol and number of labels, and one of times."""
        dataset = limited(dataset, options.limit)
        world, force = session.world, options.force
        study = DownstreamStudy(dataset, session.results, precision=options.precision, force=force, world=world)
        study.images.require(options.labels)
        started = time.perf_counter()
        cache = session.latents(options.batch_size)
        subjects = subjects_of(loaded, dataset, study.images.train, cache)
        tables: list[Table | TimesTable] = [study.table(subjects, manner, options.seeds) for manner in options.manners]
        if options.times is not None:
            if models := subjects_at_times(loaded, subjects, dataset, cache):
                tables.append(measure_times(study, models, options.times, options.seeds))
            else:
                log.warning("%s: its encoder is told no time, so that --times adds nothing", loaded.name)
        other = time.perf_counter() - started - study.probe_seconds
        log.info("%s on %s: encode %.1f s, probe %.1f s", loaded.name, dataset.name, other, study.probe_seconds)
        return tables

    def report(self, options: DownstreamOptions, found: Sequence[Table | TimesTable]) -> list[Path]:
        """The means as tables; single attributes of all of OUT, and its curves over labels and times, as figures."""
        print("\n\n".join(format_times(t) if isinstance(t, TimesTable) else format_table(t) for t in found))
        files = [beside(options.out, "_attributes.csv"), draw_attributes(options.out)]
        return files + [file for draw in (draw_labels, draw_times) if (file := draw(options.out))]


DOWNSTREAM = Downstream()
run, command = DOWNSTREAM.run, DOWNSTREAM.command
