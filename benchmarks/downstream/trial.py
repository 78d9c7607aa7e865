"""One probe to train, and which images of a data set it is fitted to, chosen on and measured on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from benchmarks.downstream.few import labelled, run_few
from benchmarks.downstream.probe import Outcome, ProbeKind, ProtocolName, Split, paper_config, run_paper
from benchmarks.downstream.problems import Problem, carve_validation, divide, problems_of
from benchmarks.downstream.standard import run_standard
from benchmarks.subjects import Subject
from dbae.data import ImageDataset
from dbae.latents import Latents
from dbae.support.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Manner:
    """How probes are trained, and on how many labels of each seed (`benchmarks.downstream.few`; None: on all)."""

    protocol: ProtocolName
    kind: ProbeKind = "linear"
    n_train: int | None = None

    @property
    def name(self) -> str:
        """The cell `protocol`: rows of different probes never mix."""
        return self.protocol if self.kind == "linear" else f"{self.protocol}-{self.kind}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One probe to train: its input, its targets, how, and from which seed."""

    subject: Subject
    problem: Problem
    manner: Manner
    seed: int

    @property
    def columns(self) -> dict[str, Any]:
        """The cells of a record that are known beforehand."""
        own = {"protocol": self.manner.name, "seed": str(self.seed), "n_train": self.manner.n_train}
        return own | self.subject.cells

    @property
    def selects_on_test(self) -> bool:
        """Whether the test split chooses the epoch."""
        return self.manner.protocol == "paper" and paper_config(self.problem.kind).select == "test"

    def run(self, train: Split, val: Split | None, test: Split) -> list[Outcome]:
        """Train and measure."""
        kind, seed = self.problem.kind, self.seed
        if self.manner.protocol == "paper":
            return run_paper(train, val, test, kind=kind, seed=seed)
        if self.manner.n_train is not None:
            return run_few(train, test, kind=kind, seed=seed)
        assert val is not None  # `divide` always has one
        return run_standard(train, val, test, kind=kind, probe=self.manner.kind, seed=seed)


class Images:
    """The images of a data set, and what they are labelled with.

    Args:
        dataset: with splits "train" and "test", and "val" if it has one.

    Raises:
        UserError: no labels, or a split is missing or has less than 2 images.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset, self.problems = dataset, problems_of(dataset)
        self.train, self.test = (dataset.split(name) for name in ("train", "test"))
        self.val = dataset.split("val") if "val" in dataset.splits else None
        for name in ("train", "val", "test"):
            if name in dataset.splits and (n := len(dataset.split(name))) < 2:
                raise UserError(f"{dataset.name}: expected 2 or more images in split {name}, found {n}. Add some.")
        self._say_what_is_constant()

    def require(self, labels: Sequence[int]) -> None:
        """Raises UserError where there are fewer training images than labels are asked for."""
        if max(labels, default=0) > len(self.train):
            name, n = self.dataset.name, len(self.train)
            raise UserError(f"--labels {max(labels)}: expected at most the {n} training images of {name}. Name fewer.")

    def labelled(self, n: int, seed: int) -> np.ndarray:
        """The n training images that a seed gives labels to: their places in `train`."""
        return labelled(len(self.train), n, seed)

    def splits(self, trial: Trial) -> tuple[Split, Split | None, Split]:
        """Training, validation and test images of a probe; no validation with few labels, or where test selects."""

        def latents(indices: np.ndarray, mirrored: bool = False) -> Latents:
            return trial.subject.latents(indices, trial.seed, mirrored)

        def split(indices: np.ndarray, codes: Latents | None = None) -> Split:
            return Split(codes or latents(indices), trial.problem.targets[indices])

        # Mirrored wherever some probe of the data set flips, so that there is one file of training latents.
        codes = latents(self.train, mirrored=any(p.kind == "classification" for p in self.problems))
        train, groups, paper = split(self.train, codes), self.dataset.groups, trial.manner.protocol == "paper"
        if trial.manner.n_train is not None:
            rows = self.labelled(trial.manner.n_train, trial.seed)
            people = None if groups is None else groups[self.train[rows]]
            return Split(codes.rows(rows), train.targets[rows], people), None, split(self.test)
        if trial.selects_on_test:
            return train, None, split(self.test)
        if paper and self.val is not None:
            return train, split(self.val), split(self.test)
        if paper or self.val is None:
            parts = carve_validation(self.train, groups, trial.seed)
            kept, held_out = (Split(codes.rows(rows), train.targets[rows]) for rows in parts)
            return kept, held_out, split(self.test)
        both = np.concatenate([self.train, self.val])
        means = Latents(np.concatenate([codes.array[:, :1, :1], latents(self.val).array[:, :1, :1]]))
        parts = divide(self.train, self.val, groups, trial.seed)
        kept, held_out = (split(both[rows], means.rows(rows)) for rows in parts)
        return kept, held_out, split(self.test)

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
