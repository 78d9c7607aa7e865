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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost.jobs import times_of_tables
from benchmarks.cost.timing import Times, median
from benchmarks.results.circumstances import circumstances
from benchmarks.results.record import Record
from benchmarks.subjects.inputs import cells_of
from benchmarks.subjects.subject import Loaded

TASK_VERSION = 1
ENDPOINT_METRICS = ("endpoint_time", "total_time_ms")


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What all rows of a command share.

    Attributes:
        subjects: the models; ratios are to the first.
        processor: what they ran on, see `processor`.
        batch: images a batch.
    """

    subjects: Sequence[Loaded]
    processor: str
    batch: int
    precision: str
    infer_steps: tuple[int, ...]

    def rows(
        self, counts: Sequence[Mapping[tuple[str, str], float]], seconds: Sequence[dict[str, Times]]
    ) -> list[Record]:
        """All rows, model by model.

        Args:
            counts: of each model, (metric, part) -> number of no machine.
            seconds: of each model, job -> seconds of every repetition.
        """
        times = [times_of_tables(own, self.batch, self.infer_steps) for own in seconds]
        reference = {metric: found for (metric, _), found in reversed(times[0].items())}
        rows = []
        for subject, numbers, found in zip(self.subjects, counts, times, strict=True):
            rows += [self._number(subject, metric, part, value) for (metric, part), value in numbers.items()]
            for (metric, steps), values in found.items():
                rows.append(self._time(subject, metric, values, steps))
                if len(self.subjects) > 1 and metric in reference:
                    ratio = values / reference[metric]
                    rows.append(self._time(subject, f"{metric}_ratio", ratio, steps, f"to {self.subjects[0].name}"))
                if metric == "total_time_ms":
                    rows += self._evaluations(subject, steps)
        return rows

    def _evaluations(self, subject: Loaded, steps: int) -> list[Record]:
        """What getting x_T from an image evaluates: passes of encoder and endpoint decoder, steps of the network."""
        passes = {"NFE_encoder": int(subject.model.encode_nfe == 0), "NFE_score": steps}
        passes |= {} if steps else {"NFE_decoder": 1}
        x_T = {"x_T": _x_T("total_time_ms", steps), "encode_nfe": steps}
        return [self._number(subject, metric, "mean", float(value), **x_T) for metric, value in passes.items()]

    def _number(self, subject: Loaded, metric: str, part: str, value: float, **cells: Any) -> Record:
        return Record(
            **self._columns(subject), **cells, protocol="architecture", n=1, attribute=part, metric=metric, value=value
        )

    def _time(self, subject: Loaded, metric: str, values: Times, steps: int, attribute: str = "mean") -> Record:
        found = median(values)
        return Record(
            **self._columns(subject),
            protocol=self.processor,
            n=self.batch,
            attribute=attribute,
            metric=metric,
            value=found.value,
            stderr=found.stderr,
            x_T=_x_T(metric, steps),
            encode_nfe=steps,
        )

    def _columns(self, subject: Loaded) -> dict[str, Any]:
        return {
            "task": "cost",
            "task_version": TASK_VERSION,
            **cells_of(subject),
            "dataset": f"{subject.model.image_size} px",
            "data_sha256": "",
            "split": "all",
            "precision": self.precision,
            "better": "lower",
            **circumstances(),
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
