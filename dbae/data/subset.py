"""A part of a data set as a data set of its own."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from dbae.data.base import Attributes, ImageDataset


class Subset(ImageDataset):
    """The images `origin` of another data set, renumbered 0 .. n-1 in that order.

    Labels, groups and factors follow the images. Splits keep the images they share with the subset; a split that shares
    none is gone, so that asking for it is an error and not an empty result. Because images are renumbered, per-image
    noise is that of the new index; for the first n images of a data set the two are the same.

    Attributes:
        origin: int64 (n,), index of every image in `parent`.
    """

    def __init__(self, parent: ImageDataset, origin: Int64[np.ndarray, " n"]) -> None:
        self.parent = parent
        self.origin = origin
        self.name = parent.name
        self.size = parent.size
        kept = {name: np.flatnonzero(np.isin(origin, indices)) for name, indices in parent.splits.items()}
        self.splits = {name: indices for name, indices in kept.items() if len(indices) or name == "all"}
        self.groups = None if parent.groups is None else parent.groups[origin]
        self.factors = parent.factors
        self.classes = None if parent.classes is None else parent.classes[origin]
        labels = parent.attributes
        self.attributes = None
        if labels is not None:
            self.attributes = Attributes(
                labels.binary_names, labels.binary[origin], labels.continuous_names, labels.continuous[origin]
            )

    def __len__(self) -> int:
        return len(self.origin)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `origin[index]` of the parent."""
        return self.parent.image(int(self.origin[index]))

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `origin[indices]` of the parent."""
        return self.parent.batch(self.origin[np.fromiter(indices, np.int64)])

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parent's fingerprint and the indices taken; the parent's own when all are taken in order."""
        return self._taken_from(self.parent.fingerprint)

    @functools.cached_property
    def image_fingerprint(self) -> str:
        """The same of the parent's `image_fingerprint`."""
        return self._taken_from(self.parent.image_fingerprint)

    def _taken_from(self, parent: str) -> str:
        if np.array_equal(self.origin, np.arange(len(self.parent))):
            return parent
        return hashlib.sha256(parent.encode() + self.origin.astype("<i8").tobytes()).hexdigest()


def located(data: ImageDataset, index: int) -> tuple[ImageDataset, int]:
    """The data set that an image of a subset comes from, and its index there."""
    while isinstance(data, Subset):
        index, data = int(data.origin[index]), data.parent
    return data, index
