"""What a latent prior learns from: moments, draws and a training stream of posteriors.

Posteriors are float32 (n, s, l): n images; s statistics, mu and sigma of q(z | x) (mu alone where z is deterministic).
`dbae.latents` computes and keeps them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dbae.noise import Noise, mixed_seed
from dbae.support.errors import UserError

_CHUNK = 65536


def moments(array: Float32[np.ndarray, "n s l"]) -> tuple[Float[Tensor, " l"], Float[Tensor, " l"]]:
    """Mean and standard deviation of z per dimension, float32: of the aggregated posterior where there is a sigma.

    Var z = Var mu + E sigma^2, Var mu unbiased, in float64. A dimension in which no z differs gets deviation 1.

    Raises:
        UserError: fewer than two images.
    """
    n = len(array)
    if n < 2:
        raise UserError(f"expected the latents of 2 images or more, found {n}. Take more images.")
    parts = [slice(start, start + _CHUNK) for start in range(0, n, _CHUNK)]
    mean = sum(array[part, 0].sum(0, dtype=np.float64) for part in parts) / n
    variance = sum(np.square(array[part, 0] - mean).sum(0) for part in parts) / (n - 1)
    if array.shape[1] == 2:
        variance = variance + sum(np.square(array[part, 1], dtype=np.float64).sum(0) for part in parts) / n
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return torch.from_numpy(np.asarray(mean)).float(), torch.from_numpy(std).float()


def draw(posterior: Float[Tensor, "b s l"], noise: Noise) -> Float[Tensor, "b l"]:
    """z = mu + sigma * eps, or mu where there is no sigma."""
    mean = posterior[:, 0]
    return mean if posterior.shape[1] == 1 else mean + posterior[:, 1] * noise.normal(mean.shape)


class LatentStream:
    """Batches of rows of an array without end, drawn with replacement: batch k is a function of (seed, k).

    Args:
        array: float32 (n, s, l), usually a memory map.
        batch_size: rows a batch, b.
        seed: of the rows drawn.
    """

    def __init__(self, array: Float32[np.ndarray, "n s l"], batch_size: int, *, seed: int) -> None:
        self.array, self.batch_size, self.seed = array, batch_size, seed

    def batches(self, start: int = 0, *, rank: int = 0, size: int = 1) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Row numbers and rows (b, s, l) of part `rank` of `size` of batches `start`, `start + 1`, ... without end."""
        for step in itertools.count(start):
            generator = np.random.default_rng(mixed_seed(self.seed, "latents", step))
            rows = np.array_split(generator.integers(len(self.array), size=self.batch_size), size)[rank]
            yield rows, torch.from_numpy(self.array[rows])
