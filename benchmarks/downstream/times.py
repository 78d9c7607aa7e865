"""Probes of codes that are curves over noise levels: z at one time, at the best one, and at five side by side.

    t=T           each of K times, evenly from the first to the last; one is that in the middle
    best t        the time whose mean AP (binary) or r (continuous) on the validation images is highest, for each seed
                  on its own: that probe's rows again. Of equals the first
    t=T1 T2 ...   the codes of 0.1, 0.3, 0.5, 0.7 and 0.9 of all times side by side, five times as long

Probes are linear, of protocol "standard". The untrained encoder is measured at the same times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from benchmarks.downstream.report import Measured, mean_and_error
from benchmarks.downstream.rows import criterion, listed
from benchmarks.downstream.study import DownstreamStudy
from benchmarks.downstream.trial import Manner
from benchmarks.results import Record
from benchmarks.results.scores import read_scores, write_scores
from benchmarks.subjects import AtTimes
from dbae.support import text

MANNER = Manner("standard")


def times_of(k: int, count: int) -> list[int]:
    """k of the times 0 .. count - 1."""
    if k == 1:
        return [count // 2]
    return sorted({min(round(count * i / (k - 1)), count - 1) for i in range(k)})


def five(count: int) -> list[int]:
    """The times whose codes stand side by side."""
    return [count * i // 10 for i in (1, 3, 5, 7, 9)]


@dataclasses.dataclass(frozen=True)
class TimesTable:
    """Numbers of one model and its untrained twin.

    Attributes:
        used: metric -> which attributes its means are over.
        values: where z is -> model -> its values.
        best: which times were best, in words.
    """

    title: str
    used: dict[str, Bool[np.ndarray, " k"]]
    values: dict[str, dict[str, Measured]]
    best: str


def format_times(table: TimesTable) -> str:
    """A text table of means over attributes with standard errors over seeds, one line for each place of z."""
    models = dict.fromkeys(model for values in table.values.values() for model in values)
    columns = [(metric, model) for metric in table.used for model in models]
    lines = [["z at", *(f"{metric} {model}" for metric, model in columns)]]
    for at, values in table.values.items():
        lines.append(
            [at, *(mean_and_error(values[model][metric, "test"][:, table.used[metric]]) for metric, model in columns)]
        )
    return "\n".join([table.title, text.columns(lines), table.best])


def measure_times(study: DownstreamStudy, models: Sequence[AtTimes], k: int, seeds: Sequence[int]) -> TimesTable:
    """All numbers of the module, after measuring what the results lack. The first of `models` is the model."""
    values: dict[str, dict[str, Measured]] = {}
    chosen = []
    for steps, at in models:
        curve = {}
        for t in times_of(k, steps):
            subject = at([t])
            curve[t] = study.runs(study.trials(subject, MANNER, seeds))
            values.setdefault(subject.at, {})[subject.model] = study.summary(curve[t], seeds)[0]
        best = [_best(study, {t: runs[i] for t, runs in curve.items()}) for i in range(len(curve[t]))]
        values.setdefault("best t", {})[subject.model] = study.summary(best, seeds)[0]
        chosen.append(f"{subject.model} {', '.join(f'{rows[-1].value:g}' for rows in best)}")
        subject = at(five(steps))
        values.setdefault(subject.at, {})[subject.model] = study.measure(subject, MANNER, seeds)[0]
    used = {criterion(p): study.images.used(p, MANNER.protocol) for p in study.images.problems}
    about = f"{next(iter(values['best t']))} on {study.dataset.name}, z at times, protocol {MANNER.name}"
    title = f"{about}, {len(study.images.test)} test images, seeds {listed(seeds)}"
    return TimesTable(title, used, values, f"(best t of {' and of '.join(used)}, one a seed: {'; '.join(chosen)})")


def _best(study: DownstreamStudy, curve: Mapping[int, list[Record]]) -> list[Record]:
    """Of the probes of one seed at every time, the rows of the best one under their new name; last, its time."""
    t = max(curve, key=lambda t: _on_validation(curve[t]).value)
    old = [row for row in curve[t] if not row.diagnostic]
    about = _on_validation(curve[t])
    time = dataclasses.replace(about, metric=about.metric.replace("_val", "_time"), value=float(t), better="lower")
    new = [dataclasses.replace(row, z="mean at best t") for row in [*old, time]]
    for before, after in zip(old, new, strict=False):
        if study.world.is_main and (scores := read_scores(study.results.path, before)):
            write_scores(study.results.path, after, scores)
    study.results.update(new)
    return new


def _on_validation(rows: Sequence[Record]) -> Record:
    """The row that says how good a probe is on the validation images."""
    return next(row for row in rows if row.metric.startswith("probe_") and row.metric.endswith("_val"))
