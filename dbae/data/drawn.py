"""What drawn data sets have in common: random numbers, splits, and images that are functions of (seed, index).

Every random number is a hash, u(seed, name, index) in [0, 1): splitmix64 over the crc32 of its name. Bell-shaped
numbers are sums of four uniforms, (u1 + u2 + u3 + u4 - 2) sqrt(3): mean 0, variance 1, bounded by 2 sqrt(3).
"""

from __future__ import annotations

import abc
import hashlib
import math
import zlib
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from dbae.data.base import ImageDataset
from dbae.support.errors import UserError

MOST = 2_000_000
"""Images in one population: while they are drawn, the labels of a face take about 2 KB."""


class Draws:
    """Named random numbers of images `indices`."""

    def __init__(self, seed: int, indices: Int64[np.ndarray, " n"]) -> None:
        self.seed = np.asarray([seed & (2**64 - 1)], np.uint64)
        self.indices = indices.astype(np.uint64)

    def uniform(self, name: str) -> Float64[np.ndarray, " n"]:
        """Numbers in [0, 1)."""
        stream = _splitmix(_splitmix(self.seed) ^ np.uint64(zlib.crc32(name.encode())))
        return (_splitmix(stream ^ _splitmix(self.indices)) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, name: str) -> Float64[np.ndarray, " n"]:
        """Bell-shaped, mean 0, variance 1, at most 2 sqrt(3) in size."""
        total = sum((self.uniform(f"{name}/{k}") for k in range(1, 4)), self.uniform(f"{name}/0"))
        return (total - 2.0) * math.sqrt(3.0)

    def chance(self, name: str, probability: np.ndarray | float) -> Float64[np.ndarray, " n"]:
        """1 with the given probability, else 0."""
        return (self.uniform(name) < probability).astype(np.float64)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea, Flood 2014), on uint64 arrays."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def splits_in_order(n: int) -> dict[str, Int64[np.ndarray, " m"]]:
    """Of images in random order: train, val and test are the first 80 %, the next 10 %, and the rest."""
    everything = np.arange(n, dtype=np.int64)
    first, second = n * 8 // 10, n * 9 // 10
    parts = {"train": everything[:first], "val": everything[first:second], "test": everything[second:]}
    return {"all": everything} | parts


class Drawn(ImageDataset):
    """n images of size x size pixels, drawn from (seed, index); splits: `splits_in_order`.

    Attributes:
        kind: what messages call the data.

    Raises:
        UserError: n, size or seed out of range.
    """

    kind: str

    def __init__(self, name: str, n: int, size: int, seed: int) -> None:
        if n < 1 or size < 8 or seed < 0:
            raise UserError(
                f"{self.kind}: expected n >= 1, size >= 8, seed >= 0; found n={n}, size={size}, seed={seed}."
            )
        if n > MOST:
            raise UserError(
                f"{self.kind}: expected at most {MOST:,} {self.kind}, whose labels fit into memory, found n={n:,}."
            )
        self.name, self.n, self.size, self.seed = name, n, size, seed
        self.splits = splits_in_order(n)

    def __len__(self) -> int:
        return self.n

    @property
    def fingerprint(self) -> str:
        """SHA-256 of name and version, n, size and seed, which determine images and labels."""
        text = f"{self.name} n={self.n} size={self.size} seed={self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`. Raises IndexError outside 0..n-1."""
        return self._checked([index])[0]

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `indices`, bit for bit those of `image`. Raises IndexError outside 0..n-1."""
        images = self._checked([int(i) for i in indices])
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _checked(self, indices: list[int]) -> UInt8[np.ndarray, "b s s 3"]:
        wrong = [i for i in indices if not 0 <= i < self.n]
        if wrong:
            raise IndexError(f"{self.name} has images 0 to {self.n - 1}; asked for {wrong[0]}")
        return self._images(np.asarray(indices, np.int64))

    @abc.abstractmethod
    def _images(self, indices: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b s s 3"]:
        """Images `indices`, all of which there are."""
