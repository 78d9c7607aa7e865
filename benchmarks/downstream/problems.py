"""What a probe has to predict, and which images it is fitted to and chosen on."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Int64

from benchmarks.downstream.probe import Kind
from dbae.data import ImageDataset
from dbae.noise import mixed_seed
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Problem:
    """The attributes of one kind: k names and targets (n, k) of all images of the data set."""

    kind: Kind
    names: tuple[str, ...]
    targets: np.ndarray

    def constant(self, images: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " k"]:
        """Which attributes are the same in all of these images."""
        return np.ptp(self.targets[images].astype(np.float64), axis=0) == 0


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
        Rows of `train` to keep, and 10 % of the people (or of the images) to validate on; two images or more of each.

    Raises:
        UserError: too few images or people for that.
    """
    people = _people(train, groups)
    names = np.random.default_rng(mixed_seed(seed, "validation split")).permutation(np.unique(people))
    held_out = _held_out(people, names, round(0.1 * len(names)))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def divide(
    train: Int64[np.ndarray, " n"], val: Int64[np.ndarray, " m"] | None, groups: np.ndarray | None, seed: int
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " v"]]:
    """Which images protocol "standard" fits to and which it chooses on: what a seed of it draws.

    Seed 0 takes the splits that the data set has. Another seed divides the images of both anew into parts of the same
    sizes; where people are known, nobody is on both sides and the sizes are as near as that allows. Without a split
    "val" every seed draws it, see `carve_validation`.

    Returns:
        Rows of `train` followed by `val`: those to fit to, and those to choose on; two or more of each.

    Raises:
        UserError: too few images or people for that.
    """
    if val is None:
        return carve_validation(train, groups, seed)
    rows = np.arange(len(train) + len(val))
    if seed == 0:
        return rows[: len(train)], rows[len(train) :]
    people = _people(np.concatenate([train, val]), groups)
    names, counts = np.unique(people, return_counts=True)
    order = np.random.default_rng(mixed_seed(seed, "division")).permutation(len(names))
    lent = int(np.searchsorted(np.cumsum(counts[order]), len(val), side="right"))
    held_out = _held_out(people, names[order], lent)
    return rows[~held_out], rows[held_out]


def _held_out(people: np.ndarray, names: np.ndarray, lent: int) -> Bool[np.ndarray, " n"]:
    """Images of the first `lent` of `names`; of more, where these have less than two, of which there is no r."""
    held_out = np.isin(people, names[: max(1, lent)])
    if held_out.sum() < 2 and lent < len(names):
        return _held_out(people, names, lent + 1)
    if not 2 <= held_out.sum() <= len(people) - 2:
        found = f"{len(people)} images" + (f" of {len(names)} people" if len(names) < len(people) else "")
        raise UserError(
            f"splits train and val: expected 2 or more images to fit to and 2 of others to choose on, found {found}. "
            "Add images, or a split val."
        )
    return held_out


def _people(images: Int64[np.ndarray, " n"], groups: np.ndarray | None) -> np.ndarray:
    """Who is in each image; everybody is somebody else where nobody knows, or where all are one person."""
    if groups is None or len(np.unique(groups[images])) < 2:
        return np.arange(len(images))
    return groups[images]
