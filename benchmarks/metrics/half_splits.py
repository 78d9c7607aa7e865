r"""The noise of numbers that count neighbours: measured on both halves of the images, in several random splits.

Precision, recall, density and coverage depend on all images of both sets through their nearest neighbours; bootstrap
resamples have copies, which are each other's neighbours, and single images left out say too little. Two disjoint halves
of both sets give two independent numbers h_1, h_2 of half the size, whose variance is twice that of the whole:

    error^2 = mean over splits of (h_1 - h_2)^2 / 4

That a half lies elsewhere than the whole (recall falls with n) cancels in h_1 - h_2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

SPLITS = 20

Statistic = Callable[[Tensor, Tensor], Float64[np.ndarray, " q"]]
"""(real, fake) -> q numbers."""


def half_splits(
    statistic: Statistic, *, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], splits: int = SPLITS, seed: int = 0
) -> Float64[np.ndarray, "q k 2"]:
    """The q numbers of a statistic on both halves in k random splits, which depend on n, m and `seed` alone."""
    rng = np.random.default_rng([seed, len(real), len(fake)])
    found = []
    for _ in range(splits):
        rows = [torch.from_numpy(rng.permutation(len(x)).astype(np.int64)) for x in (real, fake)]
        halves = zip(*(_halves(r) for r in rows), strict=True)
        found.append([statistic(real[a.to(real.device)], fake[b.to(fake.device)]) for a, b in halves])
    return np.array(found, np.float64).transpose(2, 0, 1)


def _halves(order: Tensor) -> tuple[Tensor, Tensor]:
    half = len(order) // 2
    return order[:half], order[half : 2 * half]
