r"""Are generated images like real ones (precision, density), and do they cover them (recall, coverage)?

With B_k(s) the ball around point s that reaches to its k-th nearest neighbour in its own set (s itself not counted):

    precision = share of fake inside some B_k(real)      recall   = share of real inside some B_k(fake)
    density   = mean over fake of (number of B_k(real) around it) / k
    coverage  = share of real whose B_k(real) has a fake inside

Points on the rim are inside for precision and recall, outside for density and coverage, as in the references.

Squared distances come from |u|^2 - 2 u.v + |v|^2 in float64, of features centred on the real mean. What remains of a
distance far below its norms is rounding, so those few pairs (copies, near-copies) are computed again from u - v.

On a CPU most of it is done in float32, with the same answers. Its squared distances, and so the radii r, are off by at
most

    gamma (|u|^2 + |v|^2),    gamma = (8 sqrt(d) + 16) 2^{-24}

(Higham and Mary 2019, "A new approach to probabilistic rounding error analysis": a product exceeds 8 sqrt(d) 2^{-24}
|u| |v| in one of 10^13 cases; the 16 is for rounding vectors, norms, sums and thresholds). Only where a distance is
closer to r than twice that are both computed again in float64. Sets with many copies leave too much open; they get
float64 throughout.

Sources: Kynkaanniemi et al. 2019 with k = 3 (openai/guided-diffusion, evaluations/evaluator.py); Naeem et al. 2020 with
k = 5 (clovaai/generative-evaluation-prdc).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from benchmarks.metrics.frechet import require_comparable

_BLOCK_BYTES = 2**27
_SYMMETRIC, _ROWS = 1024, 256
_OPEN = 1 / 4
"""Share of the balls that float32 may leave open; with more, float64 throughout is as fast."""
_NEAR = 1e-9
_RIM = 1e-10
"""Relative; two blocks may round the distance of the same pair differently."""

Distances = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Shares in [0, 1]; density may exceed 1. All depend on the number of real and of fake images."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbours(
    *, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: int = 3, k_density: int = 5, half: bool = False
) -> Neighbours:
    """Improved precision and recall (with `k`), density and coverage (with `k_density`), in blocks of 128 MiB.

    Memory beside the features: two or three times these, and such a block; on a CPU blocks are of 256 rows.

    Args:
        real, fake: features, on one device.
        k, k_density: neighbours, fewer than the images of either set.
        half: distances in float16 where none overflows, as guided-diffusion computes them: off by 0.001 to 0.003, and
            different on every backend.

    Raises:
        ValueError: too few images for k, features that are not finite or whose squared distances are not, or different
            dimensions.
    """
    largest = max(k, k_density)
    if min(len(real), len(fake)) <= largest:
        raise ValueError(f"{largest} neighbours need {largest + 1} images of each kind, got {len(real)}, {len(fake)}")
    require_comparable(real=real, fake=fake)
    distances: Distances = _half_distances if half else _distances
    if not half:
        centre = real.double().mean(dim=0)
        real, fake = real.double() - centre, fake.double() - centre
        largest_norm = max(float(x.square().sum(dim=1).max()) for x in (real, fake))
        if not math.isfinite(4 * largest_norm):
            raise ValueError(f"squared distances must be finite, found features of squared norm {largest_norm:.4g}")
        if real.device.type == "cpu" and (found := _mostly_float32(real, fake, k, k_density, largest_norm)):
            return found
    real_k, real_density = _radii(real, (k, k_density), distances)
    (fake_k,) = _radii(fake, (k,), distances)

    precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    density, recalled, covered = torch.zeros(3, dtype=torch.int64, device=fake.device)  # read when all is done
    for rows, block in _blocks(real, fake, distances):
        precise |= (block <= real_k[rows, None] * (1 + _RIM)).any(dim=0)
        recalled += (block <= fake_k * (1 + _RIM)).any(dim=1).sum()
        inside = block < real_density[rows, None] * (1 - _RIM)
        density += inside.sum()
        covered += inside.any(dim=1).sum()
    n, m = len(real), len(fake)
    return Neighbours(int(precise.sum()) / m, int(recalled) / n, int(density) / (k_density * m), int(covered) / n)


def _radii(x: Float[Tensor, "n d"], ks: tuple[int, ...], distances: Distances) -> list[Float[Tensor, " n"]]:
    """Squared distance of every point to its k-th nearest other one, for every k."""
    nearest = [block.topk(max(ks) + 1, dim=1, largest=False).values for _, block in _blocks(x, x, distances)]
    return list(torch.cat(nearest).T[list(ks)])


def _blocks(u: Tensor, v: Tensor, distances: Distances) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of some rows of u to all of v, and which rows."""
    rows = max(1, _BLOCK_BYTES // (8 * len(v)))
    for start in range(0, len(u), rows):
        yield slice(start, start + rows), distances(u[start : start + rows], v)


def _distances(u: Float[Tensor, "n d"], v: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    norms = u.square().sum(dim=1)[:, None] + v.square().sum(dim=1)
    result = torch.addmm(norms, u, v.T, alpha=-2)
    near = (result <= _NEAR * norms).nonzero()
    for pairs in near.split(max(1, _BLOCK_BYTES // (8 * u.shape[1]))):
        i, j = pairs.unbind(dim=1)
        result[i, j] = (u[i] - v[j]).square().sum(dim=1)
    return result


def _half_distances(u: Float[Tensor, "n d"], v: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    for dtype in (torch.float16, torch.float32):
        a, b = u.to(dtype), v.to(dtype)
        norms = a.square().sum(dim=1)[:, None], b.square().sum(dim=1)
        result = (norms[0] - 2 * (a @ b.T) + norms[1]).clamp(min=0)
        if result.isfinite().all():
            return result.float()
    raise ValueError("squared distances of features must be finite in float32 for distances in float16")


class _Rounded:
    """Points in float32, and their squared norms."""

    def __init__(self, exact: Float64[Tensor, "n d"]) -> None:
        self.points, self.norms = exact.float(), exact.square().sum(dim=1).float()

    def distances(self, rows: slice, other: _Rounded, columns: slice) -> Float32[Tensor, "r c"]:
        """By NumPy, whose products no setting of PyTorch makes less precise."""
        products = torch.from_numpy(self.points[rows].numpy() @ other.points[columns].numpy().T)
        return torch.add(other.norms[columns], products, alpha=-2).add_(self.norms[rows, None])

    def nearest(self, k: int) -> Float32[Tensor, "n k"]:
        """Squared distances to the k nearest other points, ascending; every pair is computed once."""
        result = torch.full((len(self.norms), k), math.inf)
        blocks = [slice(i, i + _SYMMETRIC) for i in range(0, len(self.norms), _SYMMETRIC)]
        for i, rows in enumerate(blocks):
            for columns in blocks[i:]:
                block = self.distances(rows, self, columns)
                if columns is rows:
                    block.fill_diagonal_(math.inf)
                else:
                    result[columns] = _smallest(result[columns], block.T)
                result[rows] = _smallest(result[rows], block)
        return result


def _smallest(known: Float32[Tensor, "n k"], more: Float32[Tensor, "n c"]) -> Float32[Tensor, "n k"]:
    k = known.shape[1]
    few = more.topk(min(k, more.shape[1]), dim=1, largest=False).values
    return torch.cat([known, few], dim=1).topk(k, dim=1, largest=False).values


class _Balls:
    """Which of the pairs (i, j) of a real and a fake image are in the ball of image i (`side` 0) or j (1).

    Attributes:
        total: pairs inside.
        holds: for both sides, the images that are in such a pair.
        open: pairs that float32 leaves open.
    """

    def __init__(self, sets: list[Float64[Tensor, "_ d"]], side: int, k: int, radii: Tensor, margin: Tensor) -> None:
        self.sets, self.side, self.k = sets, side, k
        self.inside, self.maybe = radii - margin, radii + margin
        self.total, self.holds = 0, [torch.zeros(len(x), dtype=torch.bool) for x in sets]
        self.open = torch.empty(2, 0, dtype=torch.int64)

    def look(self, start: int, block: Float32[Tensor, "r m"]) -> None:
        """At the distances of the real images from `start` on to all fake ones."""
        rows = slice(start, start + len(block))
        limit = self.maybe[None] if self.side else self.maybe[rows, None]
        flat = torch.from_numpy(np.flatnonzero((block <= limit).numpy()))
        pairs = torch.stack([flat // block.shape[1] + start, flat % block.shape[1]])
        surely = block.flatten()[flat] < self.inside[pairs[self.side]]
        self._count(pairs[:, surely])
        self.open = torch.cat([self.open, pairs[:, ~surely]], dim=1)

    def _count(self, pairs: Int64[Tensor, "2 p"]) -> None:
        self.total += pairs.shape[1]
        for held, which in zip(self.holds, pairs, strict=True):
            held[which] = True

    def close(self, *, rim: bool) -> bool:
        """Decide the open pairs in float64; those on the rim are inside if `rim`. False if there are too many."""
        own = self.sets[self.side]
        balls, which = self.open[self.side].unique(return_inverse=True)
        if len(balls) > _OPEN * len(own) or self.open.shape[1] > 4 * _OPEN * len(own):
            return False
        radii = [
            _distances(own[b], own).topk(self.k + 1, dim=1, largest=False).values[:, -1] for b in balls.split(_ROWS)
        ]
        for some in torch.arange(len(which)).split(_ROWS):
            u, v = (x[i] for x, i in zip(self.sets, self.open[:, some], strict=True))
            distance, radius = (u - v).square().sum(dim=1), torch.cat(radii)[which[some]]
            inside = distance <= radius * (1 + _RIM) if rim else distance < radius * (1 - _RIM)
            self._count(self.open[:, some[inside]])
        return True


def _mostly_float32(
    real: Float64[Tensor, "n d"], fake: Float64[Tensor, "m d"], k: int, k_density: int, largest: float
) -> Neighbours | None:
    """What `neighbours` gives; None where float32 leaves too much open. `largest` squared norm. See the module."""
    scale = 2.0 ** -round(math.log2(largest) / 2) if largest > 0 else 1.0  # no digit is lost, none overflows
    sets = [real * scale, fake * scale]
    rounded = [_Rounded(x) for x in sets]
    near = [rounded[0].nearest(max(k, k_density)), rounded[1].nearest(k)]
    gamma = (8 * real.shape[1] ** 0.5 + 16) * 2.0**-24
    margins = [2 * gamma * (x.norms + largest * scale**2) for x in rounded]
    precision, density, recall = (
        _Balls(sets, side, of, near[side][:, of - 1], margins[side]) for side, of in ((0, k), (0, k_density), (1, k))
    )
    for start in range(0, len(real), _ROWS):
        block = rounded[0].distances(slice(start, start + _ROWS), rounded[1], slice(None))
        for balls in (precision, density, recall):
            balls.look(start, block)
    if not (precision.close(rim=True) and density.close(rim=False) and recall.close(rim=True)):
        return None
    shares = precision.holds[1], recall.holds[0], density.holds[0]
    precise, recalled, covered = (int(x.sum()) / len(x) for x in shares)
    return Neighbours(precise, recalled, density.total / (k_density * len(fake)), covered)
