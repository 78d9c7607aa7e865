"""Nose, cheeks, mouth, and the lines of age."""

from __future__ import annotations

import dataclasses

import numpy as np

from dbae.data.faces import palette
from dbae.data.faces.canvas import Patch, Scene, ellipse
from dbae.data.faces.head import skin_colour

MOUTH = 0.55
"""Height of the mouth of a face at rest."""


def nose(scene: Scene) -> None:
    """Ridge and tip catch the light, the far flank and the underside lie in shadow; nostrils."""
    length, width, point = scene["nose_length"], scene["nose_width"], scene["Pointy_Nose"]
    bridge_u, bridge_v, _ = scene.turn(0.0, 0.02)
    tip_u, tip_v, _ = scene.turn(0.0, 0.3 * length - 0.1 + 0.04, 0.16 + 0.1 * point)
    lx, strength = scene["light_x"], scene["light_strength"]
    wing = 0.15 * width * (1 - 0.2 * point)
    for side in (-1.0, 1.0):
        dark = -0.09 - 0.26 * np.maximum(-lx * side, 0) * strength
        scene.glow((bridge_u + tip_u) / 2 + 0.11 * side, (bridge_v + tip_v) / 2, 0.09, 0.3, None, dark)
        scene.glow(tip_u + wing * side, tip_v + 0.06, 0.085 * width, 0.12, None, dark - 0.12)
    scene.glow(tip_u, tip_v + 0.14, 0.2 * width, 0.09, None, -0.3 - 0.25 * strength)
    scene.glow((bridge_u + tip_u) / 2, (bridge_v + tip_v) / 2 - 0.03, 0.065, 0.32, None, 0.13)
    scene.glow(tip_u + 0.03 * lx, tip_v, 0.12 * width * (1 - 0.35 * point), 0.12, None, 0.14 + 0.1 * point)
    patch = scene.patch(tip_u - 0.3, tip_u + 0.3, tip_v - 0.05, tip_v + 0.25)
    nostril_v = patch.v - tip_v - 0.105 + 0.05 * point
    dark = skin_colour(scene) * palette.rgb(96, 50, 46)
    for side in (-1.0, 1.0):
        d = ellipse(patch.u - tip_u - 0.58 * wing * side, nostril_v, 0.052 * width, 0.028)
        patch.paint(patch.cover(d) * 0.8, dark)


def cheeks(scene: Scene) -> None:
    """Blush, cheekbones with a hollow below, and round cheeks."""
    skin = skin_colour(scene)
    blush = palette.mix(skin * palette.rgb(250, 150, 150), palette.rgb(226, 74, 86), 0.45)
    for side in (-1.0, 1.0):
        u, v, narrow = scene.turn(side * 0.43 * scene["face_width"], 0.24 - 0.03 * scene["High_Cheekbones"])
        scene.glow(u, v, 0.3 * narrow, 0.25, blush, 0.62 * scene["cheek_redness"])
        bone = scene["High_Cheekbones"]
        scene.glow(u + 0.02 * side, v - 0.08, 0.24 * narrow, 0.14, None, 0.16 * bone)
        scene.glow(u + 0.02 * side, v + 0.24, 0.26 * narrow, 0.26, None, -0.18 * bone)
        scene.glow(u, v + 0.08, 0.3 * narrow, 0.3, None, 0.13 * scene["Chubby"])


def wrinkles(scene: Scene) -> None:
    """Folds from nose to mouth and lines on the forehead, deeper with age; a smile deepens the fold."""
    u, v, _ = scene.turn(0.0, 0.42)
    patch = scene.patch(u - 0.55, u + 0.55, v - 0.3, v + 0.3)
    x, y = patch.u - u, patch.v - v
    fold = np.abs(x) - 0.27 - 0.06 * scene["mouth_width"] - 0.26 * y + 0.2 * y * y
    fade = np.maximum(1 - (y / 0.24) * (y / 0.24), 0)
    depth = 0.36 * scene["aging"] + 0.12 * np.maximum(scene["smile"], 0)
    patch.shade(-depth * patch.band(fold, 0.022) * fade)
    u, v, _ = scene.turn(0.0, -0.58)
    patch = scene.patch(u - 0.5, u + 0.5, v - 0.2, v + 0.2)
    x, y = patch.u - u, patch.v - v
    fade = np.maximum(1 - (x / 0.42) * (x / 0.42), 0)
    for line in (-0.09, 0.0, 0.09):
        patch.shade(-0.32 * scene["aging"] * patch.band(y - line - 0.1 * x * x, 0.013) * fade)


@dataclasses.dataclass(frozen=True)
class _Shape:
    """The mouth in its patch.

    Attributes:
        x: across, -1 and 1 at the corners; ends: distance beyond the corners.
        y: below the line of the mouth, which the smile bends; u: from the middle, in units of the head.
        bow: 1 in the middle, 0 at the corners; half: half width.
        above, below: how far the opening reaches up and down from the line.
    """

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    ends: np.ndarray
    bow: np.ndarray
    half: np.ndarray
    above: np.ndarray
    below: np.ndarray


def mouth(scene: Scene) -> None:
    """Lips bent by the smile and parted by the opening; teeth, tongue and the dark between them; corners."""
    opening, smile = scene["mouth_opening"], scene["smile"]
    u, v, narrow = scene.turn(0.0, MOUTH + 0.02 * scene["nose_length"], 0.04)
    patch = scene.patch(u - 0.55, u + 0.55, v - 0.4, v + 0.75)
    half = 0.27 * scene["mouth_width"] * (1 - 0.12 * opening)
    x = (patch.u - u) / narrow / half
    x2 = x * x
    bow = np.maximum(1 - x2, 0)
    y = patch.v - v - 0.045 * smile + 0.12 * smile * x2 - 0.02 * opening
    above, below = 0.035 * opening * bow, 0.24 * opening * bow
    shape = _Shape(x, y, patch.u - u, (np.abs(x) - 1) * half, bow, half, above, below)
    _lips(scene, patch, shape)
    _inside(scene, patch, shape)
    line = skin_colour(scene) * palette.rgb(110, 48, 48)
    closed = patch.band(y, 0.014) * (np.abs(x) < 1.05) * np.maximum(1 - 7 * opening, 0)
    patch.paint(0.85 * closed, line)
    for side in (-1.0, 1.0):
        corner = ellipse(patch.u - u - side * half * narrow, y, 0.03, 0.02)
        patch.paint(0.5 * patch.cover(corner), skin_colour(scene) * palette.rgb(120, 70, 64))


def _lips(scene: Scene, patch: Patch, shape: _Shape) -> None:
    x, y, thick = shape.x, shape.y, scene["lip_thickness"]
    full = np.minimum(shape.bow * 1.8, 1)  # lips keep their thickness nearly to the corners
    dip = np.maximum(1 - np.abs(x) * 5, 0)
    top = y + shape.above + thick * 0.062 * full * (1 - 0.22 * dip)
    bottom = y - shape.below - thick * 0.09 * full
    natural = skin_colour(scene) * palette.rgb(225, 150, 145)
    colour = palette.mix(natural, palette.rgb(196, 22, 50), 0.9 * scene["lip_redness"])
    patch.shade(-0.25 * np.maximum(1 - np.abs(bottom - 0.06) / 0.06, 0) * shape.bow)
    upper = np.maximum(np.maximum(-top, y + shape.above), shape.ends)
    lower = np.maximum(np.maximum(shape.below - y, bottom), shape.ends)
    patch.paint(patch.cover(upper), colour * 0.86)
    patch.paint(patch.cover(lower), colour)
    shine = np.maximum(1 - np.abs(bottom + 0.05 * thick) / 0.035, 0) * np.maximum(1 - 3 * (x * x), 0)
    patch.shade((0.12 + 0.2 * scene["Wearing_Lipstick"]) * shine)


def _inside(scene: Scene, patch: Patch, shape: _Shape) -> None:
    y, below = shape.y, shape.below
    gap = patch.cover(np.maximum(np.maximum(-(y + shape.above), y - below), shape.ends))
    gap = gap * np.minimum(scene["mouth_opening"] * 12, 1)
    patch.paint(gap, palette.rgb(74, 20, 24))
    teeth = np.maximum(-(y + shape.above), y - np.minimum(0.1 * shape.bow, 0.62 * below))
    patch.paint(patch.cover(teeth) * gap, palette.rgb(248, 244, 234) * (1 - 0.25 * (shape.x * shape.x)))
    tongue = patch.cover(ellipse(shape.u, y - below, 0.6 * shape.half, 0.35 * below + 0.001))
    patch.paint(0.7 * tongue * gap, palette.rgb(196, 88, 92))
