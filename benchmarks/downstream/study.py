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

from benchmarks.downstream.probe import METRICS, Outcome, ProbeKind, ProtocolName, Split, paper_config, run_paper
from benchmarks.downstream.problems import Problem, carve_validation, divide, problems_of
from benchmarks.downstream.report import Measured, Table, leads_over_controls
from benchmarks.downstream.rows import (
    SPLIT_NAMES,
    TASK_VERSION,
    by_metric,
    criterion,
    line,
    listed,
    means_over_seeds,
    named,
    quality_rows,
    score_rows,
)
from benchmarks.downstream.standard import run_standard
from benchmarks.results import Record, Results
from benchmarks.results.scores import ImageScores, write_scores
from benchmarks.subjects import Subject
from dbae.data import ImageDataset
from dbae.latents import Latents
from dbae.support.distributed import ALONE, World
from dbae.support.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Probe:
    """One probe to train: its input, its targets, how, and from which seed."""

    subject: Subject
    problem: Problem
    protocol: ProtocolName
    kind: ProbeKind
    seed: int

    @property
    def columns(self) -> dict[str, Any]:
        return {"protocol": named(self.protocol, self.kind), "seed": str(self.seed), **self.subject.cells}

    def run(self, train: Split, val: Split | None, test: Split) -> list[Outcome]:
        if self.protocol == "paper":
            return run_paper(train, val, test, kind=self.problem.kind, seed=self.seed)
        assert val is not None  # `divide` always has one
        return run_standard(train, val, test, kind=self.problem.kind, probe=self.kind, seed=self.seed)


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
        self.world = world
        self.dataset, self.results, self.precision, self.force = dataset, results, precision, force
        self.problems = problems_of(dataset)
        self.train, self.test = (dataset.split(name) for name in ("train", "test"))
        self.val = dataset.split("val") if "val" in dataset.splits else None
        self.probe_seconds = 0.0
        if min(len(self.train), len(self.test)) < 2:
            found = f"{len(self.train)} and {len(self.test)}"
            raise UserError(f"{dataset.name}: expected 2 or more images in splits train and test, found {found}.")
        self._say_what_is_constant()

    def table(
        self, subjects: Sequence[Subject], protocol: ProtocolName, seeds: Sequence[int], kind: ProbeKind = "linear"
    ) -> Table:
        """All numbers of one protocol, after measuring what `results` lacks. The model is the first of `subjects`."""
        name = named(protocol, kind)
        prevalence = self._prevalence(
            protocol, name
        )  # first: it loads scikit-learn, which no probe's seconds should contain
        measured = {subject.model: self._measure(subject, protocol, kind, seeds) for subject in subjects}
        columns = {model: values for model, (values, _) in measured.items()}
        names = {metric: p.names for p in self.problems for metric in METRICS[p.kind]}
        about = f"{subjects[0].model} {subjects[0].checkpoint_sha256[:8]} on {self.dataset.name}"
        title = f"{about}, protocol {name}, {len(self.test)} test images, seeds {listed(seeds)}"
        used = {metric: self.used(p, protocol) for p in self.problems for metric in METRICS[p.kind]}
        means = {model: [r for r in rows if r.metric in names] for model, (_, rows) in measured.items()}
        leads = leads_over_controls(means, subjects[0].model, self.results.path) if self.world.is_main else {}
        return Table(title, names, columns | {"prevalence": prevalence}, used, leads)

    def _measure(
        self, subject: Subject, protocol: ProtocolName, kind: ProbeKind, seeds: Sequence[int]
    ) -> tuple[Measured, list[Record]]:
        """Values of attributes, and the mean rows: over seeds where there are several."""
        measured: Measured = {}
        means: list[Record] = []
        runs = iter(self._runs([_Probe(subject, p, protocol, kind, seed) for p in self.problems for seed in seeds]))
        for _ in self.problems:
            own = list(itertools.islice(runs, len(seeds)))
            if len(seeds) > 1:
                over_seeds = means_over_seeds(own, seeds)
                self.results.update(over_seeds)
            means += over_seeds if len(seeds) > 1 else [r for r in own[0] if r.attribute == "mean"]
            measured |= by_metric(own)
        return measured, means

    def _runs(self, probes: Sequence[_Probe]) -> list[list[Record]]:
        """Rows of every probe: those that the results have; the others are measured now, one a process, and added."""
        world = self.world
        runs = [self._stored(probe) for probe in probes]
        missing = [i for i, rows in enumerate(runs) if not rows]
        if world.size > 1:  # latents are computed together, before each process turns to a probe of its own
            for probe in {probes[i].problem.kind: probes[i] for i in missing}.values():
                self._splits(probe)
        for start in range(0, len(missing), world.size):
            mine = missing[start : start + world.size][world.rank :][:1]
            for measured in world.collect({i: self._run(probes[i]) for i in mine}):
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

    def _stored(self, probe: _Probe) -> list[Record]:
        """Rows of a probe in the results; none unless they are complete."""
        if self.force:
            return []
        metrics, about = METRICS[probe.problem.kind], self._common | probe.columns
        splits = ("test", "test-selected") if self._selects_on_test(probe) else ("test",)
        for z in ("sampled", "mean"):
            columns = about | probe.subject.z_cells(z)
            found = [
                self.results.find(columns | {"split": split}, metrics, ("mean", *probe.problem.names))
                for split in splits
            ]
            if rows := [record for records in found for record in records or ()] if all(found) else []:
                return rows
        return []

    def _selects_on_test(self, probe: _Probe) -> bool:
        return probe.protocol == "paper" and paper_config(probe.problem.kind).select == "test"

    def _run(self, probe: _Probe) -> _Found:
        """What a probe gives, measured now."""
        train, val, test = self._splits(probe)
        started = time.perf_counter()
        outcomes = probe.run(train, val, test)
        seconds = round(time.perf_counter() - started, 3)
        self.probe_seconds += seconds
        problem, paper = probe.problem, probe.protocol == "paper"
        used = self.used(problem, probe.protocol)
        z = "sampled" if paper and train.latents.stochastic else "mean"
        cells = self._common | probe.columns | probe.subject.z_cells(z) | {"seconds": seconds}
        scores = {SPLIT_NAMES[outcome.selected_on]: outcome.scores for outcome in outcomes}
        records = score_rows(cells, problem, scores, used)
        if not paper:
            drawn = self.val is None or probe.seed > 0
            records += quality_rows(cells, problem, outcomes[0], used, drawn=drawn)
        message = line(problem, outcomes, records)
        return _Found(records, message, self._scores(problem, outcomes, records, used))

    def _scores(
        self, problem: Problem, outcomes: Sequence[Outcome], records: Sequence[Record], used: Bool[np.ndarray, " k"]
    ) -> list[tuple[Record, ImageScores]]:
        """Mean rows, and the scores of images behind them."""
        if not used.any():
            return []
        rows = {r.split: r for r in records if (r.metric, r.attribute) == (criterion(problem), "mean")}
        names = tuple(np.array(problem.names)[used])
        targets = problem.targets[self.test][:, used]
        groups = None if self.dataset.groups is None else self.dataset.groups[self.test].astype(np.int64)
        return [
            (
                rows[SPLIT_NAMES[outcome.selected_on]],
                ImageScores(self.test, outcome.predictions[:, used], targets, names, groups),
            )
            for outcome in outcomes
        ]

    def _splits(self, probe: _Probe) -> tuple[Split, Split | None, Split]:
        """Training, validation and test images of a probe; no validation where the test split selects."""

        def latents(indices: np.ndarray, mirrored: bool = False) -> Latents:
            return probe.subject.latents(indices, probe.seed, mirrored)

        def split(indices: np.ndarray, codes: Latents | None = None) -> Split:
            return Split(codes or latents(indices), probe.problem.targets[indices])

        # Mirrored wherever some probe of the data set flips, so that there is one file of training latents.
        codes = latents(self.train, mirrored=any(p.kind == "classification" for p in self.problems))
        train = split(self.train, codes)
        if self._selects_on_test(probe):
            return train, None, split(self.test)
        if probe.protocol == "paper" and self.val is not None:
            return train, split(self.val), split(self.test)
        if probe.protocol == "paper" or self.val is None:
            parts = carve_validation(self.train, self.dataset.groups, probe.seed)
            kept, held_out = (Split(codes.rows(rows), train.targets[rows]) for rows in parts)
            return kept, held_out, split(self.test)
        both = np.concatenate([self.train, self.val])
        means = Latents(np.concatenate([codes.array[:, :1, :1], latents(self.val).array[:, :1, :1]]))
        parts = divide(self.train, self.val, self.dataset.groups, probe.seed)
        kept, held_out = (split(both[rows], means.rows(rows)) for rows in parts)
        return kept, held_out, split(self.test)

    def _prevalence(self, protocol: ProtocolName, name: str) -> Measured:
        """What needs no input: a constant score, whose AP is the prevalence; the MSE of the training mean."""
        runs = []
        for problem in self.problems:
            train, test = problem.targets[self.train], problem.targets[self.test]
            constant = np.broadcast_to(train.mean(axis=0), test.shape)
            metrics = {name: metric for name, metric in METRICS[problem.kind].items() if name != "Pearson_r"}
            scores = {"test": {name: metric(test, constant) for name, metric in metrics.items()}}
            columns = {"protocol": name, "model": "prevalence", "weights": "control", "seconds": 0.0}
            runs.append(score_rows(self._common | columns, problem, scores, self.used(problem, protocol)))
        rows = list(itertools.chain.from_iterable(runs))
        self.results.update(rows)
        return by_metric([rows])

    @property
    def _common(self) -> dict[str, Any]:
        """Cells that all rows share."""
        return {
            "task": "downstream",
            "task_version": TASK_VERSION,
            "dataset": self.dataset.name,
            "data_sha256": self.dataset.fingerprint,
            "n": len(self.test),
            "precision": self.precision,
        }

    def used(self, problem: Problem, protocol: ProtocolName) -> Bool[np.ndarray, " k"]:
        """Attributes in the means: protocol "standard" has nothing to say of one that is constant in train or test."""
        every = np.ones(len(problem.names), bool)
        return every if protocol == "paper" else ~(problem.constant(self.train) | problem.constant(self.test))

    def _say_what_is_constant(self) -> None:
        """Name attributes that are the same in all images of a split, and what becomes of them."""
        for problem in self.problems:
            for split, images in (("training", self.train), ("test", self.test)):
                if (constant := problem.constant(images)).any():
                    log.warning(
                        "%s: constant in the %d %s images: %s; protocol standard leaves out of its means what cannot "
                        "be learnt or measured, protocol paper counts it as published (AP 0 without a positive, r NaN)",
                        self.dataset.name, len(images), split, ", ".join(np.array(problem.names)[constant]),
                    )  # fmt: skip
