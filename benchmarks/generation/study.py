"""The rows of the generation benchmark: every set of images x extractor.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    model       "real" in control rows: other real images; what a perfect model would get
    z           "prior 1a2b3c4d": unconditional, the digits a hash of the prior and of how it is sampled;
                "mean", "sampled": encoded from other real images (the tables' "+AE" rows)
    n           generated images that the number looks at; there are as many real ones, or all that the data has
    encode_nfe  evaluations that z took: of the encoder, or of the latent prior's own small network
    stderr      over images, real and generated (`distribution`); empty where it is not known
    checkpoint_sha256   of --samples: their fingerprint
    versions    ends with the extractor and the hash of its weights
    seconds     of sampling, summed over processes and runs; features and metrics are quick beside it
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.extractors.features import FeatureExtractor
from benchmarks.generation.distribution import Measured, Reference, features_of
from benchmarks.generation.generated import GeneratedImages, generate
from benchmarks.generation.source import Generation, Images, ProtocolName, Source
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.results.noise import digest, write_noise
from benchmarks.runner import Session
from dbae.data import ImageDataset

TASK_VERSION = 1
log = logging.getLogger(__name__)


class GenerationStudy:
    """Sets of images against the real ones.

    Args:
        images: the real ones.
        extractors: what sees them.
        session: where rows go and finished ones are found; the batch size of sampling and of features.
        neighbours: images of each kind for precision, recall, density, coverage and the Inception Score.
    """

    def __init__(
        self,
        images: Images,
        extractors: Sequence[FeatureExtractor],
        session: Session,
        *,
        neighbours: int = 10_000,
    ) -> None:
        self.images, self.results, self.world = images, session.results, session.world
        self.batch_size = session.batch_size
        self.columns = {
            "task": "generation",
            "task_version": TASK_VERSION,
            "dataset": images.dataset.name,
            "data_sha256": images.dataset.fingerprint,
            "split": images.split,
        }
        self.references = [
            Reference(e, features_of(e, images.dataset, images.real, batch_size=self.batch_size), limit=neighbours)
            for e in extractors
        ]
        if few := [e.name for e in extractors if e.dim >= len(images.real)]:
            log.warning(
                "%d images are fewer than the features of %s: Frechet distances are far too large, and only those of "
                "equal n can be compared.",
                len(images.real),
                ", ".join(few),
            )

    def generated(
        self, source: Source, setting: Generation, *, images_needed: bool = False
    ) -> tuple[list[Record], GeneratedImages | None]:
        """Rows of a model in one setting, and its images; None where all rows were there and nobody needs them."""
        columns, n = source.columns(setting), source.count(setting)
        stored = [] if images_needed else [self._stored(columns, reference, n) for reference in self.references]
        if stored and all(stored):
            return [row for rows in stored for row in rows], None
        images = generate(
            source.card(setting),
            n,
            lambda positions: source.make(setting, positions),
            world=self.world,
            batch_size=self.batch_size,
            title=f"{columns['model']}, z {columns['z']}, {setting.sampler.method} {setting.sampler.nfe}",
        )
        columns |= {"nfe": images.nfe, "encode_nfe": images.encode_nfe}
        return self.rows(columns, images, np.arange(n), seconds=images.seconds), images

    def _stored(self, columns: Mapping[str, Any], reference: Reference, n: int) -> list[Record]:
        """Rows of one extractor in the results; none unless all of its metrics are there, by these very weights."""
        found: list[Record] = []
        for count, metrics in itertools.groupby(reference.metrics(n), key=lambda metric: metric[1]):
            rows = self.results.find({**self.columns, **columns, "n": count}, [name for name, _ in metrics])
            found += rows or ()
        complete = len(found) == len(reference.metrics(n)) and all(r.versions.endswith(_name(reference)) for r in found)
        return found if complete else []

    def control(self, protocol: ProtocolName, seed: int) -> list[Record]:
        """Rows of other real images; none where there are not as many again."""
        unseen = self.images.unseen
        if len(unseen) < self.images.n:
            log.info("%s: too few images for control rows of other real ones.", self.images.dataset.name)
            return []
        columns = {"protocol": protocol, "model": "real", "weights": "control", "seed": str(seed)}
        return self.rows(columns, self.images.dataset, unseen)

    def rows(
        self, columns: Mapping[str, Any], fake: ImageDataset, indices: np.ndarray, *, seconds: float | None = None
    ) -> list[Record]:
        """One record a number, on rank 0; none on others. All processes must call this."""
        found: list[Record] = []
        for reference in self.references:
            stored = self._stored(columns, reference, len(indices))
            if not stored:
                features = features_of(reference.extractor, fake, indices, batch_size=self.batch_size)
                if self.world.is_main:
                    cells = {**self.columns, **columns}
                    over = digest(self.images.dataset.fingerprint, self.images.real)
                    stored = self._add(_records(cells, reference, reference.measure(features, over=over), seconds))
            found += stored
        return found

    def _add(self, rows: Sequence[tuple[Record, Measured]]) -> list[Record]:
        """Write rows, each one's noise first, so that no row lacks it."""
        for record, measured in rows:
            if measured.noise is not None:
                write_noise(self.results.path, record, measured.noise)
        records = [record for record, _ in rows]
        self.results.add(records)
        return records


def _records(
    cells: Mapping[str, Any], reference: Reference, measured: Sequence[Measured], seconds: float | None
) -> list[tuple[Record, Measured]]:
    about: dict[str, Any] = {**circumstances(), "seconds": None if seconds is None else round(seconds, 2)}
    about["versions"] += f"; {_name(reference)}"
    return [(Record(**cells, **about, **value.cells), value) for value in measured]


def _name(reference: Reference) -> str:
    return f"{reference.extractor.name} {reference.extractor.fingerprint[:12]}"
