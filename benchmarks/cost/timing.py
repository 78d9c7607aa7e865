"""Wall-clock times of several jobs, measured in turn: a change of the machine's speed then meets all of them alike."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64

from dbae.support.errors import UserError
from dbae.support.progress import progress_bar

Key = TypeVar("Key", bound=Hashable)
Times = Float64[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Median:
    """Median of repetitions, and its standard error estimated from their quartiles: 1.2533 (q3 - q1) / 1.349 / sqrt(r).

    Both constants are those of normal numbers; unlike the standard deviation, quartiles forgive a few disturbed runs.
    A number that is known exactly has no error.
    """

    value: float
    stderr: float | None


def median(times: Times) -> Median:
    """Median over repetitions."""
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return Median(float(middle), float(1.2533 * (high - low) / 1.349 / np.sqrt(len(times))))


def interleaved(
    jobs: Mapping[Key, Callable[[], object]], repeats: int, device: torch.device, *, title: str = ""
) -> dict[Key, Times]:
    """Seconds of every job, `repeats` times: all jobs once, then all again. A first round warms up and is not kept.

    Work on an accelerator is waited for at both ends of a job.

    Raises:
        UserError: the clock stands, so that nothing can be timed.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in jobs}
    with progress_bar((repeats + 1) * len(jobs), title, unit="job") as bar:
        for round_ in range(repeats + 1):
            for key, job in jobs.items():
                _finish(device)
                started = time.perf_counter()
                job()
                _finish(device)
                if round_:
                    seconds[key].append(time.perf_counter() - started)
                bar.update(1)
    if jobs and not any(map(any, seconds.values())):
        raise UserError(
            f"timing {len(jobs)} jobs: expected a clock that goes, found one that stands: every time is 0. "
            "What needs no clock: --measure parameters operations."
        )
    return {key: np.array(found) for key, found in seconds.items()}


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
