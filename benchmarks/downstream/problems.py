"""What a probe has to predict, and on which images its epoch is chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int64

from benchmarks.downstream.probe import Kind
from dbae.data.base import ImageDataset
from dbae.noise import mixed_seed
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Problem:
    """The attributes of one kind: k names and targets (n, k) of all images of the data set."""

    kind: Kind
    names: tuple[str, ...]
    targets: np.ndarray


def problems_of(dataset: ImageDataset) -> list[Problem]:
    """One problem for binary and one for continuous attributes. Raises UserError when there are no labels."""
    labels = dataset.attributes
    problems = []
    if labels is not None and labels.binary_names:
        problems.append(Problem("classification", labels.binary_names, labels.binary))
    if labels is not None and labels.continuous_names:
        problems.append(Problem("regression", labels.continuous_names, labels.continuous))
    if not problems:
        raise UserError(
            f"{dataset.name}: expected attribute labels, found none. Name a data set that has them, e.g. --data faces."
        )
    return problems


def carve_validation(
    train: Int64[np.ndarray, " n"], groups: np.ndarray | None, seed: int
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " v"]]:
    """Make a validation split for a data set without one.

    Args:
        train: indices of the training images.
        groups: who is in each image of the data set, or None. Where it is known, nobody is on both sides.
        seed: of the choice.

    Returns:
        Rows of `train` to keep, and 10 % of the people (or of the images) to validate on.
    """
    people = np.arange(len(train)) if groups is None else groups[train]
    names = np.random.default_rng(mixed_seed(seed, "validation split")).permutation(np.unique(people))
    held_out = np.isin(people, names[: max(1, round(0.1 * len(names)))])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
