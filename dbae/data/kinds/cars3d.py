"""Cars3D: a folder of `.mat` files, a car each, 17,568 pictures of 128 pixels.

    im  uint8 (128, 128, 3, 24, 4): 24 azimuths, 4 elevations

Cars are numbered in the order of their file names. Images are resized by LANCZOS; at 64 pixels they are
disentanglement_lib's. Source: www.scottreed.info, files/nips2015-analogy-data.tar.gz, data/cars (Reed et al. 2015).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dbae.data.kinds.known import Factor, Stored, grid, known_factors
from dbae.data.transforms import Transform
from dbae.support.errors import UserError

AZIMUTHS, ELEVATIONS, CARS = 24, 4, 183
_WHERE = "http://www.scottreed.info/files/nips2015-analogy-data.tar.gz, its folder data/cars"
_LANCZOS = Transform("lanczos-1", lambda image, size: image.resize((size, size), Image.Resampling.LANCZOS))


class Cars3D(Stored):
    """The folder (see `Stored`). Raises UserError where it has no such files."""

    name, channels, transform = "cars3d", 3, _LANCZOS
    factors = (Factor("elevation"), Factor("azimuth"), Factor("object_type", "none"))

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.mat"))
        if not self.paths:
            raise UserError(f"{folder}: expected the {CARS} .mat files of cars3d, found none. Get them: {_WHERE}.")
        self.side = len(_read(self.paths[0])[0])
        in_order = grid((len(self.paths), AZIMUTHS, ELEVATIONS))
        self.classes = in_order[:, ::-1]
        self.values = self.classes.astype(np.float64)

    def blocks(self) -> Iterator[UInt8[np.ndarray, "b s s 3"]]:
        """All images in order, a file at a time."""
        for path in self.paths:
            images = _read(path)
            if images.shape[1] != self.side:
                raise UserError(f"{path}: expected images of {self.side} pixels, found {images.shape[1]}.")
            yield images


def _read(path: Path) -> UInt8[np.ndarray, "b s s 3"]:
    """The images of one car, elevations changing fastest."""
    from scipy.io import loadmat

    try:
        images = loadmat(path)["im"]
    except Exception as error:  # loadmat raises of every kind
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: expected a MATLAB file with im, found: {what}. Unpack it again.") from error
    if (
        images.dtype != np.uint8
        or not images.size
        or images.ndim != 5
        or images.shape != (*images.shape[:1] * 2, 3, AZIMUTHS, ELEVATIONS)
    ):
        raise UserError(
            f"{path}: expected im uint8 (s, s, 3, {AZIMUTHS}, {ELEVATIONS}), found {images.dtype} {images.shape}. "
            f"Get the files: {_WHERE}."
        )
    return np.ascontiguousarray(images.transpose(3, 4, 0, 1, 2)).reshape(-1, *images.shape[:3])


KINDS = (known_factors("cars3d", Cars3D, (CARS * AZIMUTHS * ELEVATIONS,), _WHERE),)
