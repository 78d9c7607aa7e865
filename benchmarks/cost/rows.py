"""The rows of the cost benchmark.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    protocol     "architecture" for numbers of no machine (parameters, operations, NFE_...), else the processor
    attribute    part of the model that the number is of, or "to NAME": a ratio to the model of that name; else "mean"
    value        median over repetitions; of a ratio, the median of the ratios of single repetitions
    stderr       of the median (`timing.median`)
    n            images a batch; 1 for numbers of no machine
    x_T          how the endpoint was got, of rows about it; encode_nfe: steps of inferring it
    dataset      size of the images, which are noise
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from baselines.interface import LoadedModel
from benchmarks.cost.jobs import Quantity, formulas, times_of_tables
from benchmarks.cost.timing import Median, Times, median
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.subjects import cells_of

TASK_VERSION = 1
Number = tuple[str, str]
"""(metric, part of the model) of a number of no machine."""
ENDPOINT_METRICS = ("endpoint_time", "total_time_ms")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of each model: (metric, part) -> number of no machine; quantity -> ms of every repetition."""

    counts: Sequence[Mapping[Number, float]]
    times: Sequence[Mapping[Quantity, Times]]


@dataclasses.dataclass(frozen=True)
class Line:
    """A row before anything is measured: its cells, and how its value follows."""

    cells: dict[str, Any]
    value: Callable[[Measured], Median]

    def row(self, measured: Measured) -> Record:
        """The row with its value."""
        found = self.value(measured)
        return Record(**self.cells, **circumstances(), value=found.value, stderr=found.stderr)


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What all rows of a command share.

    Attributes:
        subjects: the models; ratios are to the first.
        processor: what they ran on, see `processor`.
        batch: images a batch.
    """

    subjects: Sequence[LoadedModel]
    processor: str
    batch: int
    precision: str
    infer_steps: tuple[int, ...]

    def lines(self, counted: Sequence[Iterable[Number]], timed: Sequence[Collection[str]]) -> list[Line]:
        """All rows, model by model.

        Args:
            counted: of each model, (metric, part) of the numbers of no machine.
            timed: of each model, the jobs that are timed.
        """
        quantities = [list(formulas(jobs, self.infer_steps)) for jobs in timed]
        reference: dict[str, Quantity] = {}
        for quantity in quantities[0]:
            reference.setdefault(quantity[0], quantity)
        lines = []
        for i, numbers in enumerate(counted):
            lines += [self._number(i, number) for number in numbers]
            for quantity in quantities[i]:
                lines.append(self._time(i, quantity))
                if len(self.subjects) > 1 and quantity[0] in reference:
                    lines.append(self._ratio(i, quantity, reference[quantity[0]]))
                if quantity[0] == "total_time_ms":
                    lines += self._evaluations(i, quantity[1])
        return lines

    def times(self, seconds: Sequence[Mapping[str, Times]]) -> list[dict[Quantity, Times]]:
        """Milliseconds, from the seconds of every job of each model."""
        return [times_of_tables(own, self.batch, self.infer_steps) for own in seconds]

    def _evaluations(self, i: int, steps: int) -> list[Line]:
        """What getting x_T from an image evaluates: passes of encoder and endpoint decoder, steps of the network."""
        passes = {"NFE_encoder": int(self.subjects[i].model.encode_nfe == 0), "NFE_score": steps}
        passes |= {} if steps else {"NFE_decoder": 1}
        x_T = {"x_T": _x_T("total_time_ms", steps), "encode_nfe": steps}
        return [
            Line(self._architecture(i, metric) | x_T, lambda _, n=float(count): Median(n, None))  # type: ignore[misc]
            for metric, count in passes.items()
        ]

    def _number(self, i: int, number: Number) -> Line:
        metric, part = number
        return Line(self._architecture(i, metric, part), lambda found: Median(found.counts[i][number], None))

    def _time(self, i: int, quantity: Quantity) -> Line:
        return Line(self._timed(i, quantity), lambda found: median(found.times[i][quantity]))

    def _ratio(self, i: int, quantity: Quantity, reference: Quantity) -> Line:
        metric, steps = quantity
        cells = self._timed(i, (f"{metric}_ratio", steps)) | {"attribute": f"to {self.subjects[0].name}"}
        return Line(cells, lambda found: median(found.times[i][quantity] / found.times[0][reference]))

    def _architecture(self, i: int, metric: str, part: str = "mean") -> dict[str, Any]:
        return self._columns(i) | {"protocol": "architecture", "n": 1, "attribute": part, "metric": metric}

    def _timed(self, i: int, quantity: Quantity) -> dict[str, Any]:
        metric, steps = quantity
        cells = {"protocol": self.processor, "n": self.batch, "attribute": "mean", "metric": metric}
        return self._columns(i) | cells | {"x_T": _x_T(metric, steps), "encode_nfe": steps}

    def _columns(self, i: int) -> dict[str, Any]:
        subject = self.subjects[i]
        return {
            "task": "cost",
            "task_version": TASK_VERSION,
            **cells_of(subject),
            "dataset": f"{subject.model.image_size} px",
            "data_sha256": "",
            "split": "all",
            "precision": self.precision,
            "better": "lower",
        }


def _x_T(metric: str, steps: int) -> str:
    if not metric.startswith(ENDPOINT_METRICS):
        return ""
    return "inferred" if steps else "decoded"


def processor(device: torch.device) -> str:
    """Name of what computes, e.g. "NVIDIA H200" or "Intel(R) Xeon(R) CPU @ 2.50GHz, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"{_cpu()}, {threads} thread{'s' if threads > 1 else ''}"


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
