"""Things people wear: glasses, hats, earrings, necklaces, neckties."""

from __future__ import annotations

import numpy as np

from dbae.data.faces import palette
from dbae.data.faces.canvas import Scene, as_number, ellipse, only_with, ripple, rounded_box
from dbae.data.faces.eyes import eye_position
from dbae.data.faces.head import WIDTH, ear_position


@only_with("Eyeglasses")
def glasses(scene: Scene) -> None:
    """Two rims, a bridge, temples; faint reflections on the lenses."""
    style = scene["frame_style"]
    colour = palette.mix(palette.rgb(24, 22, 26), palette.rgb(132, 72, 36), as_number(style > 0.55))
    colour = palette.mix(colour, palette.rgb(168, 160, 150), as_number(style > 0.8))
    thick = 0.022 + 0.02 * as_number(style < 0.7)
    left, right = (eye_position(scene, side) for side in (-1.0, 1.0))
    v = (left[1] + right[1]) / 2 + 0.02
    patch = scene.patch(-1.0, 1.0, v - 0.35, v + 0.35)
    for side, (u, _, narrow) in ((-1.0, left), (1.0, right)):
        x, y = (patch.u - u) / (0.35 + 0.65 * narrow), patch.v - v
        d = rounded_box(x, y, 0.27, 0.2, 0.11 + 0.08 * style)
        gleam = patch.cover(d) * np.maximum(1 - np.abs(x + 0.8 * y - 0.08) * 9, 0)
        patch.paint(0.07 * patch.cover(d) + 0.22 * gleam, palette.rgb(225, 238, 250))
        patch.paint(patch.band(d, thick), colour)
        ear = ear_position(scene, side)[0]
        temple = np.maximum(np.abs(y + 0.05) - 0.02, np.maximum(side * (u + side * 0.27 * narrow - patch.u), 0))
        patch.paint(patch.cover(np.maximum(temple, side * (patch.u - ear))) * 0.9, colour)
    inner = (left[0] + right[0]) / 2
    gap = np.abs(patch.u - inner) - (right[0] - left[0]) / 2 + 0.26
    bridge = np.maximum(np.abs(patch.v - v + 0.05) - 0.02, gap)
    patch.paint(patch.cover(bridge), colour)


@only_with("Wearing_Hat")
def hat(scene: Scene) -> None:
    """A knitted cap with a fold, a baseball cap with a peak, or a hat with a brim."""
    style = scene["hat_style"]
    knit, peak = as_number(style < 0.34), as_number((style >= 0.34) & (style < 0.7))
    brim = 1 - knit - peak
    colour = palette.cloth(scene["hat_hue"], 0.2 + 0.65 * style, 0.85)
    patch = scene.patch(-1.5, 1.5, -2.2, -0.1)
    u = patch.u - 0.05 * scene["sin_yaw"]
    half = WIDTH * scene["face_width"] + 0.13 + 0.14 * scene["hair_volume"]
    rim = -0.5 + 0.12 * u * u + 0.25 * scene["sin_pitch"]
    tall = 0.93 - 0.1 * peak
    crown = np.maximum(ellipse(u, patch.v + 0.5, half, tall), patch.v - rim)
    light = 0.82 + 0.3 * scene["light_strength"] * (scene["light_x"] * u * 0.7 - 0.4 * (patch.v + 0.9))
    ribs = 1 + (0.12 * knit) * ripple(5.5 * u / (patch.v * 0.3 + 1.2))
    patch.paint(patch.cover(crown), colour * (light * ribs))
    fold = np.maximum(np.abs(patch.v - rim + 0.1) - 0.13, np.abs(u) - half - 0.02)
    patch.paint(patch.cover(fold) * knit, colour * (0.78 * light * ribs))
    ribbon = np.maximum(np.abs(patch.v - rim + 0.14) - 0.09, crown)
    patch.paint(patch.cover(ribbon) * brim, colour * 0.35)
    wide = ellipse(u, patch.v - rim + 0.02, half + 0.42, 0.11 + 0.1 * scene["cos_pitch"] * 0.3)
    patch.paint(patch.cover(wide) * brim, colour * (0.85 * light))
    lead = u - 0.35 * scene["sin_yaw"]
    shield = ellipse(lead, patch.v - rim + 0.04, half * 0.92, 0.17)
    patch.paint(patch.cover(shield) * peak, colour * (0.66 * light))
    scene.glow(0.16 * scene["sin_yaw"], -0.36, 0.75, 0.16, None, -0.35)


@only_with("Wearing_Earrings")
def earrings(scene: Scene) -> None:
    """A stud and a drop under each ear, in front of the hair."""
    for side in (-1.0, 1.0):
        u, v = ear_position(scene, side)
        u, v = u + 0.05 * side, v + 0.27
        patch = scene.patch(u - 0.15, u + 0.15, v - 0.15, v + 0.35)
        x, y = patch.u - u, patch.v - v
        patch.paint(patch.cover(ellipse(x, y - 0.14, 0.075, 0.11)), palette.rgb(226, 176, 62))
        patch.paint(patch.cover(ellipse(x, y, 0.05, 0.05)), palette.rgb(246, 214, 120))
        patch.paint(patch.cover(ellipse(x + 0.02, y - 0.1, 0.026, 0.035)), palette.rgb(255, 250, 224))


@only_with("Wearing_Necklace")
def necklace(scene: Scene) -> None:
    """A chain of pearls around the neck, with a pendant."""
    patch = scene.patch(-0.8, 0.8, 1.0, 1.8, scene.body)
    d = ellipse(patch.u, patch.v - 1.06, 0.5, 0.42)
    beads = 0.84 + 0.16 * ripple(7 * patch.u)
    patch.paint(patch.band(d, 0.036) * (patch.v > 1.1), palette.rgb(250, 240, 214) * beads)
    patch.paint(patch.cover(ellipse(patch.u, patch.v - 1.52, 0.075, 0.085)), palette.rgb(214, 160, 60))


@only_with("Wearing_Necktie")
def necktie(scene: Scene) -> None:
    """A white collar, and a tie whose colour stands against the clothes."""
    patch = scene.patch(-0.9, 0.9, 0.95, 2.6, scene.body)
    u, v = np.abs(patch.u), patch.v
    shirt = np.maximum(u - 0.1 - 0.62 * (1.98 - v), 1.2 - v - 0.1 * u)
    patch.paint(patch.cover(shirt), palette.rgb(236, 238, 244))
    collar = np.maximum(np.abs(u - 0.34 + 0.5 * (v - 1.2)) - 0.15, np.maximum(1.14 - v + 0.2 * u, v - 1.48))
    patch.paint(patch.cover(collar), palette.rgb(250, 250, 253))
    hue = scene["clothes_hue"] + 0.5
    colour = palette.cloth(hue - np.floor(hue), 0.25 + 0.5 * as_number(scene["clothes_brightness"] < 0.5), 1.0)
    knot = np.maximum(u - 0.13 + 0.3 * (v - 1.36), np.abs(v - 1.42) - 0.1)
    blade = np.maximum(u - 0.08 - 0.14 * (v - 1.5), 1.5 - v)
    stripes = 1 + 0.16 * ripple(3 * (v + 0.6 * patch.u))
    patch.paint(patch.cover(blade), colour * stripes)
    patch.paint(patch.cover(knot), colour * 0.8)
