"""Published images of known factors, as one file or folder holds them: dSprites, Shapes3D, MPI3D, Cars3D.

    file (images in its own order, classes of factors) -> n images of a drawn order, at one size -> kept on disk

Such files have no splits, and their order is that of the factors: its first images are all of one shape. Image i is
therefore the one at place order[i] of the file, `order` being a permutation drawn from a seed. A smaller n takes fewer
of the same, and train, val and test are the first 80 %, the next 10 %, and the rest, as of drawn images.

Pixels are read when the first image is asked for: the file is gone through once, a block at a time, and the n images
are kept at their size in `$DBAE_CACHE` (n s^2 bytes, three times that of colour images), from where they are
memory-mapped. The file is identified by the checksum of its bytes.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from PIL import Image
from torch import Tensor

from dbae.data.base import Attributes, ImageDataset
from dbae.data.drawn import splits_in_order
from dbae.data.kept import cached_images
from dbae.data.kinds.kind import Kind, Source, root_of
from dbae.data.transforms import SQUARE, Transform
from dbae.noise import mixed_seed
from dbae.support.errors import UserError
from dbae.support.files import cache_folder
from dbae.support.locking import locked

VERSION = 1
"""Raised when the order, or what is made of a file, changes."""


@dataclasses.dataclass(frozen=True)
class Factor:
    """One factor, and what labels it gives.

    Attributes:
        name: in labels and results.
        label: "number", a continuous label; "flag", a binary one, of two classes; "words", a binary one for every
            class (`shape=square`); "none".
        words: names of the classes, of "words".
    """

    name: str
    label: Literal["number", "flag", "words", "none"] = "number"
    words: tuple[str, ...] = ()


class Stored(abc.ABC):
    """A file or folder that is there, of which pixels are not read yet.

    Attributes:
        name: how results name the data.
        paths: the files, in the order of their images; side: pixels of an image's side; channels: 1 or 3.
        factors: f of them; classes: int64 (n, f) from 0; values: (n, f), what the classes stand for.
        transform: from a stored image to S x S.
    """

    name: str
    paths: Sequence[Path]
    side: int
    channels: int
    factors: tuple[Factor, ...]
    classes: Int64[np.ndarray, "n f"]
    values: Float64[np.ndarray, "n f"]
    transform: Transform = SQUARE

    @abc.abstractmethod
    def blocks(self) -> Iterator[UInt8[np.ndarray, "b s s c"]]:
        """All images in the order of the file. Raises UserError where they cannot be read."""

    def checksum(self) -> int:
        """CRC-32 of the bytes of the files, one after the other. Raises UserError naming one that cannot be read."""
        checksum = 0
        for path in self.paths:
            try:
                with open(path, "rb") as file:
                    while piece := file.read(1 << 22):
                        checksum = zlib.crc32(piece, checksum)
            except OSError as error:
                raise UserError(
                    f"{path}: expected a readable file, found: {error.strerror}. Check the path."
                ) from error
        return checksum


class KnownFactors(ImageDataset):
    """n images of a file, at one size; labels, `factors` and `classes` are those of the file.

    Args:
        stored: the file.
        n: how many images; None for all.
        size: side in pixels; None for the stored one.
        seed: of the order.

    Raises:
        UserError: more images than there are, or none, or labels that the factors cannot have.
    """

    classes: np.ndarray

    def __init__(self, stored: Stored, *, n: int | None = None, size: int | None = None, seed: int = 0) -> None:
        _require_labels(stored)
        there = len(stored.classes)
        if n is not None and n > there:
            raise UserError(f"{stored.name}: expected {n:,} images, found {there:,}. Lower or remove n.")
        self.stored, self.seed = stored, seed
        self.name, self.size = stored.name, size or stored.side
        generator = np.random.default_rng(mixed_seed(seed, "order of images"))
        self.order = generator.permutation(there)[: n or there]
        self.classes = stored.classes[self.order]
        self.factors = tuple(factor.name for factor in stored.factors)
        self.attributes = labels_of(stored.factors, self.classes, stored.values[self.order])
        self.splits: Mapping[str, np.ndarray] = splits_in_order(len(self.order))

    def __len__(self) -> int:
        return len(self.order)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`, grey ones with three equal channels. Raises UserError where the file cannot be read."""
        return self._rgb(np.asarray([index]))[0]

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `indices`, those of `image`."""
        images = self._rgb(np.fromiter((int(i) for i in indices), np.int64))
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file's checksum, the classes, n, seed, size and transform. Reads the file once."""
        about = [self.name, VERSION, self.stored.checksum(), len(self), self.seed, self.size]
        digest = hashlib.sha256(json.dumps([*about, self.stored.transform.version, self.factors]).encode())
        digest.update(self.classes.astype("<i8").tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, object]:
        """A worker process maps the images anew; a pickled memory map would carry all of them."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _rgb(self, indices: np.ndarray) -> UInt8[np.ndarray, "b s s 3"]:
        images = self._kept[self._rows[indices]]
        return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else np.asarray(images)

    @functools.cached_property
    def _rows(self) -> Int64[np.ndarray, " n"]:
        """Where each image is among those kept, which are in the order of the file."""
        return np.argsort(np.argsort(self.order))

    @functools.cached_property
    def _kept(self) -> UInt8[np.ndarray, "n s s c"]:
        folder = cache_folder()
        shape = (len(self), self.size, self.size, self.stored.channels)
        title = f"{self.name}-{self.size}px"
        with locked(folder / f"{title}-{self.fingerprint[:16]}"):
            return cached_images(folder, title, self.fingerprint, shape, self._chosen(), making="unpacking")

    def _chosen(self) -> Iterator[UInt8[np.ndarray, "b s s c"]]:
        """The n images in the order of the file, resized."""
        wanted, start = np.sort(self.order), 0
        for block in self.stored.blocks():
            low, high = np.searchsorted(wanted, [start, start + len(block)])
            if low < high:
                yield self._resized(block[wanted[low:high] - start])
            start += len(block)

    def _resized(self, images: UInt8[np.ndarray, "b h w c"]) -> UInt8[np.ndarray, "b s s c"]:
        if images.shape[1] == self.size:
            return images
        transform, grey = self.stored.transform, images.shape[3] == 1
        pictures = [Image.fromarray(image[..., 0] if grey else image) for image in images]
        return np.stack([np.asarray(transform.apply(picture, self.size)) for picture in pictures]).reshape(
            len(images), self.size, self.size, -1
        )


def known_factors(
    name: str, stored: Callable[[Path], Stored], images: tuple[int, ...], where: str, pattern: str = ""
) -> Kind:
    """The KIND of a file, or of a folder where no pattern says what the file is called.

    Args:
        name: of the KIND.
        stored: from the path to what lies there.
        images: how many were published, of each variant.
        where: where users get them.
        pattern: of the file, for those who name the folder that holds it.
    """

    def open_source(source: Source) -> KnownFactors:
        path = root_of(source)
        if pattern and not path.is_file():
            found = sorted(path.glob(pattern)) if path.is_dir() else []
            if len(found) != 1:
                what = f"{len(found)}: {', '.join(one.name for one in found)}. Name one." if found else "none."
                raise UserError(
                    f"{path}: expected the file of {name} ({pattern}), or a folder that holds it, found {what} "
                    f"It is to be had at {where}."
                )
            path = found[0]
        return KnownFactors(stored(path), n=source.n, size=source.size, seed=source.seed or 0)

    splits = ("all", "train", "val", "test")
    return Kind(name, open_source, handles=("n", "seed"), splits=splits, images=images)


def _require_labels(stored: Stored) -> None:
    """Raise UserError where there are no images, or what a file says of them would make labels that are not so."""
    path = stored.paths[0]
    if not len(stored.classes):
        raise UserError(f"{path}: expected images, found none. Get the file again.")
    if not np.isfinite(stored.values).all():
        raise UserError(f"{path}: expected finite values of all factors, found NaN or infinity. Get the file again.")
    for factor, column in zip(stored.factors, stored.classes.T, strict=True):
        count = {"flag": 2, "words": len(factor.words)}.get(factor.label)
        if count and not 0 <= column.min() <= column.max() < count:
            found = f"{column.min()} to {column.max()}"
            raise UserError(
                f"{path}: expected classes 0 to {count - 1} of {factor.name}, found {found}. Get the file again."
            )


def labels_of(
    factors: Sequence[Factor], classes: Int64[np.ndarray, "n f"], values: Float64[np.ndarray, "n f"]
) -> Attributes:
    """The labels that factors give (`Factor.label`)."""
    binary, continuous = {}, {}
    for factor, column, value in zip(factors, classes.T, values.T, strict=True):
        if factor.label == "number":
            continuous[factor.name] = value
        elif factor.label == "flag":
            binary[factor.name] = column
        elif factor.label == "words":
            binary |= {f"{factor.name}={word}": column == i for i, word in enumerate(factor.words)}
    n = len(classes)
    return Attributes(
        tuple(binary), _columns(binary, n).astype(np.int8), tuple(continuous), _columns(continuous, n).astype(float)
    )


def _columns(named: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    return np.stack(list(named.values()), axis=1) if named else np.empty((n, 0))


def grid(sizes: Sequence[int]) -> Int64[np.ndarray, "n f"]:
    """Classes of all combinations, the last factor changing fastest."""
    return np.stack(np.unravel_index(np.arange(int(np.prod(sizes))), sizes), axis=1)


def numbered(values: Float64[np.ndarray, "n f"]) -> Int64[np.ndarray, "n f"]:
    """The number of each value among those of its column, by size."""
    return np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in values.T], axis=1)
