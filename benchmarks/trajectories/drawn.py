"""Sequences that we draw: faces and disks whose factors move.

Sequence i goes between two points A and B of the space of factors, drawn from (seed, i). With T frames, u = k / (T - 1)
and phi = 2 pi k / T in frame k:

    open     every factor goes from A to B at constant speed: a straight line, whose straightness is 1
    closed   every factor swings once between A and B: (A + B) / 2 + (A - B) / 2 cos(phi + theta), each with a phase
             theta of its own: an ellipse

Of a face move pose, gaze, brows and light (`MOVING`); the person stays the same. Of a disk everything moves.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable
from typing import Literal, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from dbae.data import Attributes, ImageDataset, disks
from dbae.data.drawn import Draws
from dbae.data.faces import VERSION as FACES_VERSION
from dbae.data.faces.attributes import UNITS, sample_traits
from dbae.data.faces.drawing import draw as draw_faces
from dbae.noise import mixed_seed

PathShape = Literal["open", "closed"]

VERSION = 1
"""Raised when a sequence changes otherwise than with what is drawn."""
MOVING = (
    "yaw", "pitch", "roll", "scale", "offset_x", "offset_y", "gaze_x", "brow_height", "light_x", "light_y",
    "light_strength",
)  # fmt: skip
"""Factors of a face that move."""


class _Stage(abc.ABC):
    """What is drawn, and `points` random ones in the space of its factors: sequence i has numbers 2 i and 2 i + 1."""

    name: str
    factors: tuple[str, ...]
    points: Float64[np.ndarray, "p f"]

    @abc.abstractmethod
    def __init__(self, seed: int, points: int) -> None: ...

    @abc.abstractmethod
    def scaled(self, values: Float64[np.ndarray, "n f"]) -> Float64[np.ndarray, "n f"]:
        """Factors in standard deviations of the population from its mean."""

    @abc.abstractmethod
    def draw(
        self, sequences: Int64[np.ndarray, " n"], values: Float64[np.ndarray, "n f"], size: int
    ) -> UInt8[np.ndarray, "n s s 3"]:
        """Pictures of sequences with these factors."""


class _Disks(_Stage):
    name, factors = f"disks-v{disks.VERSION}", tuple(disks.RANGES)

    def __init__(self, seed: int, points: int) -> None:
        self.points = disks.sample_factors(seed, np.arange(points))

    def scaled(self, values: np.ndarray) -> np.ndarray:
        return disks.label(values).continuous

    def draw(self, sequences: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
        return disks.draw(values, size)


class _Faces(_Stage):
    name, factors = f"faces-v{FACES_VERSION}", MOVING

    def __init__(self, seed: int, points: int) -> None:
        self.people = sample_traits(seed, np.arange(points))
        self.points = np.stack([self.people[name] for name in MOVING], axis=1)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        mean, deviation = np.array([UNITS[name] for name in MOVING]).T
        return (values - mean) / deviation

    def draw(self, sequences: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
        traits = {name: trait[2 * sequences] for name, trait in self.people.items()}
        return draw_faces(traits | dict(zip(MOVING, values.T, strict=True)), size)


class DrawnSequences(ImageDataset):
    """`sequences` to measure (split test) and as many others to fit PCA to (train), each of so many frames.

    Attributes:
        groups: the sequence of every image; its frames follow one another.
        attributes: the factors that move, as continuous labels in standard deviations of the population.
    """

    def __init__(self, kind: str, size: int, *, sequences: int, frames: int, shape: PathShape, seed: int = 0) -> None:
        self.frames, self.shape, self.seed, self.size = frames, shape, seed, size
        number = 2 * sequences
        stage: type[_Stage] = _Faces if kind == "faces" else _Disks
        self._stage = stage(mixed_seed(seed, "sequences"), 2 * number)
        self._phases = self._drawn_phases(number)
        self.name = f"{self._stage.name}, {shape} paths of {frames} frames"
        self.groups = np.repeat(np.arange(number), frames)
        everything = np.arange(len(self.groups))
        half = len(everything) // 2
        self.splits = {"all": everything, "train": everything[half:], "test": everything[:half]}
        self.factors = self._stage.factors
        labels = self._stage.scaled(self._values(everything))
        self.attributes = Attributes((), np.empty((len(everything), 0), np.int8), self.factors, labels)

    def __len__(self) -> int:
        return len(self.splits["all"])

    @property
    def fingerprint(self) -> str:
        text = f"{self.name} v{VERSION} n={len(self)} size={self.size} seed={self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        return self._images([index])[0]

    def batch(self, indices: Iterable[SupportsIndex]) -> UInt8[Tensor, "b 3 s s"]:
        """Images `indices`, bit for bit those of `image`."""
        images = self._images([int(i) for i in indices])
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _images(self, indices: list[int]) -> UInt8[np.ndarray, "b s s 3"]:
        chosen = np.asarray(indices, np.int64)
        return self._stage.draw(chosen // self.frames, self._values(chosen), self.size)

    def _values(self, indices: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n f"]:
        """The factors of images, in their own units."""
        sequence, frame = np.divmod(indices, self.frames)
        a, b = self._stage.points[2 * sequence], self._stage.points[2 * sequence + 1]
        if self.shape == "open":
            return a + (b - a) * (frame / (self.frames - 1))[:, None]
        phi = 2 * np.pi * frame[:, None] / self.frames
        return (a + b) / 2 + (a - b) / 2 * np.cos(phi + self._phases[sequence])

    def _drawn_phases(self, number: int) -> Float64[np.ndarray, "n f"]:
        draws = Draws(mixed_seed(self.seed, "phases"), np.arange(number))
        return 2 * np.pi * np.stack([draws.uniform(name) for name in self._stage.factors], axis=1)
