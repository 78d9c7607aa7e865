"""The rows of the downstream benchmark: every source of latents x protocol x kind of attribute x seed.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    protocol    "paper", "standard"; "standard-mlp" and "standard-knn" where a probe is not linear
    split       "test"; "test-selected" where the test split chose the epoch too (regression, protocol "paper").
                Other rows of "paper" were selected on validation (AP) or not at all (the last epoch); those of
                "standard" on validation, each attribute on its own (`benchmarks.downstream.standard`)
    attribute   a name, or "mean" over all attributes of the kind. Protocol "standard" leaves out attributes that are
                constant in the test or in the training split: their rows have NaN, and no mean has them. "paper" counts
                them as published: AP 0 without a positive, r NaN, and so is its mean
    seed        protocol "paper": of weights, order and noise. "standard": of the division of training and validation
                images; 0 is the data set's own, where it has a split "val" (`benchmarks.downstream.problems.divide`),
                and of an MLP's weights; with n_train, of which images have labels. "mean of 0 1 2" has the mean over
                those seeds and its standard error, std / sqrt(seeds); all seeds share the test images, so that it says
                nothing about those
    z           "sampled" where the protocol draws from the posterior and there is one to draw from, else "mean"; "mean
                at t=100 300" or "mean at best t" where it is at other times than the model's own
                (`benchmarks.downstream.times`)
    n_train     labelled images that a probe was given (`benchmarks.downstream.few`); empty: all
    seconds     to train and measure one probe; encoding is logged and kept with the latents, not recorded

Metrics that start with probe_ say how good the probes of a protocol "standard" are, M being AP or Pearson_r:

    probe_M_train         M on the training images; its lead over M is overfitting
    probe_M_val           M on the validation images, of attributes that vary in them, where z is at chosen times
    probe_M_time          the time that was best there, in rows whose z is "mean at best t"
    probe_M_gradient      largest norm of an attribute's gradient at the end (linear)
    probe_M_rank          directions in which the codes vary; at most latent_dim
    probe_M_attributes    how many attributes are in the means
    probe_M_drawn         1 where the seed drew the validation images, 0 where they are the data set's own; not with
                          n_train, which has none

What a probe gave each test image is kept beside the results file (`benchmarks.results.scores`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from benchmarks.downstream.probe import METRICS, Outcome
from benchmarks.downstream.problems import Problem
from benchmarks.downstream.report import Measured
from benchmarks.downstream.standard import mean_of_known
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances

TASK_VERSION = 2
"""1: protocol "standard" was 15 epochs of Adam."""
LOWER_IS_BETTER = frozenset({"MSE"})
SPLIT_NAMES = {"val": "test", None: "test", "test": "test-selected"}
"""`Outcome.selected_on` -> column `split`."""

Cells = Mapping[str, Any]


def criterion(problem: Problem) -> str:
    """The metric that names the means of a kind of attribute: AP or Pearson_r."""
    return next(iter(METRICS[problem.kind]))


def score_rows(
    cells: Cells, problem: Problem, scores: Mapping[str, Mapping[str, np.ndarray]], used: Bool[np.ndarray, " k"]
) -> list[Record]:
    """One row an attribute, NaN where it is not in `used`, and one for the mean of those that are.

    Args:
        cells: all columns but split, attribute, metric, value and circumstances.
        scores: split -> metric -> values (k,).
    """
    return [
        Record(
            **cells,
            **circumstances(),
            split=split,
            attribute=attribute,
            metric=metric,
            better="lower" if metric in LOWER_IS_BETTER else "higher",
            value=float(value),
        )
        for split, metrics in scores.items()
        for metric, values in metrics.items()
        for attribute, value in zip(
            ("mean", *problem.names), (mean(values[used]), *np.where(used, values, np.nan)), strict=True
        )
    ]


def quality_rows(
    cells: Cells,
    problem: Problem,
    outcome: Outcome,
    used: Bool[np.ndarray, " k"],
    *,
    drawn: bool | None,
    val: bool = False,
) -> list[Record]:
    """Rows about the probe itself, see the module; `drawn` None and `val` False leave theirs out."""
    values: dict[str, tuple[float, Literal["higher", "lower"]]] = {
        "rank": (float(outcome.rank or 0), "higher"),
        "attributes": (float(used.sum()), "higher"),
    }
    if drawn is not None:
        values["drawn"] = (float(drawn), "lower")
    if outcome.train is not None:
        values["train"] = (mean(outcome.train[used]), "higher")
    if val and outcome.val is not None:
        values["val"] = (mean_of_known(outcome.val[used]), "higher")
    if outcome.gradient is not None:
        values["gradient"] = (float(outcome.gradient[used].max(initial=0.0)), "lower")
    same = {**cells, **circumstances(), "split": "test"}
    return [
        Record(**same, metric=f"probe_{criterion(problem)}_{name}", value=value, better=better)
        for name, (value, better) in values.items()
    ]


def line(problem: Problem, outcomes: Sequence[Outcome], records: Sequence[Record]) -> str:
    """What the log says about a probe: its means, what was chosen, and how good the probe itself is."""
    means = {(r.split, r.metric): r.value for r in records if r.attribute == "mean"}
    found = []
    for outcome in outcomes:
        split = SPLIT_NAMES[outcome.selected_on]
        numbers = ", ".join(f"{name} {means[split, name]:.4f}" for name in outcome.scores)
        found.append(f"{numbers} ({outcome.chosen})")
    first = criterion(problem)
    if ("test", f"probe_{first}_train") in means:
        ahead = means["test", f"probe_{first}_train"] - means["test", first]
        found.append(f"{first} {'lower' if ahead < 0 else 'higher'} by {abs(ahead):.4f} on training images")
    if ("test", f"probe_{first}_gradient") in means:
        found.append(f"gradient {means['test', f'probe_{first}_gradient']:.1g}")
    cells = records[0]
    labels = "" if cells.n_train is None else f"{cells.n_train} labels"
    about = ", ".join(filter(None, [cells.model, cells.protocol, labels, cells.at, f"seed {cells.seed}"]))
    return f"{about}: {'; '.join(found)}, {cells.seconds:.1f} s"


def mean(values: np.ndarray) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def by_metric(runs: Sequence[Sequence[Record]]) -> Measured:
    """(metric, split) -> values (seeds, k), from the attribute rows of every seed."""
    keys = dict.fromkeys((record.metric, record.split) for record in runs[0] if record.attribute != "mean")
    return {
        (metric, split): np.array(
            [
                [r.value for r in rows if (r.metric, r.split) == (metric, split) and r.attribute != "mean"]
                for rows in runs
            ]
        )
        for metric, split in keys
    }


def means_over_seeds(runs: Sequence[Sequence[Record]], seeds: Sequence[int]) -> list[Record]:
    """Rows of the mean over seeds, from the rows of every seed."""
    single = ([r for r in rows if r.attribute == "mean" and not r.diagnostic] for rows in runs)
    records = []
    for same in zip(*single, strict=True):
        values = np.array([record.value for record in same])
        records.append(
            dataclasses.replace(
                same[0],
                seed=f"mean of {listed(seeds)}",
                value=float(values.mean()),
                stderr=float(values.std(ddof=1) / np.sqrt(len(values))),
                seconds=round(sum(record.seconds or 0.0 for record in same), 3),
            )
        )
    return records


def listed(seeds: Sequence[int]) -> str:
    """Seeds as the column `seed` has them: "0 1 2"."""
    return " ".join(map(str, seeds))
