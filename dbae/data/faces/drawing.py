"""From traits to pixels: the order of the layers, and the steps after them."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from dbae.data.faces import accessories, eyes, features, hair, head
from dbae.data.faces.attributes import Traits
from dbae.data.faces.canvas import Scene

_LAYERS = (
    head.background,
    head.shoulders,
    hair.back_hair,
    head.neck,
    accessories.necktie,
    accessories.necklace,
    head.double_chin,
    head.ears,
    head.head,
    features.cheeks,
    features.wrinkles,
    features.nose,
    hair.beard,
    features.mouth,
    eyes.eyes,
    hair.front_hair,
    accessories.earrings,
    accessories.glasses,
    accessories.hat,
)
"""From back to front."""

SUPERSAMPLED_BELOW = 64
"""Smaller pictures are drawn at twice their size: an eye is thinner than a pixel there."""


def draw(traits: Traits, size: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Pictures of people with the given traits, size x size pixels, RGB."""
    twice = size < SUPERSAMPLED_BELOW
    scene = Scene.blank(traits, 2 * size if twice else size)
    for layer in _LAYERS:
        layer(scene)
    pixels = scene.pixels
    if twice:
        rows = pixels[:, :, ::2] + pixels[:, :, 1::2]
        pixels = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
    _blur(pixels, scene["Blurry"].ravel() > 0)
    bytes_ = np.floor(np.minimum(np.maximum(pixels, 0), 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(bytes_.transpose(1, 2, 3, 0))


def _blur(pixels: np.ndarray, which: np.ndarray) -> None:
    """Repeated (1, 2, 1) / 4 in both directions; the width in parts of the picture does not depend on its size."""
    rows = np.flatnonzero(which)
    if not len(rows):
        return
    part = pixels[:, rows]
    passes = max(1, round((part.shape[-1] / 36) ** 2))
    for _ in range(passes):
        for axis in (2, 3):
            pad = [(0, 0)] * 4
            pad[axis] = (1, 1)
            wide = np.moveaxis(np.pad(part, pad, mode="edge"), axis, 0)
            part = np.moveaxis((wide[:-2] + wide[2:] + 2 * wide[1:-1]) * np.float32(0.25), 0, axis)
    pixels[:, rows] = part
