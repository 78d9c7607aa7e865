"""What faces are set in: background, clothes, neck, ears, and the shaded head itself."""

from __future__ import annotations

import numpy as np

from dbae.data.faces import palette
from dbae.data.faces.canvas import WARM, Scene, ellipse, only_with, ripple

WIDTH = 0.74
"""Half width of an average head, in half heights."""


def background(scene: Scene) -> None:
    """A tilted gradient with a soft light behind the head."""
    patch = scene.patch()
    colour = palette.cloth(scene["background_hue"], scene["background_brightness"], 0.6) * 0.8
    slope = 0.13 * patch.v + 0.13 * scene["background_tilt"] * patch.u
    halo = np.maximum(1 - 0.1 * (patch.u * patch.u + patch.v * patch.v), 0)
    patch.pixels[...] = colour * (0.86 + slope + 0.3 * halo * halo)


def skin_colour(scene: Scene) -> palette.Colour:
    """RGB of every face's skin, in [0, 1]."""
    return palette.skin(scene["skin_tone"])


def shoulders(scene: Scene) -> None:
    """Clothes, lit from the side the light is on."""
    patch = scene.patch(v0=0.9, frame=scene.body)
    wide = 1.5 + 0.2 * scene["Male"] + 0.1 * scene["Chubby"]
    d = ellipse(patch.u, patch.v - 2.3, wide, 1.05)
    cloth = palette.cloth(scene["clothes_hue"], scene["clothes_brightness"], 0.75) * 0.85
    light = 1 + scene["light_strength"] * (0.22 * scene["light_x"] * patch.u - 0.14 * (patch.v - 1.4))
    folds = 1 + 0.05 * ripple(1.3 * patch.u + 0.5 * patch.v)
    patch.paint(patch.cover(d), cloth * (light * folds))


def neck(scene: Scene) -> None:
    """Neck and neckline, darker in the shadow of the chin."""
    half = 0.36 + 0.1 * scene["Male"] + 0.05 * scene["Chubby"]
    patch = scene.patch(-0.95, 0.95, 0.3, 2.0, scene.body)
    slope = np.maximum(patch.v - 0.95, 0)
    sides = np.abs(patch.u) - half - 0.8 * slope * slope
    neckline = patch.v + (0.85 - 0.3 * scene["Male"]) * np.abs(patch.u) - 1.66 + 0.2 * scene["Male"]
    alpha = patch.cover(np.maximum(np.maximum(sides, neckline), 0.3 - patch.v))
    chin = np.maximum(1 - np.abs(patch.v - 1.0) * 1.7, 0)
    side = scene["light_strength"] * (0.2 * scene["light_x"] * patch.u - 0.1)
    rounding = 0.35 * patch.u * patch.u
    patch.paint(alpha, skin_colour(scene) * (1 + (side - 0.1 - 0.34 * chin - rounding) * WARM))


@only_with("Double_Chin")
def double_chin(scene: Scene) -> None:
    """A second, softer chin below the first."""
    patch = scene.patch(-0.7, 0.7, 0.5, 1.35)
    d = ellipse(patch.u - 0.12 * scene["sin_yaw"], patch.v - 0.86, 0.54 * scene["face_width"], 0.3)
    patch.paint(patch.cover(d), skin_colour(scene) * (0.92 - 0.4 * np.maximum(patch.v - 0.85, 0)))


def outline(scene: Scene, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position on the head: (r, x, y), r = 1 on its outline.

    An ellipse that tapers towards the chin; the jaw goes from |.|_2 (oval) towards |.|_4 (square). The chin
    leads when the head turns.
    """
    below = np.maximum(v, 0)
    narrow = 1 - (0.2 - 0.14 * scene["jaw_width"]) * below * below
    x = (u - 0.2 * scene["sin_yaw"] * below) / (WIDTH * scene["face_width"] * narrow)
    y = v / (1 + 0.06 * scene["sin_pitch"] * (v > 0))
    x2, y2 = x * x, y * y
    oval = np.sqrt(x2 + y2)
    square = np.sqrt(np.sqrt(x2 * x2 + y2 * y2))
    return oval + 0.75 * scene["jaw_width"] * (v > 0) * (square - oval), x, y


def ears(scene: Scene) -> None:
    """Both ears; the head is painted over their inner halves."""
    for side in (-1.0, 1.0):
        u, v = ear_position(scene, side)
        patch = scene.patch(u - 0.2, u + 0.2, v - 0.28, v + 0.28)
        x, y = patch.u - u, patch.v - v
        skin = skin_colour(scene) * (0.9 + 0.16 * side * scene["light_x"] * scene["light_strength"])
        patch.paint(patch.cover(ellipse(x - 0.05 * side * y, y, 0.13, 0.22)), skin)
        inner = patch.cover(ellipse(x - 0.02 * side, y + 0.01, 0.07, 0.13))
        patch.paint(0.45 * inner, skin * palette.rgb(170, 120, 110))


def ear_position(scene: Scene, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre of an ear: on the widest line of the head, behind its axis, so that it moves against the turn."""
    u = side * WIDTH * scene["face_width"] * (0.35 + 0.65 * scene["cos_yaw"])
    return u - 0.14 * scene["sin_yaw"] + 0.02 * side, 0.02 - 0.2 * scene["sin_pitch"] + 0 * u


def head(scene: Scene) -> None:
    """The head as a lit ellipsoid: Lambert's law on its normals over an ambient light, with warm shadows."""
    patch = scene.patch(-1.1, 1.1, -1.15, 1.15)
    r, x, y = outline(scene, patch.u, patch.v)
    z = np.sqrt(np.maximum(1.15 - r * r, 0))
    lx, ly = scene["light_x"], scene["light_y"]
    length = np.sqrt(lx * lx + ly * ly + 1.0)
    lit = np.maximum((lx * x + ly * y * 0.8 + z) / length, 0)
    strength = scene["light_strength"]
    shade = 0.96 - 0.5 * strength + (0.58 * strength) * lit - 0.06 * np.maximum(r - 0.5, 0)
    patch.paint(patch.cover((r - 1) * WIDTH * 1.1), skin_colour(scene) * (1 + (shade - 1) * WARM))
