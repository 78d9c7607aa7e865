"""The rows of the trajectories benchmark: how straight the paths of sequences are in the codes of every subject.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    model       besides a model and its controls: pixels, and where sequences are drawn factors, what was moved
    metric      straightness and curvature (`metrics.straightness`), means over sequences; NAME_low and NAME_high are
                the ends of the 95 % bootstrap-t interval over sequences, where there are 8 or more
    stderr      over sequences
    n           sequences; how many frames they have is in the name of drawn data

The numbers of single sequences lie beside the results (`benchmarks.results.images`), so that `benchmarks.compare` pairs
them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.metrics.bootstrap import FEWEST, paired_bootstrap
from benchmarks.metrics.straightness import path
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.results.images import ImageValues, values_path, write_values
from benchmarks.runner import Session
from benchmarks.subjects import Subject
from benchmarks.trajectories.report import Panel
from benchmarks.trajectories.sequences import Sequences
from dbae.data import ImageDataset
from dbae.images import to_float
from dbae.latents import Latents

TASK_VERSION = 1
BETTER: dict[str, Any] = {"straightness": "higher", "curvature": "lower"}
SHOWN = 4
"""Sequences in the figure."""
log = logging.getLogger(__name__)

Codes = Callable[[np.ndarray], np.ndarray]
"""Indices of images (n,) -> their codes (n, d)."""


class Measured(NamedTuple):
    """What one subject gives: its rows, and the paths of the first `SHOWN` sequences."""

    rows: list[Record]
    panel: Panel


@dataclasses.dataclass(frozen=True)
class TrajectoryStudy:
    """Rows of any subject on the sequences of one data set."""

    sequences: Sequences
    session: Session

    def measured(self, subject: Subject) -> Measured:
        """From the results where they are complete, else measured now."""
        codes = self._codes(subject)
        columns = self._columns(subject)
        ends = ("", "_low", "_high") if len(self.sequences.frames) >= FEWEST else ("",)
        metrics = [name + end for name in BETTER for end in ends]
        rows = self.session.results.find(columns, metrics) or self._measure(codes, columns)
        shown = in_plane([codes(part) for part in self.sequences.frames[:SHOWN]])
        return Measured(rows, Panel(rows[0], shown))

    def _measure(self, codes: Codes, columns: dict[str, Any]) -> list[Record]:
        started = time.perf_counter()
        found = np.array([path(codes(part)) for part in self.sequences.frames])
        still = [name for name, row in zip(self.sequences.names, found, strict=True) if np.isnan(row).any()]
        if still:
            log.warning(
                "%s: standing still in %d of %d sequences, the first %s: the mean is NaN. Leave such sequences out.",
                columns["model"], len(still), len(found), still[0],
            )  # fmt: skip
        values = dict(zip(BETTER, found.T, strict=True))
        about: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 3), **circumstances()}
        rows = [record for name in BETTER for record in _records(columns | about, name, values[name])]
        if self.session.world.is_main:
            kept = ImageValues(values, 0, columns["encode_nfe"])
            write_values(values_path(self.session.results.path, columns), kept, np.arange(len(found)), columns)
        self.session.results.add(rows)
        return rows

    def _codes(self, subject: Subject) -> Codes:
        """Codes of images; latents are computed once, in the order of the sequences."""
        if subject.model == PIXELS:
            return lambda part: subject.latents(part, 0, False).array[:, 0, 0]
        images = self.sequences.images
        found, rows = subject.latents(images, 0, False), {int(image): i for i, image in enumerate(images)}
        return lambda part: found.array[[rows[int(i)] for i in part], 0, 0]

    def _columns(self, subject: Subject) -> dict[str, Any]:
        dataset, n = self.sequences.dataset, len(self.sequences.frames)
        about = {"dataset": dataset.name, "data_sha256": dataset.fingerprint, "split": self.sequences.split, "n": n}
        counted = {"nfe": 0, "encode_nfe": subject.encode_nfe}
        return {
            "task": "trajectories",
            "protocol": "standard",
            "task_version": TASK_VERSION,
            **subject.cells,
            **about,
            **subject.z_cells("mean"),
            **counted,
            "precision": self.session.precision,
        }


PIXELS, FACTORS = "pixels", "factors"


def references(dataset: ImageDataset) -> list[Subject]:
    """What models are seen beside: the pixels themselves and, where sequences are drawn, the factors that move."""

    def pixels(indices: np.ndarray, seed: int, mirrored: bool) -> Latents:
        x = to_float(dataset.batch(indices)).flatten(1)
        return Latents(x.numpy()[:, None, None])

    def factors(indices: np.ndarray, seed: int, mirrored: bool) -> Latents:
        assert dataset.attributes is not None
        return Latents(dataset.attributes.continuous[indices, None, None].astype(np.float32))

    subjects = [Subject(model=PIXELS, latent_dim=3 * dataset.size**2, latents=pixels)]
    if dataset.factors and dataset.attributes is not None and dataset.attributes.continuous_names == dataset.factors:
        subjects.append(Subject(model=FACTORS, latent_dim=len(dataset.factors), latents=factors))
    return subjects


def in_plane(paths: list[Float[np.ndarray, "_ d"]]) -> list[Float[np.ndarray, "_ 2"]]:
    """Paths, each about its own middle, on the first two principal components of all their points.

    Where the middles stay in, sequences of different people are dots. Of one dimension, the second is 0.
    """
    points = np.concatenate([one - one.mean(axis=0, dtype=np.float64) for one in paths])
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    plane = np.zeros((len(points), 2))
    plane[:, : min(2, len(axes))] = points @ axes[:2].T
    return np.split(plane, np.cumsum([len(one) for one in paths])[:-1])


def _records(columns: dict[str, Any], name: str, values: np.ndarray) -> list[Record]:
    """The mean over sequences, and the ends of its interval where there are enough."""
    n, better = len(values), BETTER[name]
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    rows = [Record(**columns, metric=name, value=float(values.mean()), stderr=error, better=better)]
    if n >= FEWEST:
        known = np.isfinite(values).all()
        interval = paired_bootstrap(values, np.zeros(n)) if known else (math.nan,) * 3
        for end, value in zip(("low", "high"), interval[1:3], strict=True):
            rows.append(Record(**columns, metric=f"{name}_{end}", value=value, better=better))
    return rows
