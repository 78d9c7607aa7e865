"""Measures what is missing of the rows of the downstream benchmark (`benchmarks.downstream.rows`)."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from benchmarks.downstream.probe import METRICS, Outcome
from benchmarks.downstream.problems import Problem
from benchmarks.downstream.report import Measured, Table, leads_over_controls
from benchmarks.downstream.rows import (
    SPLIT_NAMES,
    TASK_VERSION,
    Cells,
    by_metric,
    criterion,
    line,
    listed,
    means_over_seeds,
    quality_rows,
    score_rows,
)
from benchmarks.downstream.trial import Images, Manner, Trial
from benchmarks.results import Record, Results
from benchmarks.results.scores import ImageScores, write_scores
from benchmarks.subjects import Subject
from dbae.data import ImageDataset
from dbae.support.distributed import ALONE, World

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What training one probe gave: rows, a line for the log, and mean rows with the scores of images behind them."""

    records: list[Record]
    message: str
    scores: list[tuple[Record, ImageScores]]


class DownstreamStudy:
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
        self.world, self.images = world, Images(dataset)
        self.dataset, self.results, self.precision, self.force = dataset, results, precision, force
        self.probe_seconds = 0.0

    def table(self, subjects: Sequence[Subject], manner: Manner, seeds: Sequence[int]) -> Table:
        """All numbers of one protocol, after measuring what `results` lacks. The model is the first of `subjects`."""
        prevalence = self._prevalence(
            manner, seeds
        )  # first: it loads scikit-learn, which no probe's seconds should have
        measured = {subject.model: self.measure(subject, manner, seeds) for subject in subjects}
        columns = {model: values for model, (values, _) in measured.items()}
        problems, test = self.images.problems, self.images.test
        names = {metric: p.names for p in problems for metric in METRICS[p.kind]}
        about = f"{subjects[0].model} {subjects[0].checkpoint_sha256[:8]} on {self.dataset.name}"
        labels = "" if manner.n_train is None else f"{manner.n_train} labelled images, "
        title = f"{about}, protocol {manner.name}, {labels}{len(test)} test images, seeds {listed(seeds)}"
        used = {metric: self.images.used(p, manner.protocol) for p in problems for metric in METRICS[p.kind]}
        means = {model: [r for r in rows if r.metric in names] for model, (_, rows) in measured.items()}
        leads = leads_over_controls(means, subjects[0].model, self.results.path) if self.world.is_main else {}
        return Table(title, names, columns | {"prevalence": prevalence}, used, leads)

    def measure(self, subject: Subject, manner: Manner, seeds: Sequence[int]) -> tuple[Measured, list[Record]]:
        """Values of attributes, and the mean rows: over seeds where there are several."""
        return self.summary(self.runs(self.trials(subject, manner, seeds)), seeds)

    def trials(self, subject: Subject, manner: Manner, seeds: Sequence[int]) -> list[Trial]:
        """Every kind of attribute, and of it every seed."""
        return [Trial(subject, problem, manner, seed) for problem in self.images.problems for seed in seeds]

    def summary(self, runs: Sequence[list[Record]], seeds: Sequence[int]) -> tuple[Measured, list[Record]]:
        """As `measure`, of the rows of its `trials`."""
        measured: Measured = {}
        means: list[Record] = []
        for start in range(0, len(runs), len(seeds)):
            own = runs[start : start + len(seeds)]
            if len(seeds) > 1:
                over_seeds = means_over_seeds(own, seeds)
                self.results.update(over_seeds)
            means += over_seeds if len(seeds) > 1 else [r for r in own[0] if r.attribute == "mean"]
            measured |= by_metric(own)
        return measured, means

    def runs(self, trials: Sequence[Trial]) -> list[list[Record]]:
        """Rows of every probe: those that the results have; the others are measured now, one a process, and added."""
        world = self.world
        runs = [self._stored(trial) for trial in trials]
        missing = [i for i, rows in enumerate(runs) if not rows]
        if world.size > 1:  # latents are computed together, before each process turns to a probe of its own
            for trial in {(trials[i].problem.kind, trials[i].subject): trials[i] for i in missing}.values():
                self.images.splits(trial)
        for start in range(0, len(missing), world.size):
            mine = missing[start : start + world.size][world.rank :][:1]
            for measured in world.collect({i: self._run(trials[i]) for i in mine}):
                for i, found in measured.items():
                    self._keep(found)
                    runs[i] = found.records
        return runs

    def _keep(self, found: _Found) -> None:
        """Write what a probe gave; scores of images first, so that no row lacks them."""
        if self.world.is_main:
            for row, scores in found.scores:
                write_scores(self.results.path, row, scores)
        self.results.add(found.records)
        log.info("%s", found.message)

    def _stored(self, trial: Trial) -> list[Record]:
        """Rows of a probe in the results; none unless they are complete."""
        if self.force:
            return []
        metrics, about = METRICS[trial.problem.kind], self._common | trial.columns
        splits = ("test", "test-selected") if trial.selects_on_test else ("test",)
        for z in ("sampled", "mean"):
            columns = about | trial.subject.z_cells(z)
            found = [
                self.results.find(columns | {"split": split}, metrics, ("mean", *trial.problem.names))
                for split in splits
            ]
            if trial.subject.at:  # what the best time is chosen by
                found.append(self.results.find(columns | {"split": "test"}, [f"probe_{criterion(trial.problem)}_val"]))
            if rows := [record for records in found for record in records or ()] if all(found) else []:
                return rows
        return []

    def _run(self, trial: Trial) -> _Found:
        """What a probe gives, measured now."""
        train, val, test = self.images.splits(trial)
        started = time.perf_counter()
        outcomes = trial.run(train, val, test)
        seconds = round(time.perf_counter() - started, 3)
        self.probe_seconds += seconds
        problem, paper = trial.problem, trial.manner.protocol == "paper"
        used = self.images.used(problem, trial.manner.protocol)
        z = "sampled" if paper and train.latents.stochastic else "mean"
        cells = self._common | trial.columns | trial.subject.z_cells(z) | {"seconds": seconds}
        scores = {SPLIT_NAMES[outcome.selected_on]: outcome.scores for outcome in outcomes}
        records = score_rows(cells, problem, scores, used)
        if not paper:
            drawn = None if val is None else self.images.val is None or trial.seed > 0
            records += quality_rows(cells, problem, outcomes[0], used, drawn=drawn, val=bool(trial.subject.at))
        message = line(problem, outcomes, records)
        return _Found(records, message, self._scores(problem, outcomes, records, used))

    def _scores(
        self, problem: Problem, outcomes: Sequence[Outcome], records: Sequence[Record], used: Bool[np.ndarray, " k"]
    ) -> list[tuple[Record, ImageScores]]:
        """Mean rows, and the scores of images behind them."""
        if not used.any():
            return []
        rows = {r.split: r for r in records if (r.metric, r.attribute) == (criterion(problem), "mean")}
        names, test = tuple(np.array(problem.names)[used]), self.images.test
        groups = None if self.dataset.groups is None else self.dataset.groups[test].astype(np.int64)
        return [
            (
                rows[SPLIT_NAMES[outcome.selected_on]],
                ImageScores(test, outcome.predictions[:, used], problem.targets[test][:, used], names, groups),
            )
            for outcome in outcomes
        ]

    def _prevalence(self, manner: Manner, seeds: Sequence[int]) -> Measured:
        """What needs no input: a constant score, whose AP is the prevalence; the MSE of the training mean."""
        images, n, runs = self.images, manner.n_train, []
        seen = (
            {"": images.train} if n is None else {str(seed): images.train[images.labelled(n, seed)] for seed in seeds}
        )
        for seed, train in seen.items():
            cells = {"protocol": manner.name, "model": "prevalence", "weights": "control", "seconds": 0.0}
            cells |= self._common | {"seed": seed, "n_train": n}
            found = [self._constant(cells, problem, train, manner) for problem in images.problems]
            runs.append(list(itertools.chain.from_iterable(found)))
        means = means_over_seeds(runs, seeds) if len(runs) > 1 else []
        self.results.update([*itertools.chain.from_iterable(runs), *means])
        return by_metric(runs)

    def _constant(self, cells: Cells, problem: Problem, train: np.ndarray, manner: Manner) -> list[Record]:
        """Rows of the mean over images `train`, as a score."""
        targets = problem.targets[self.images.test]
        constant = np.broadcast_to(problem.targets[train].mean(axis=0), targets.shape)
        metrics = {name: metric for name, metric in METRICS[problem.kind].items() if name != "Pearson_r"}
        scores = {"test": {name: metric(targets, constant) for name, metric in metrics.items()}}
        return score_rows(cells, problem, scores, self.images.used(problem, manner.protocol))

    @property
    def _common(self) -> dict[str, Any]:
        """Cells that all rows share."""
        return {
            "task": "downstream",
            "task_version": TASK_VERSION,
            "dataset": self.dataset.name,
            "data_sha256": self.dataset.fingerprint,
            "n": len(self.images.test),
            "precision": self.precision,
        }
