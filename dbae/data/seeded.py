"""Splits made here, for images that come without: the same for everyone who names the same shares and seed.

Images are put in an order that (seed, number of images) determine. `train` is cut from its start, `test` and before it
`val` from its end, so that `train:0.9` and `test:0.1`, named in two commands, share no image. Where it is known who is
on an image, people are put in order instead, and each goes where the middle of their images falls.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping

import numpy as np

from dbae.data.base import ImageDataset
from dbae.data.subset import Subset
from dbae.noise import mixed_seed
from dbae.support.errors import UserError

NAMES = ("train", "val", "test")

_DIGITS = 9  # after the point: what ends at 0.9 and what starts at 1 - 0.1 meet


class SeededSplits(Subset):
    """A data set cut into splits made here: the images of all of them, in file order, and no others."""

    def __init__(self, parent: ImageDataset, parts: Mapping[str, np.ndarray]) -> None:
        origin = np.sort(np.concatenate(list(parts.values())))
        super().__init__(parent, origin)
        self.splits = {"all": np.arange(len(origin))}
        self.splits |= {name: np.searchsorted(origin, indices) for name, indices in parts.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parent's fingerprint, the images and what split each is in."""
        digest = hashlib.sha256(f"{self.parent.fingerprint} splits".encode() + self.origin.astype("<i8").tobytes())
        for name, indices in sorted(self.splits.items()):
            digest.update(name.encode() + indices.astype("<i8").tobytes())
        return digest.hexdigest()


def parse_shares(text: str, source: str) -> dict[str, float]:
    """`train:0.9,test:0.1` -> shares. Raises UserError for other names, numbers outside of (0, 1], a sum above 1."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition(":")
        share = float(number) if number.replace(".", "", 1).isdecimal() and number.isascii() else 0.0
        if name not in NAMES or name in shares or not 0 < share <= 1:
            raise UserError(
                f"{source}: expected split=NAME:SHARE,... of {', '.join(NAMES)}, each once, with a share above 0 and "
                f"at most 1, found '{part[:80]}'. Write split=train:0.9,test:0.1."
            )
        shares[name] = share
    if sum(shares.values()) > 1 + 1e-9:
        raise UserError(f"{source}: expected shares that add up to 1 at most, found {sum(shares.values()):g}.")
    return shares


def with_seeded_splits(data: ImageDataset, shares: Mapping[str, float], seed: int, source: str) -> ImageDataset:
    """The images of the named shares, as splits.

    Raises:
        UserError: the data has splits of its own, which another split would mix; a share that holds no image.
    """
    own = [name for name in data.splits if name != "all"]
    if own:
        raise UserError(
            f"{source}: has splits of its own: {', '.join(own)}, which a new one would mix. Write split={own[0]}, "
            "without a share."
        )
    places = _places(data, seed).round(_DIGITS)
    parts = {name: np.flatnonzero((low <= places) & (places < high)) for name, (low, high) in _bounds(shares).items()}
    for name, indices in parts.items():
        if not len(indices):
            raise UserError(
                f"{source}: expected images in {name}:{shares[name]:g}, found none of {len(data)}. Name a larger share."
            )
    return SeededSplits(data, parts)


def _places(data: ImageDataset, seed: int) -> np.ndarray:
    """Where in the order, from 0 to 1, every image is."""
    generator = np.random.default_rng(mixed_seed(seed, "split"))
    n = len(data)
    if data.groups is None:
        order = generator.permutation(n)
        places = np.empty(n)
        places[order] = (np.arange(n) + 0.5) / n
        return places
    people, person, counts = np.unique(data.groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(people))
    ends = np.cumsum(counts[order])
    middle = np.empty(len(people))
    middle[order] = (ends - counts[order] / 2) / n
    return middle[person]


def _bounds(shares: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Where each split lies between 0 and 1: train from the start, test and before it val from the end."""
    test, val = shares.get("test", 0.0), shares.get("val", 0.0)
    places = {"train": (0.0, shares.get("train", 0.0)), "val": (1 - test - val, 1 - test), "test": (1 - test, 1.0)}
    return {name: (round(places[name][0], _DIGITS), round(places[name][1], _DIGITS)) for name in shares}
