"""How straight a path of codes is: does it go on in the direction it came from?

Of codes z_1 .. z_t of successive frames, with steps v_i = z_{i+1} - z_i:

    straightness   mean over i of cos(v_i, v_{i+1})       1: a straight line; 0: a random walk; -1/2: independent codes
    curvature      mean over i of the angle, in degrees   0: a straight line; 90: a random walk; 120: independent codes

(of many dimensions, the last two). Both depend on how far frames are apart: numbers of the same frames can be compared,
others cannot. A frame that stays where the one before it was is passed over, since no step has no direction.

Source: the angle is that of Henaff, Goris and Simoncelli, Nature Neuroscience 2019; the cosine that of Lyo, Simoncelli
and Savin, arXiv 2512.17127.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_STILL = 1e-6
"""A step of less than this share of the longest code is rounding, of float32 numbers."""


class Path(NamedTuple):
    """Straightness in [-1, 1] and curvature in degrees; NaN where there are not two steps."""

    straightness: float
    curvature: float


def path(z: Float[np.ndarray, "t d"]) -> Path:
    """Both numbers of one sequence of codes, computed in float64."""
    z = z.astype(np.float64)
    steps = np.diff(z, axis=0)
    steps = steps[_lengths(steps) > _STILL * _lengths(z).max(initial=0)]
    if len(steps) < 2:
        return Path(np.nan, np.nan)
    units = steps / _lengths(steps)[:, None]
    before, after = units[:-1], units[1:]
    angles = 2 * np.arctan2(_lengths(after - before), _lengths(after + before))  # exact near 0 too, as arccos is not
    return Path(float(np.cos(angles).mean()), float(np.degrees(angles).mean()))


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1)
