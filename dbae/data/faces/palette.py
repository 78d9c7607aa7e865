"""Colours of skin, hair, eyes, cloth and backgrounds as functions of the traits."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

Colour = Float32[np.ndarray, "3 #b 1 1"]

_SKIN = ((249, 221, 204), (236, 194, 164), (212, 160, 122), (160, 108, 76), (94, 62, 46))
_HAIR = ((20, 17, 18), (58, 38, 27), (104, 67, 40), (163, 115, 64), (221, 181, 114), (244, 216, 158))
_IRIS = ((72, 42, 22), (126, 92, 40), (86, 132, 80), (70, 132, 190))
_HUES = ((206, 84, 76), (214, 152, 72), (172, 184, 84), (84, 170, 120), (74, 150, 200), (112, 98, 196))


def _scale(stops: tuple[tuple[int, int, int], ...], position: np.ndarray) -> Colour:
    """Piecewise linear colour scale over [0, 1]."""
    table = np.asarray(stops, np.float32).T / np.float32(255)
    at = np.minimum(np.maximum(position.ravel(), 0), 1) * np.float32(len(stops) - 1)
    low = np.minimum(at.astype(np.int64), len(stops) - 2)
    share = at - low.astype(np.float32)
    return (table[:, low] + (table[:, low + 1] - table[:, low]) * share)[:, :, None, None]


def rgb(red: int, green: int, blue: int) -> Colour:
    """A colour shared by the batch, from 0..255."""
    return np.asarray([red, green, blue], np.float32)[:, None, None, None] / np.float32(255)


def mix(a: Colour, b: Colour, share: np.ndarray | float) -> Colour:
    """First colour where share is 0, second where it is 1."""
    return a + (b - a) * share


def skin(tone: np.ndarray) -> Colour:
    """0 pale, 1 dark."""
    return _scale(_SKIN, tone)


def hair(lightness: np.ndarray, warmth: np.ndarray, gray: np.ndarray) -> Colour:
    """From black over brown to blond; warmth turns it red; gray hair keeps the lightness alone."""
    tinted = mix(_scale(_HAIR, lightness), rgb(158, 62, 30), 0.7 * warmth)
    silver = rgb(235, 235, 238) * (0.35 + 0.6 * lightness)
    return mix(tinted, silver, gray)


def iris(hue: np.ndarray) -> Colour:
    """Brown, hazel, green, blue."""
    return _scale(_IRIS, hue)


def cloth(hue: np.ndarray, brightness: np.ndarray, saturation: float) -> Colour:
    """Red to violet (an open scale: its ends are not neighbours), dark to light."""
    return mix(rgb(170, 170, 175), _scale(_HUES, hue), saturation) * (1.35 * brightness)
