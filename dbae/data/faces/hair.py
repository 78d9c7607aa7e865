"""Hair of the head in two layers, behind and in front of the face, and beards."""

from __future__ import annotations

import numpy as np

from dbae.data.faces import palette
from dbae.data.faces.canvas import Patch, Scene, ellipse, only_with, ripple
from dbae.data.faces.head import WIDTH, outline


def hair_colour(scene: Scene) -> palette.Colour:
    """RGB of every face's hair, in [0, 1]."""
    return palette.hair(scene["hair_lightness"], scene["hair_warmth"], scene["grayness"])


def _outer(scene: Scene, patch: Patch, bottom: np.ndarray) -> np.ndarray:
    """Distance to the outline of the hair: an ellipse around the skull, drawn out down to `bottom`, with waves."""
    volume = 0.05 + 0.17 * scene["hair_volume"]
    centre = -0.15 - 0.08 * scene["hair_volume"]
    stretch = np.maximum(bottom - 0.45 - centre, 0)
    y = patch.v - centre
    y = np.minimum(y, 0) + np.maximum(y - stretch, 0)
    half = WIDTH * scene["face_width"] + volume
    flare = 1 + 0.16 * scene["hair_length"] * np.maximum(patch.v, 0)
    lean = 0.06 * scene["sin_yaw"] + 0.05 * scene["parting"] * np.maximum(-patch.v, 0)
    d = ellipse(patch.u + lean, y, half * flare, 0.89 + volume)
    waves = 0.06 * scene["hair_wave"] * scene["hair_wave"] * np.minimum(np.maximum(patch.v + 0.9, 0.2), 1)
    return d + waves * ripple(1.6 * patch.v + 0.9 * np.abs(patch.u))


def _texture(scene: Scene, patch: Patch, outer: np.ndarray) -> np.ndarray:
    """Strands that fan out from the parting, bent by waves, with a band of shine, darker towards the outline."""
    u, v = patch.u - 0.2 * scene["parting"], patch.v
    bend = scene["hair_wave"] * 0.3 * ripple(1.5 * v + 0.4 * u)
    strands = ripple(5.6 * u / (np.maximum(v, -0.6) + 2.0) + bend + 0.5 * u * u)
    finer = ripple(9.5 * u / (np.maximum(v, -0.6) + 2.0) + 0.35 + 2 * bend + 0.4 * v)
    ring = v + 0.72 - 0.3 * patch.u * patch.u
    shine = np.maximum(1 - np.abs(ring) * 3.6, 0) * (1 + 0.8 * scene["light_x"] * patch.u)
    falloff = 0.16 * (scene["light_x"] * patch.u - 0.5 * np.maximum(v, 0)) * scene["light_strength"]
    rim = np.minimum(np.maximum(outer + 0.3, 0), 0.3)
    return 0.98 - 0.8 * rim + 0.055 * strands + 0.045 * finer + 0.3 * shine * scene["light_strength"] + falloff


def _bottom(scene: Scene) -> np.ndarray:
    """Height at which the hair ends: above the ears for 0, on the chest for 1."""
    return 0.05 + 1.5 * scene["hair_length"]


def back_hair(scene: Scene) -> None:
    """The layer behind neck and face, in the shade."""
    bottom = _bottom(scene)
    patch = scene.patch(-1.6, 1.6, -1.6, bottom + 0.6)
    outer = _outer(scene, patch, bottom)
    alpha = patch.cover(outer) * (1 - scene["Bald"])
    patch.paint(alpha, hair_colour(scene) * (0.62 * _texture(scene, patch, outer)))


def front_hair(scene: Scene) -> None:
    """The layer in front: everything within the outline of the hair, outside an opening for the face."""
    long = np.minimum(np.maximum(scene["hair_length"] - 0.24, 0) * 5, 1)
    bottom = _bottom(scene)
    patch = scene.patch(-1.6, 1.6, -1.6, bottom + 0.6)
    top = -0.7 + 0.27 * scene["Bangs"] - 0.18 * scene["Receding_Hairline"]
    half = WIDTH * scene["face_width"] * (1.0 - 0.1 * long) + 0.04
    x = (patch.u - 0.16 * scene["sin_yaw"]) / half
    swept = 0.12 * scene["parting"] * (1 - 0.7 * scene["Bangs"]) * x
    fringe = 0.03 * scene["Bangs"] * ripple(2.2 * patch.u)
    y = (patch.v - swept - fringe - 0.2 * scene["sin_pitch"] - 0.3) / (0.3 - top)
    x2, y2 = x * x, np.minimum(y, 0) * y
    round_off = np.sqrt(x2 + y2)
    square = np.sqrt(np.sqrt(x2 * x2 + y2 * y2))
    boxy = 0.35 + 0.6 * scene["Bangs"] + 0.3 * scene["Receding_Hairline"]
    opening = (round_off + boxy * (square - round_off) - 1) * half
    temple = (np.abs(x) - 0.52) * 2.1
    notch = 0.11 * scene["Receding_Hairline"] * np.maximum(1 - temple * temple, 0)
    short_end = -0.02 + 0.5 * (np.abs(x) - 1)
    end = patch.v - (short_end + (bottom + 0.7 - short_end) * long)
    outer = _outer(scene, patch, bottom)
    d = np.maximum(np.maximum(outer, -(opening - notch)), end)
    alpha = patch.cover(d) * (1 - scene["Bald"])
    shadow = np.maximum(1 + opening * 9, 0) * (opening < 0) * np.minimum(np.maximum(0.5 - patch.v, 0) * 2, 1)
    patch.shade(-0.3 * shadow * (1 - scene["Bald"]))
    patch.paint(alpha, hair_colour(scene) * _texture(scene, patch, outer))


@only_with("5_o_Clock_Shadow", "full_beard", "Goatee", "Mustache", "Sideburns")
def beard(scene: Scene) -> None:
    """Stubble or a full beard on cheeks and chin, sideburns, moustache, goatee."""
    colour = palette.mix(hair_colour(scene), palette.rgb(40, 30, 26), 0.35)
    patch = scene.patch(-1.0, 1.0, -0.35, 1.2)
    grain = 0.07 * ripple(6.3 * patch.u + 1.9 * patch.v)
    strands = colour * (0.92 + grain + 0.05 * ripple(2.9 * patch.u - 3.7 * patch.v))
    opacity = 0.25 + 0.7 * scene["beard_density"]
    mouth_u, mouth_v, _ = scene.turn(0.0, 0.5)
    u, v = patch.u - mouth_u, patch.v - mouth_v
    r, x, _ = outline(scene, patch.u, patch.v)

    cheek_line = 0.08 - 0.62 * np.abs(x) * x * x - v
    jaw = np.minimum(np.maximum(-np.maximum(cheek_line, (r - 1.03) * 0.75) * 7, 0), 1)
    lip = np.minimum(np.maximum(1 - (u / 0.36) * (u / 0.36) - (v + 0.08) * (v + 0.08) / 0.02, 0) * 3, 1)
    stubble = np.maximum(jaw, 0.8 * lip) * scene["5_o_Clock_Shadow"]
    patch.paint(stubble * scene["beard_density"] * 1.3, palette.mix(colour, palette.rgb(70, 74, 84), 0.5))
    patch.paint(jaw * scene["full_beard"] * opacity, strands)
    chin = patch.cover(ellipse(u, v - 0.4, 0.24, 0.22))
    ring = patch.band(ellipse(u, v - 0.18, 0.36, 0.4), 0.04) * (v > -0.05)
    patch.paint(np.maximum(chin, ring) * scene["Goatee"] * opacity, strands)
    bend = v + 0.09 - 0.5 * u * u
    stroke = patch.cover(np.maximum(np.abs(bend) - 0.075 + 0.1 * np.abs(u), np.abs(u) - 0.38))
    patch.paint(stroke * scene["Mustache"] * (0.35 + 0.6 * scene["beard_density"]), strands)
    strip = patch.cover(np.maximum(np.abs(np.abs(x) - 0.93) - 0.13, np.abs(patch.v - 0.15) - 0.36))
    near = np.minimum(np.maximum(1 - 4 * patch.u * scene["sin_yaw"], 0), 1)  # the far one is out of sight
    patch.paint(strip * near * (r < 1.02) * scene["Sideburns"] * 0.9, strands)
