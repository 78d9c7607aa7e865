r"""Are generated images like real ones (precision, density), and do they cover them (recall, coverage)?

With B_k(s) the ball around point s that reaches to its k-th nearest neighbour in its own set (s itself not counted):

    precision = share of fake inside some B_k(real)      recall   = share of real inside some B_k(fake)
    density   = mean over fake of (number of B_k(real) around it) / k
    coverage  = share of real whose B_k(real) has a fake inside

Points on the rim are inside for precision and recall, outside for density and coverage, as in the references.

Squared distances come from |u|^2 - 2 u.v + |v|^2 in float64, of features centred on the real mean. What remains of a
distance far below its norms is rounding, so those few pairs (copies, near-copies) are computed again from u - v.

Sources: Kynkaanniemi et al. 2019 with k = 3 (openai/guided-diffusion, evaluations/evaluator.py); Naeem et al. 2020 with
k = 5 (clovaai/generative-evaluation-prdc).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK_BYTES = 2**27
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

    Args:
        real, fake: features, on one device.
        k, k_density: neighbours, fewer than the images of either set.
        half: distances in float16 where none overflows, as guided-diffusion computes them: off by 0.001 to 0.003, and
            different on every backend.

    Raises:
        ValueError: too few images for k, or features that are not finite.
    """
    largest = max(k, k_density)
    if min(len(real), len(fake)) <= largest:
        raise ValueError(f"{largest} neighbours need {largest + 1} images of each kind, got {len(real)}, {len(fake)}")
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("features must be finite")
    distances: Distances = _half_distances if half else _distances
    if not half:
        centre = real.double().mean(dim=0)
        real, fake = real.double() - centre, fake.double() - centre
    real_k, real_density = _radii(real, (k, k_density), distances)
    (fake_k,) = _radii(fake, (k,), distances)

    precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    density, recalled, covered = 0, 0, 0
    for rows, block in _blocks(real, fake, distances):
        precise |= (block <= real_k[rows, None] * (1 + _RIM)).any(dim=0)
        recalled += int((block <= fake_k * (1 + _RIM)).any(dim=1).sum())
        inside = block < real_density[rows, None] * (1 - _RIM)
        density += int(inside.sum())
        covered += int(inside.any(dim=1).sum())
    n, m = len(real), len(fake)
    return Neighbours(int(precise.sum()) / m, recalled / n, density / (k_density * m), covered / n)


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
            break
    return result.float()
