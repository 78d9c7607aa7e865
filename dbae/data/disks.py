"""Disks that we draw: the smallest data set whose factors are known.

One grey disk on black. With the centre (x, y) and the radius r in 32nds of the picture's side (x to the right, y down),
intensity i, and rho the distance of a pixel's middle from the centre,

    pixel = i sigmoid(2 (r - rho))

x and y are uniform in [8, 24), r in [3, 8) and i in [0.25, 1), all independent, so that every disk lies within the
picture. A picture is a function of (seed, index); another size shows the same disk. A label does not depend on the
machine; a pixel does only where another C library's exponential rounds the other way.

Source of the edge and the factors: the disks of Lyo, Simoncelli and Savin, arXiv 2512.17127; its ranges are not known.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from dbae.data.base import Attributes
from dbae.data.drawn import Drawn, Draws

VERSION = 1
"""To be raised whenever a pixel or a label changes."""
RANGES: dict[str, tuple[float, float]] = {"x": (8, 24), "y": (8, 24), "radius": (3, 8), "intensity": (0.25, 1)}
"""Factor -> its least value, and the value that it stays below."""
_AT_ONCE = 1 << 19
"""Pixels drawn together: 4 MB."""


class Disks(Drawn):
    """n drawn disks of size x size pixels; train, val and test are the first 80 %, the next 10 %, and the rest.

    `attributes` holds the four factors as continuous ones, each in standard deviations of its distribution from the
    mean: whoever always predicts the mean has a mean squared error of about 1 in every one of them.

    Args:
        n: number of images, at least 1.
        size: side in pixels, at least 8.
        seed: another seed is another population.

    Raises:
        UserError: n, size or seed out of range.
    """

    kind = "disks"
    factors = tuple(RANGES)

    def __init__(self, n: int = 20000, size: int = 32, seed: int = 0) -> None:
        super().__init__(f"disks-v{VERSION}", n, size, seed)
        self.values = sample_factors(seed, np.arange(n))
        self.attributes = label(self.values)

    def _images(self, indices: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b s s 3"]:
        return draw(self.values[indices], self.size)


def sample_factors(seed: int, indices: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 4"]:
    """The factors of disks `indices`, in the units and the order of `RANGES`."""
    draws = Draws(seed, np.asarray(indices, np.int64))
    return np.stack([low + (high - low) * draws.uniform(name) for name, (low, high) in RANGES.items()], axis=1)


def label(values: Float64[np.ndarray, "n 4"]) -> Attributes:
    """Factors as labels: standard deviations of a uniform number from the middle of its range."""
    low, high = np.array(list(RANGES.values())).T
    scaled = (values - (low + high) / 2) / ((high - low) / np.sqrt(12))
    return Attributes((), np.empty((len(values), 0), np.int8), tuple(RANGES), scaled)


def draw(values: Float64[np.ndarray, "n 4"], size: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Pictures of disks with the given factors (units and order of `RANGES`; any range), size x size pixels, RGB."""
    grey = np.empty((len(values), size, size), np.uint8)
    middles = (np.arange(size) + 0.5) * (32 / size)
    step = max(1, _AT_ONCE // size**2)
    for start in range(0, len(values), step):
        x, y, radius, intensity = values[start : start + step].T[..., None, None]
        distance = np.sqrt((middles - x) ** 2 + (middles[:, None] - y) ** 2)
        pixels = intensity / (1 + np.exp(2 * (distance - radius)))
        grey[start : start + step] = np.floor(np.clip(pixels, 0, 1) * 255 + 0.5)
    return np.repeat(grey[..., None], 3, axis=3)
