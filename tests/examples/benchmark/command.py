"""Dimension: how many dimensions of z are used.

python -m benchmarks.dimension --data "faces?n=40"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.metrics.dimension import participation_ratio

from baselines.interface import LoadedModel
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.runner import Benchmark, ReadingOptions, Session
from benchmarks.subjects.inputs import cells_of, cells_of_data, limited
from benchmarks.subjects.subject import encoder_of
from dbae.data.base import ImageDataset
from dbae.support.text import columns

TASK_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DimensionOptions(ReadingOptions):
    """Options of the command."""

    out: Path = Path("runs/dimension.csv")
    """The results file; rows are added to what it has."""


class Dimension(Benchmark[DimensionOptions, Record]):
    """One number a model and data set."""

    name, options = "dimension", DimensionOptions

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: DimensionOptions, shared: Any
    ) -> list[Record]:
        """From the results where it is there, else measured now and added."""
        dataset = limited(dataset, options.limit)
        asked = {
            "task": "dimension",
            "task_version": TASK_VERSION,
            "protocol": "standard",
            **cells_of(loaded),
            **cells_of_data(dataset, "all", len(dataset)),
            "z": "mean",
            "precision": options.precision,
        }
        if stored := session.results.find(asked, ["participation_ratio"]):
            return stored
        encoder = encoder_of(loaded.model, loaded.name, loaded, session.device)
        z = session.latents(options.batch_size).get(encoder, dataset, dataset.split("all")).mean().numpy()
        value = participation_ratio(z)
        row = Record(**asked, **circumstances(), metric="participation_ratio", value=value, better="higher")
        session.results.add([row])
        return [row]

    def report(self, options: DimensionOptions, found: Sequence[Record]) -> list[Path]:
        """A line a model."""
        print(columns([["model", "data", "dimensions used"], *([r.model, r.dataset, f"{r.value:.2f}"] for r in found)]))
        return []


DIMENSION = Dimension()
run, command = DIMENSION.run, DIMENSION.command
