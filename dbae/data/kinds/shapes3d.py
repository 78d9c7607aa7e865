"""Shapes3D: `3dshapes.h5`, 480,000 pictures of an object in a room, of 64 pixels.

    images  uint8 (n, 64, 64, 3)
    labels  float64 (n, 6): hues of floor, wall and object, scale, shape (0 to 3), orientation (degrees)

Needs the package h5py. Source: google-deepmind/3d-shapes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dbae.data.kinds.known import Factor, Stored, known_factors, numbered
from dbae.support.errors import UserError

IMAGES = 480_000
_WHERE = "https://github.com/google-deepmind/3d-shapes"
_ROWS = 2048
"""Images read at a time, about: whole chunks of the file."""


class Shapes3D(Stored):
    """The file (see `Stored`). Raises UserError where it is another or damaged, or h5py is missing."""

    name, channels = "shapes3d", 3
    factors = (
        *(Factor(f"{part}_hue") for part in ("floor", "wall", "object")),
        Factor("scale"),
        Factor("shape", "words", ("0", "1", "2", "3")),
        Factor("orientation"),
    )

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        with _opened(path) as file:
            images, labels = file["images"], file["labels"]
            shape, dtype, n = images.shape, images.dtype, len(labels)
            if dtype != np.uint8 or shape != (n, *shape[1:2] * 2, 3) or labels.shape != (n, len(self.factors)):
                raise UserError(
                    f"{path}: expected images uint8 (n, s, s, 3) and labels (n, 6), found images {dtype} {shape} and "
                    f"labels {labels.shape}. Get the file of {_WHERE}."
                )
            self.side, self.values = shape[1], np.asarray(labels, np.float64)
        self.classes = numbered(self.values)

    def blocks(self) -> Iterator[UInt8[np.ndarray, "b s s 3"]]:
        """All images in order, some of the file's own chunks at a time."""
        with _opened(self.paths[0]) as file:
            images = file["images"]
            chunk = images.chunks[0] if images.chunks else 1
            step = chunk * max(1, _ROWS // chunk)
            for start in range(0, len(images), step):
                yield images[start : start + step]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: Shapes3D needs the package h5py, which is not installed. Run: pip install 'dbae-bench[h5py]'."
        ) from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{path}: expected HDF5 with images and labels, found: {what}. Download it again.") from error


KINDS = (known_factors("shapes3d", Shapes3D, (IMAGES,), _WHERE, "*.h5"),)
