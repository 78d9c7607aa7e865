"""Eyes, brows, and what surrounds them."""

from __future__ import annotations

import numpy as np

from dbae.data.faces import palette
from dbae.data.faces.canvas import Patch, Scene, ellipse
from dbae.data.faces.head import skin_colour

DISTANCE, HEIGHT = 0.33, -0.1
"""Position of the eyes: +-DISTANCE from the middle, HEIGHT below the origin."""


def eye_position(scene: Scene, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (u, v) of an eye, and how much it narrows as the head turns."""
    return scene.turn(side * DISTANCE * scene["eye_distance"], HEIGHT)


def eyes(scene: Scene) -> None:
    """Draw shadows, eyes and brows, left and right."""
    for side in (-1.0, 1.0):
        _surroundings(scene, side)
        _eye(scene, side)
        _brow(scene, side)


def _surroundings(scene: Scene, side: float) -> None:
    """Sockets, eye shadow, bags, crow's feet."""
    u, v, narrow = eye_position(scene, side)
    scene.glow(u, v - 0.05, 0.34 * narrow, 0.22, None, -0.12)
    shadow = palette.mix(palette.rgb(96, 62, 110), skin_colour(scene) * 0.5, 0.35)
    scene.glow(u + 0.03 * side, v - 0.1, 0.33 * narrow, 0.17, shadow, 0.6 * scene["Heavy_Makeup"])
    tired = scene["Bags_Under_Eyes"]
    scene.glow(u, v + 0.17, 0.26 * narrow, 0.1, skin_colour(scene) * palette.rgb(120, 84, 100), 0.75 * tired)
    scene.glow(u, v + 0.13, 0.2 * narrow, 0.06, None, 0.1 * tired)
    patch = scene.patch(u - 0.45, u + 0.45, v - 0.2, v + 0.25)
    x = (patch.u - u) * side / narrow
    for rise in (-0.5, 0.1, 0.6):
        crease = patch.band(patch.v - v - 0.02 - rise * (x - 0.22), 0.012) * (x > 0.25) * (x < 0.38)
        patch.shade(-0.3 * scene["aging"] * crease)


def _eye(scene: Scene, side: float) -> None:
    """An almond between two parabolas; iris, pupil, highlight inside; lids and lashes around."""
    u, v, narrow = eye_position(scene, side)
    width, height = 0.19 * scene["eye_size"], 0.096 * scene["eye_size"] * scene["eye_openness"]
    patch = scene.patch(u - 0.36, u + 0.36, v - 0.3, v + 0.26)
    x, y = (patch.u - u) / narrow, patch.v - v
    bow = 1 - (x / width) * (x / width)
    upper, lower = y + height * bow, y - 0.75 * height * bow  # distance below the upper, below the lower lid
    almond = patch.cover(np.maximum(-upper, lower))
    lid_shadow = 1 - 0.35 * np.maximum(1 - upper / 0.09, 0)
    patch.paint(almond, palette.rgb(246, 243, 240) * lid_shadow)
    _iris(scene, patch, almond, x, y)

    inside = np.minimum(np.maximum(1.08 - np.abs(x) / width, 0) * 8, 1)
    lash = 0.013 + 0.006 * (1 - scene["Male"]) + 0.011 * scene["Heavy_Makeup"]
    wing = (1 - scene["Male"]) * (0.5 + scene["Heavy_Makeup"]) * np.maximum(x * side, 0) * 0.22
    dark = palette.mix(palette.rgb(38, 24, 20), palette.rgb(14, 10, 12), scene["Heavy_Makeup"])
    patch.paint(patch.band(upper + 0.01 + wing * 0.3, lash) * inside * 0.92, dark)
    rim = skin_colour(scene) * palette.mix(palette.rgb(160, 110, 100), palette.rgb(100, 66, 62), scene["Heavy_Makeup"])
    patch.paint(patch.band(lower - 0.008, 0.013) * inside * 0.7, rim)
    crease = patch.band(y + height * bow * 1.15 + 0.055, 0.012) * inside
    patch.shade(-0.25 * crease)


def _iris(scene: Scene, patch: Patch, almond: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    size = 0.09 * scene["eye_size"]
    gx = x - 0.055 * scene["gaze_x"] - 0.05 * scene["sin_yaw"]
    gy = y + 0.012
    colour = palette.iris(scene["iris_hue"])
    patch.paint(almond * patch.cover(ellipse(gx, gy, size, size)), colour * 0.6)
    patch.paint(almond * patch.cover(ellipse(gx, gy - 0.012, size * 0.76, size * 0.76)), colour * 1.12)
    patch.paint(almond * patch.cover(ellipse(gx, gy, size * 0.44, size * 0.44)), palette.rgb(12, 10, 12))
    hx, hy = gx - 0.035 * np.sign(scene["light_x"] + 1e-6), gy + 0.035
    patch.paint(almond * patch.cover(ellipse(hx, hy, 0.026, 0.026)) * 0.95, palette.rgb(255, 255, 255))


def _brow(scene: Scene, side: float) -> None:
    """A bent, tapering stroke in the colour of the hair, darkened."""
    lift = 0.05 * scene["brow_height"] + 0.02 * scene["smile"]
    u, v, narrow = scene.turn(side * 0.35 * scene["eye_distance"], -0.345 - lift)
    patch = scene.patch(u - 0.38, u + 0.38, v - 0.26, v + 0.2)
    x = (patch.u - u) * side / narrow / 0.25  # -1 at the nose, 1 at the temple
    bend = x - 0.15
    middle = v + 0.03 * x * x - scene["brow_arch"] * 0.07 * (0.9 - bend * bend)
    taper = 1 - 0.5 * np.maximum(x, 0)
    half = 0.043 * scene["brow_thickness"] * taper
    ends = np.minimum(np.maximum((1.05 - np.abs(x)) * 5, 0), 1)
    light = 0.1 + 0.5 * scene["hair_lightness"]
    colour = palette.hair(light, scene["hair_warmth"] * 0.7, scene["grayness"] * 0.8)
    patch.paint(patch.band(patch.v - middle, half) * ends * 0.86, colour)
