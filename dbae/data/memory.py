"""A small data set held decoded in memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from dbae.data.base import ImageDataset
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar


class InMemory(ImageDataset):
    """Another data set, decoded once into one uint8 array of n * 3 * size^2 bytes.

    Indices, labels, splits, name and fingerprint are those of `dataset`. Forked workers share the array.

    Args:
        dataset: what to decode.
        workers: processes that decode (0: this one); the result is the same.
        progress: show a progress bar.

    Raises:
        UserError: an image cannot be read, or the images do not fit into the memory of this machine.
    """

    def __init__(self, dataset: ImageDataset, *, workers: int = 0, progress: bool = True) -> None:
        from dbae.data.loader import iterate

        self.name, self.size, self.splits = dataset.name, dataset.size, dataset.splits
        self.attributes, self.groups = dataset.attributes, dataset.groups
        self.factors, self.classes = dataset.factors, dataset.classes
        self._dataset = dataset
        shape = (len(dataset), 3, dataset.size, dataset.size)
        _check_fits(shape, self.name)
        self.pixels = np.empty(shape, np.uint8)
        with progress_bar(len(dataset), f"reading {self.name}", show=progress) as bar:
            for indices, images in iterate(dataset, np.arange(len(dataset)), 256, workers=workers):
                self.pixels[indices] = images.numpy()
                bar.update(len(indices))

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`, a copy."""
        return np.ascontiguousarray(self.pixels[index].transpose(1, 2, 0))

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `indices`, a copy."""
        return torch.from_numpy(self.pixels[np.fromiter(indices, np.int64)])

    @property
    def fingerprint(self) -> str:
        """That of the data set that was read."""
        return self._dataset.fingerprint

    @property
    def image_fingerprint(self) -> str:
        """That of the data set that was read."""
        return self._dataset.image_fingerprint


def _check_fits(shape: tuple[int, ...], name: str) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if math.prod(shape) > 0.8 * memory:
        raise UserError(
            f"{name}: expected images that fit into 80 % of this machine's {memory / 2**30:.1f} GiB of memory, found "
            f"{math.prod(shape) / 2**30:.1f} GiB ({shape[0]} images of {shape[2]} pixels). "
            "Read from disk instead, or choose a smaller size or n."
        )
