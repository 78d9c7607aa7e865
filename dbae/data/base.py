"""What a data set is: uint8 square RGB images with a stable index, splits, and optional labels.

    files -> ImageDataset (uint8, stable index) -> float32 in [-1, 1] -> models

Transforms that belong to a data set (crop, resize) happen in `image`; flips belong to whoever reads.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float64, Int8, UInt8
from torch import Tensor

from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Attributes:
    """Labels of all n images of a data set, in index order.

    Attributes:
        binary_names: k names; binary: int8 (n, k) of 0/1.
        continuous_names: m names; continuous: float64 (n, m), in the units of the label file.

    Raises:
        UserError: a label called `mean`, see `require_names`.
    """

    binary_names: tuple[str, ...]
    binary: Int8[np.ndarray, "n k"]
    continuous_names: tuple[str, ...]
    continuous: Float64[np.ndarray, "n m"]

    def __post_init__(self) -> None:
        require_names((*self.binary_names, *self.continuous_names), "labels")


def require_names(names: Sequence[str], where: str) -> None:
    """Raise UserError if a label has the name that results have for the mean over all labels."""
    if "mean" in names:
        raise UserError(
            f"{where}: expected other names than 'mean', which is what results call the mean over all labels; found a "
            "label of that name. Rename its column."
        )


class ImageDataset(abc.ABC):
    """Images of one source at one size.

    Attributes:
        name: how results name the data, without any folder of this machine (e.g. "utkface64", "faces-v1").
        size: side of the square images in pixels.
        splits: name -> int64 indices in file order; "all" is always there, "train"/"val"/"test" where the
            source defines them.
        attributes: labels, or None.
        groups: optional int64 (n,): identity of the person in each image (LFW, CelebA), so that a split made here
            can keep a person on one side.
        factors: names of what was drawn independently and causes the image, where that is known.
        classes: int64 (n, f), the value of every factor in every image, numbered from 0, where all have finitely many;
            None where they are continuous, and then the factors are names among the attributes.
    """

    name: str
    size: int
    splits: Mapping[str, np.ndarray]
    attributes: Attributes | None = None
    groups: np.ndarray | None = None
    factors: tuple[str, ...] = ()
    classes: np.ndarray | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abc.abstractmethod
    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`, RGB uint8. Raises UserError naming the file when it cannot be read."""

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Hex SHA-256 that changes when an image, the size, a split or a label changes; the same on every machine."""

    @property
    def image_fingerprint(self) -> str:
        """Hex SHA-256 of the images, their order and size alone: data sets that share it have equal images.

        Where images and labels cannot be told apart, it is `fingerprint`.
        """
        return self.fingerprint

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `indices` as one uint8 NCHW tensor."""
        return torch.from_numpy(np.stack([self.image(int(i)) for i in indices])).permute(0, 3, 1, 2).contiguous()

    def split(self, name: str) -> np.ndarray:
        """Indices of a split. Raises UserError naming the splits there are."""
        if name not in self.splits:
            there = ", ".join(self.splits)
            raise UserError(f"data set {self.name} has no split '{name}'; it has: {there}.{_offer(self)}")
        return self.splits[name]


def _offer(data: ImageDataset) -> str:
    """How to get splits, for images that come without."""
    if set(data.splits) != {"all"}:
        return ""
    return (
        " Have it split by a seed: add ?split=train:0.9,test:0.1 to the source, for a command that needs both, or "
        "?split=train:0.9 for that part alone."
    )
