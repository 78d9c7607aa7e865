"""Gaussian noise as an argument: results depend on (seed, image), never on batch size or order.

Every image owns a CPU generator seeded from (seed, dataset index, stream), as in the DBIM reference
(`thu-ml/DiffusionBridge`, random_util.py, BatchedSeedGenerator). Drawing on the CPU and moving the
result makes the numbers the same on every device.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@runtime_checkable
class Noise(Protocol):
    """A source of standard normal numbers."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Next draw: float32 N(0, 1) of `shape`, whose first axis is the batch."""
        ...


class PerImageNoise:
    """One generator per image of a batch.

    Args:
        seed: seed of the run.
        indices: stable dataset index of every image in the batch, length b.
        stream: name of the purpose ("encode", "sample", ...): streams of one seed are independent.
        device: where draws are delivered; they are always made on the CPU.
    """

    def __init__(
        self, seed: int, indices: Iterable[SupportsIndex], *, stream: str = "", device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.generators = [image_generator(seed, int(i), stream) for i in indices]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32, row i of the generator of image i. Raises ValueError for another number of images."""
        if shape[0] != len(self.generators):
            raise ValueError(f"asked for noise of {shape[0]} images; this source serves {len(self.generators)}")
        out = torch.empty(tuple(shape), dtype=torch.float32)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out.to(self.device)


class ReplayNoise:
    """Plays back recorded draws in order (golden tests)."""

    def __init__(self, draws: Iterable[Tensor | np.ndarray]) -> None:
        self.draws = iter(draws)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """The next recorded draw. Raises ValueError where it has another shape."""
        draw = torch.as_tensor(next(self.draws))
        if draw.shape != torch.Size(shape):
            raise ValueError(f"recorded draw has shape {tuple(draw.shape)}, asked for {tuple(shape)}")
        return draw


class GeneratorNoise:
    """Draws from one torch generator, on that generator's device (training)."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32, the next draw of the generator."""
        return torch.randn(tuple(shape), generator=self.generator, device=self.generator.device)


def mixed_seed(*parts: int | str) -> int:
    """A 63-bit seed that mixes integers and names, e.g. `mixed_seed(seed, "epoch", 3)`.

    Name the purpose: parts that differ in trailing zeros alone give the same seed.
    """
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in parts]
    return int(np.random.SeedSequence([w & (2**64 - 1) for w in words]).generate_state(1, np.uint64)[0] >> 1)


def image_generator(seed: int, index: int, stream: str = "") -> torch.Generator:
    """The CPU generator of image `index` in a run with `seed`."""
    return torch.Generator().manual_seed(mixed_seed(seed, index, stream))
