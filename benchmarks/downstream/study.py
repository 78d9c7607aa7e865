"""The rows of the downstream benchmark: every source of latents x protocol x kind of attribute x seed.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    split       "test"; "test-selected" where the test split chose the epoch too (regression, protocol "paper")
    attribute   a name, or "mean" over all attributes of the kind
    seed        of the probe; "mean of 0 1 2" has the mean over those seeds and its standard error, std / sqrt(seeds)
    z           "sampled" where the protocol draws from the posterior and there is one to draw from, else "mean"
    seconds     to train and measure one probe; encoding is logged and kept with the latents, not recorded
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.downstream.probe import METRICS, Outcome, ProbeConfig, Protocol, Split, probe_config, run_probe
from benchmarks.downstream.problems import Problem, carve_validation, problems_of
from benchmarks.downstream.report import Measured, Table
from benchmarks.results.circumstances import circumstances
from benchmarks.results.file import Results
from benchmarks.results.record import Record
from benchmarks.subjects.subject import Subject
from dbae.data.base import ImageDataset
from dbae.support.distributed import ALONE, World
from dbae.support.errors import UserError

TASK_VERSION = 1
LOWER_IS_BETTER = frozenset({"MSE"})
SPLIT_NAMES = {"val": "test", None: "test", "test": "test-selected"}
"""`Outcome.selected_on` -> column `split`."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Probe:
    """One probe to train: its input, its targets, how, and from which seed."""

    subject: Subject
    problem: Problem
    protocol: Protocol
    seed: int

    @property
    def config(self) -> ProbeConfig:
        return probe_config(self.protocol, self.problem.kind)

    @property
    def columns(self) -> dict[str, Any]:
        return {"protocol": self.protocol, "seed": str(self.seed), **self.subject.cells}

    def line(self, outcomes: Sequence[Outcome], seconds: float) -> str:
        """What the log says about it."""
        found = []
        for outcome in outcomes:
            numbers = ", ".join(f"{name} {values.mean():.4f}" for name, values in outcome.scores.items())
            chosen = f"epoch {outcome.epoch + 1}" + (f", best on {outcome.selected_on}" if outcome.selected_on else "")
            found.append(f"{numbers} ({chosen})")
        return f"{self.subject.model}, {self.protocol}, seed {self.seed}: {'; '.join(found)}, {seconds:.1f} s"


class Study:
    """Probes on one data set.

    Args:
        dataset: with splits "train" and "test", and "val" if it has one.
        results: where rows go, and where finished ones are found.
        precision: of the encoders, for the record.
        force: measure what is already in `results` again.
        world: processes that share the probes; rank 0 writes.

    Raises:
        UserError: no labels, or a split is missing or has less than 2 images.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        results: Results,
        *,
        precision: str = "fp32",
        force: bool = False,
        world: World = ALONE,
    ) -> None:
        self.world = world
        self.dataset, self.results, self.precision, self.force = dataset, results, precision, force
        self.problems = problems_of(dataset)
        self.train, self.test = (dataset.split(name) for name in ("train", "test"))
        self.val = dataset.split("val") if "val" in dataset.splits else None
        self.probe_seconds = 0.0
        if min(len(self.train), len(self.test)) < 2:
            found = f"{len(self.train)} and {len(self.test)}"
            raise UserError(f"{dataset.name}: expected 2 or more images in splits train and test, found {found}.")
        self._warn_about_constants()

    def table(self, subjects: Sequence[Subject], protocol: Protocol, seeds: Sequence[int]) -> Table:
        """All numbers of one protocol, after measuring what `results` lacks. The model is the first of `subjects`."""
        prevalence = self._prevalence(protocol)  # first: it loads scikit-learn, which no probe's seconds should contain
        columns = {subject.model: self._measure(subject, protocol, seeds) for subject in subjects}
        names = {metric: p.names for p in self.problems for metric in METRICS[p.kind]}
        about = f"{subjects[0].model} {subjects[0].checkpoint_sha256[:8]} on {self.dataset.name}"
        title = f"{about}, protocol {protocol}, {len(self.test)} test images, seeds {_listed(seeds)}"
        return Table(title, names, columns | {"prevalence": prevalence})

    def _measure(self, subject: Subject, protocol: Protocol, seeds: Sequence[int]) -> Measured:
        measured: Measured = {}
        runs = iter(self._runs([_Probe(subject, p, protocol, seed) for p in self.problems for seed in seeds]))
        for _ in self.problems:
            own = list(itertools.islice(runs, len(seeds)))
            if len(seeds) > 1:
                self.results.update(_means(own, seeds))
            measured |= _by_metric(own)
        return measured

    def _runs(self, probes: Sequence[_Probe]) -> list[list[Record]]:
        """Rows of every probe: those that the results have; the others are measured now, one a process, and added."""
        world = self.world
        runs = world.broadcast([self._stored(probe) for probe in probes])  # what rank 0 found: all go on alike
        missing = [i for i, rows in enumerate(runs) if not rows]
        if world.size > 1:  # latents are computed together, before each process turns to a probe of its own
            for probe in {probes[i].problem.kind: probes[i] for i in missing}.values():
                self._splits(probe)
        for start in range(0, len(missing), world.size):
            mine = missing[start : start + world.size][world.rank :][:1]
            for measured in world.collect({i: self._run(probes[i]) for i in mine}):
                for i, (records, message) in measured.items():
                    self.results.add(records)
                    log.info("%s", message)
                    runs[i] = records
        return runs

    def _stored(self, probe: _Probe) -> list[Record]:
        """Rows of a probe in the results; none unless they are complete."""
        for z in () if self.force else ("sampled", "mean"):
            if stored := self.results.stored(self._expected(probe, z)):
                return stored
        return []

    def _run(self, probe: _Probe) -> tuple[list[Record], str]:
        """Rows of a probe, measured now, and a line about it."""
        train, val, test = self._splits(probe)
        started = time.perf_counter()
        outcomes = run_probe(train, val, test, kind=probe.problem.kind, config=probe.config, seed=probe.seed)
        seconds = round(time.perf_counter() - started, 3)
        self.probe_seconds += seconds
        z = "sampled" if probe.config.sample and train.latents.stochastic else "mean"
        scores = {SPLIT_NAMES[outcome.selected_on]: outcome.scores for outcome in outcomes}
        return self._records(probe.problem, scores, probe.columns | probe.subject.z_cells(z), seconds), probe.line(
            outcomes, seconds
        )

    def _splits(self, probe: _Probe) -> tuple[Split, Split | None, Split]:
        def split(indices: np.ndarray, mirrored: bool = False) -> Split:
            return Split(probe.subject.latents(indices, probe.seed, mirrored), probe.problem.targets[indices])

        # Mirrored wherever some probe of the data set flips, so that there is one file of training latents.
        train = split(self.train, mirrored=any(p.kind == "classification" for p in self.problems))
        if probe.config.select == "test":
            return train, None, split(self.test)
        if self.val is not None:
            return train, split(self.val), split(self.test)
        kept, held_out = (
            Split(train.latents.rows(rows), train.targets[rows])
            for rows in carve_validation(self.train, self.dataset.groups, probe.seed)
        )
        return kept, held_out, split(self.test)

    def _prevalence(self, protocol: Protocol) -> Measured:
        """What needs no input: a constant score, whose AP is the prevalence; the MSE of the training mean."""
        runs = []
        for problem in self.problems:
            train, test = problem.targets[self.train], problem.targets[self.test]
            constant = np.broadcast_to(train.mean(axis=0), test.shape)
            metrics = {name: metric for name, metric in METRICS[problem.kind].items() if name != "Pearson_r"}
            scores = {"test": {name: metric(test, constant) for name, metric in metrics.items()}}
            columns = {"protocol": protocol, "model": "prevalence", "weights": "control"}
            runs.append(self._records(problem, scores, columns, seconds=0.0))
        rows = list(itertools.chain.from_iterable(runs))
        self.results.update(rows)
        return _by_metric([rows])

    def _expected(self, probe: _Probe, z: str) -> list[Record]:
        """Rows that a probe will give, without their values: their identities are known beforehand."""
        problem = probe.problem
        nothing = dict.fromkeys(METRICS[problem.kind], np.full(len(problem.names), np.nan))
        splits = ("test", "test-selected") if probe.config.select == "test" else ("test",)
        return self._records(
            problem, dict.fromkeys(splits, nothing), probe.columns | probe.subject.z_cells(z), seconds=0.0
        )

    def _records(
        self, problem: Problem, scores: dict[str, dict[str, np.ndarray]], columns: dict[str, Any], seconds: float
    ) -> list[Record]:
        """One row an attribute and one for their mean, for every split and metric of `scores`."""
        common: dict[str, Any] = {
            "task": "downstream",
            "task_version": TASK_VERSION,
            "dataset": self.dataset.name,
            "data_sha256": self.dataset.fingerprint,
            "n": len(self.test),
            "precision": self.precision,
            "seconds": seconds,
            **circumstances(),
        }
        return [
            Record(
                **common,
                **columns,
                split=split,
                attribute=attribute,
                metric=metric,
                better="lower" if metric in LOWER_IS_BETTER else "higher",
                value=float(value),
            )
            for split, metrics in scores.items()
            for metric, values in metrics.items()
            for attribute, value in zip(("mean", *problem.names), (values.mean(), *values), strict=True)
        ]

    def _warn_about_constants(self) -> None:
        """Name attributes that are the same in all test images: AP or r says nothing there, and enters the mean."""
        for problem in self.problems:
            constant = np.ptp(problem.targets[self.test].astype(np.float64), axis=0) == 0
            if constant.any():
                names = ", ".join(np.array(problem.names)[constant])
                log.warning("%s: constant in the %d test images: %s", self.dataset.name, len(self.test), names)


def _by_metric(runs: Sequence[Sequence[Record]]) -> Measured:
    """(metric, split) -> values (seeds, k), from the attribute rows of every seed."""
    keys = dict.fromkeys((record.metric, record.split) for record in runs[0])
    return {
        (metric, split): np.array(
            [
                [r.value for r in rows if (r.metric, r.split) == (metric, split) and r.attribute != "mean"]
                for rows in runs
            ]
        )
        for metric, split in keys
    }


def _means(runs: Sequence[Sequence[Record]], seeds: Sequence[int]) -> list[Record]:
    """Rows of the mean over seeds, from the rows of every seed."""
    records = []
    for same in zip(*([record for record in rows if record.attribute == "mean"] for rows in runs), strict=True):
        values = np.array([record.value for record in same])
        records.append(
            dataclasses.replace(
                same[0],
                seed=f"mean of {_listed(seeds)}",
                value=float(values.mean()),
                stderr=float(values.std(ddof=1) / np.sqrt(len(values))),
                seconds=round(sum(record.seconds or 0.0 for record in same), 3),
            )
        )
    return records


def _listed(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
