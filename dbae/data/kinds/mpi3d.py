"""MPI3D: `mpi3d_toy.npz`, `mpi3d_realistic.npz`, `mpi3d_real.npz`, or `real3d_complicated_shapes_ordered.npz`.

    images  uint8 (n, 64, 64, 3): every combination of seven factors, the last changing fastest

The file does not name its factors: 1,036,800 images are of 6 colours, 6 shapes, 2 sizes, 3 heights of the camera,
3 colours of the background and 40 x 40 positions of the arm's two axes; 460,800 (real, complex shapes) of 4 colours and
4 shapes. Source: rr-learning/disentanglement_dataset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dbae.data.files.npz import array_blocks, array_shape
from dbae.data.kinds.known import Factor, Stored, grid, known_factors
from dbae.support.errors import UserError

SIZES = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))
IMAGES = tuple(math.prod(sizes) for sizes in SIZES)
_WHERE = "https://github.com/rr-learning/disentanglement_dataset"


class MPI3D(Stored):
    """The file (see `Stored`), named after it. Raises UserError where it is another or damaged."""

    channels = 3

    def __init__(self, path: Path) -> None:
        self.paths, self.name = (path,), path.stem
        shape = array_shape(path, "images")
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[0] not in IMAGES:
            expected = " or ".join(f"{n:,}" for n in IMAGES)
            raise UserError(
                f"{path}: expected {expected} square colour images, found images {shape}. Get the file of {_WHERE}."
            )
        self.side, sizes = shape[1], SIZES[IMAGES.index(shape[0])]
        colour, form, background = (tuple(map(str, range(sizes[i]))) for i in (0, 1, 4))
        self.factors = (
            Factor("object_color", "words", colour),
            Factor("object_shape", "words", form),
            Factor("object_size", "flag"),
            Factor("camera_height"),
            Factor("background_color", "words", background),
            Factor("horizontal_axis"),
            Factor("vertical_axis"),
        )
        self.classes = grid(sizes)
        self.values = self.classes.astype(np.float64)

    def blocks(self) -> Iterator[UInt8[np.ndarray, "b s s 3"]]:
        """All images in order."""
        return array_blocks(self.paths[0], "images")


KINDS = (known_factors("mpi3d", MPI3D, IMAGES, _WHERE, "*3d*.npz"),)
