"""Anti-aliased painting of a batch of faces: coordinates, coverage, layers.

A head has its own coordinates: origin between eyes and nose, u to the right, v down, the skull from v = -1 to the
chin at v = 1. A pixel at image position p (in [-1, 1]^2) has (u, v) = R(-roll) (p - offset) / scale.

A shape is a signed distance d(u, v), negative inside. Its coverage of a pixel is clip(1/2 - d / w, 0, 1), with w the
width of about one pixel: exactly 0 away from the shape, so painting may be confined to a rectangle around it without
changing one bit. A batch shares the union of its rectangles.

Pixels are computed with +, -, *, /, sqrt, floor, min and max alone, in float32: these are correctly rounded
everywhere, so that a pixel depends neither on the batch it is drawn in nor on the machine. (The sine and cosine of
the angles come from the C library, in float64; another library may differ in the last bit.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32

from dbae.data.faces.attributes import Traits

Number = np.ndarray | float
"""One number for the batch, or float32 (b, 1, 1)."""

EDGE = 1.25
"""Width of an edge in pixels."""
DEPTH = 0.7
"""Depth of the face, in half heights of the head: how far features move when the head turns."""


WARM = np.asarray([0.74, 1.05, 1.16], np.float32)[:, None, None, None]
"""How much shadows darken red, green and blue: light scatters under skin and comes out red."""


RAISED = -0.04
"""Vertical position of the heads: a little above the middle of the picture, to leave room for the shoulders."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """Coordinates of one rigid part (head or body): u, v of every pixel, and the rotation they came from."""

    u: Float32[np.ndarray, "b h w"]
    v: Float32[np.ndarray, "b h w"]
    cos: Float32[np.ndarray, "b 1 1"]
    sin: Float32[np.ndarray, "b 1 1"]

    def take(self, rows: np.ndarray) -> Frame:
        """The frames of some of the faces."""
        return Frame(self.u[rows], self.v[rows], self.cos[rows], self.sin[rows])


@dataclasses.dataclass(frozen=True)
class Patch:
    """A rectangle of all images of the batch; `pixels` is a view into them."""

    pixels: Float32[np.ndarray, "3 b h w"]
    u: Float32[np.ndarray, "b h w"]
    v: Float32[np.ndarray, "b h w"]
    edge: Float32[np.ndarray, "b 1 1"]

    def cover(self, d: np.ndarray) -> np.ndarray:
        """Coverage of a shape with signed distance d."""
        return np.minimum(np.maximum(0.5 - d / self.edge, 0), 1)

    def band(self, d: np.ndarray, half: Number) -> np.ndarray:
        """Coverage of the line |d| < half, right also where it is thinner than a pixel."""
        return self.cover(d - half) - self.cover(d + half)

    def paint(self, alpha: np.ndarray, colour: np.ndarray) -> None:
        """Blend towards `colour` (3, b, 1, 1) or (3, b, h, w) with opacity alpha (b, h, w)."""
        self.pixels[...] += (colour - self.pixels) * alpha

    def shade(self, amount: np.ndarray) -> None:
        """Multiply by about 1 + amount: light where positive, shadow where negative (which stays warm, as on skin)."""
        self.pixels[...] *= 1 + amount * WARM


@dataclasses.dataclass(frozen=True)
class Scene:
    """A batch of unfinished pictures and the numbers they are drawn from; `scene[name]` is a trait, (b, 1, 1).

    Attributes:
        traits: float32 (b, 1, 1) each: those of `sample_traits`, sines and cosines of the angles, and `aging`, the
            age from 0 (18 years) to 1 (75 years).
        pixels: float32 (3, b, s, s), 0 black to 1 white.
        head, body: coordinates; the body follows the roll of the head by a third.
    """

    traits: Mapping[str, Float32[np.ndarray, "b 1 1"]]
    pixels: Float32[np.ndarray, "3 b s s"]
    head: Frame
    body: Frame

    @classmethod
    def blank(cls, traits: Traits, size: int) -> Scene:
        """Black pictures, size x size, of people with the given traits."""
        columns = {name: np.asarray(value, np.float32)[:, None, None] for name, value in traits.items()}
        for name in ("yaw", "pitch"):
            columns["sin_" + name], columns["cos_" + name] = _sin_cos(np.radians(traits[name]))
        columns["aging"] = (columns["age"] - 18) / np.float32(57)
        grid = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
        x = (grid[None, None, :] - columns["offset_x"]) / columns["scale"]
        y = (grid[None, :, None] - (columns["offset_y"] + RAISED)) / columns["scale"]
        roll = np.radians(traits["roll"])
        pixels = np.zeros((3, len(roll), size, size), np.float32)
        return cls(columns, pixels, _rotated(x, y, roll), _rotated(x, y, roll / 3))

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.pixels.shape[-1]

    def __getitem__(self, name: str) -> np.ndarray:
        """A trait as float32 (b, 1, 1)."""
        return self.traits[name]

    def turn(self, u: Number, v: Number, depth: Number = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a point of the face lies once the head has turned, and how much shapes there narrow.

        The face is the ellipsoid z = DEPTH sqrt(1 - u^2 - v^2 / 2); `depth` lifts a point above it (the tip of
        the nose). Returns (u', v', du'/du), with u' = u cos(yaw) + z sin(yaw), v' = v cos(pitch) + z sin(pitch).
        """
        u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
        z = DEPTH * np.sqrt(np.maximum(1 - u * u - 0.5 * v * v, np.float32(0.09)))
        narrowing = np.maximum(self["cos_yaw"] - DEPTH * DEPTH * u / z * self["sin_yaw"], 0.35)
        z = z + depth
        return u * self["cos_yaw"] + z * self["sin_yaw"], v * self["cos_pitch"] + z * self["sin_pitch"], narrowing

    def patch(
        self, u0: Number = -9.0, u1: Number = 9.0, v0: Number = -9.0, v1: Number = 9.0, frame: Frame | None = None
    ) -> Patch:
        """The part of the images where u0 <= u <= u1 and v0 <= v <= v1, and a pixel more."""
        frame = frame or self.head
        u, v, half_u, half_v = (u0 + u1) / 2, (v0 + v1) / 2, (u1 - u0) / 2, (v1 - v0) / 2
        cos, sin, scale = frame.cos, frame.sin, self["scale"]
        x = self["offset_x"] + scale * (u * cos - v * sin)
        y = self["offset_y"] + RAISED + scale * (u * sin + v * cos)
        columns = self._span(x, scale * (np.abs(cos) * half_u + np.abs(sin) * half_v))
        rows = self._span(y, scale * (np.abs(sin) * half_u + np.abs(cos) * half_v))
        edge = np.float32(2 * EDGE / self.size) / scale
        return Patch(self.pixels[:, :, rows, columns], frame.u[:, rows, columns], frame.v[:, rows, columns], edge)

    def _span(self, middle: np.ndarray, half: np.ndarray) -> slice:
        """Pixels from the lowest middle - half to the highest middle + half, in [-1, 1]."""
        pixel = self.size / 2
        low, high = float((middle - half).min() + 1) * pixel, float((middle + half).max() + 1) * pixel
        return slice(max(0, min(self.size, int(low) - 1)), max(0, min(self.size, int(high) + 2)))

    def glow(
        self, u: Number, v: Number, radius_u: Number, radius_v: Number, colour: np.ndarray | None, amount: Number
    ) -> None:
        """A soft spot, amount (1 - q)^2 with q the squared elliptic distance.

        Blends towards `colour`, or, without one, multiplies by 1 + the spot.
        """
        patch = self.patch(u - radius_u, u + radius_u, v - radius_v, v + radius_v)
        x, y = (patch.u - u) / radius_u, (patch.v - v) / radius_v
        fade = np.maximum(1 - x * x - y * y, 0)
        spot = fade * fade * amount
        patch.shade(spot) if colour is None else patch.paint(spot, colour)

    def take(self, rows: np.ndarray) -> Scene:
        """A copy of some of the pictures."""
        traits = {name: value[rows] for name, value in self.traits.items()}
        return Scene(traits, self.pixels[:, rows], self.head.take(rows), self.body.take(rows))


Layer = Callable[[Scene], None]


def only_with(*names: str) -> Callable[[Layer], Layer]:
    """Decorates a layer that is drawn only where one of these traits is positive, to save time."""

    def decorate(layer: Layer) -> Layer:
        @functools.wraps(layer)
        def layer_on_some(scene: Scene) -> None:
            rows = np.flatnonzero(sum(scene[name].ravel() > 0 for name in names))
            if len(rows):
                part = scene.take(rows)
                layer(part)
                scene.pixels[:, rows] = part.pixels

        return layer_on_some

    return decorate


def _sin_cos(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float32 (b, 1, 1), computed in float64."""
    return np.sin(angle).astype(np.float32)[:, None, None], np.cos(angle).astype(np.float32)[:, None, None]


def _rotated(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> Frame:
    sin, cos = _sin_cos(angle)
    return Frame(x * cos + y * sin, y * cos - x * sin, cos, sin)


def as_number(condition: np.ndarray) -> np.ndarray:
    """1 where true, else 0, as float32 (a boolean times a Python number would be float64)."""
    return condition.astype(np.float32)


def ellipse(x: np.ndarray, y: np.ndarray, radius_x: Number, radius_y: Number) -> np.ndarray:
    """Distance to an ellipse at the origin, to first order: f / |grad f| with f = |(x / rx, y / ry)| - 1."""
    a, b = x / radius_x, y / radius_y
    r = np.sqrt(a * a + b * b)
    a, b = a / radius_x, b / radius_y
    return r * (r - 1) / (np.sqrt(a * a + b * b) + 1e-6)


def rounded_box(x: np.ndarray, y: np.ndarray, half_x: Number, half_y: Number, radius: Number) -> np.ndarray:
    """Distance to a rectangle with rounded corners at the origin."""
    a, b = np.abs(x) - half_x + radius, np.abs(y) - half_y + radius
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return outside + np.minimum(np.maximum(a, b), 0) - radius


def ripple(x: np.ndarray) -> np.ndarray:
    """A smooth wave of period 1 between -1 and 1, made of polynomials (a cosine in looks)."""
    t = np.abs(x - np.floor(x) - 0.5) * 2
    return t * t * (6 - 4 * t) - 1
