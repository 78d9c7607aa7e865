r"""Frechet and kernel distance between two sets of features, and the Inception Score.

    Frechet   |m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^{1/2},    S with divisor n - 1
    kernel    MMD^2 with k(x, y) = (x . y / d + 1)^3, unbiased, mean over random subsets (KID of Inception features)
    IS        exp mean_i KL(p_i | mean_j p_j), mean over consecutive splits

For any factors S = A^T A, with the singular values sigma of P = A_1 A_2^T:   tr (S_1 S_2)^{1/2} = sum sigma. The factor
is the centred features over sqrt(n - 1) where n <= d, else the triangle of Cholesky. Where S is too close to singular
for that, it is R of a QR decomposition, or diag(lambda)^{1/2} V^T of the symmetric eigenproblem if only a covariance is
known. sigma^2 are the eigenvalues of P P^T, three times as fast as singular values; where their rounding would show in
the sum, the singular values are computed after all. No square root of a matrix is taken, nothing becomes complex, and a
covariance without full rank is no special case.

The kernel's products are x . y = u . v + u . c + c . v + c . c, with u = x - c and v = y - c from the mean c of all
features: u . v in the dtype of the features, all else in float64. In float32 alone, features far from the origin lose
the digits that matter; where they are so far that u . v would still show, it is float64 as well.

The Frechet distance is called FID for Inception features only. It is biased upwards for small n.
Source: GaParmar/clean-fid, cleanfid/fid.py; openai/guided-diffusion, evaluations/evaluator.py (IS).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

_CHUNK = 8192
_KERNEL_ROWS = 256
_KERNEL_ROUNDING = 1e-6
"""Largest change of one value of the kernel by rounding of u . v; the mean of all of them changes far less."""
_SINGULAR = 1e-10
"""Smallest pivot of Cholesky, relative to the largest variance, that still counts as full rank."""
_ROUNDING = 1e-8
"""Of the sum of singular values: how much eigenvalues may change it by their rounding."""


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """What the Frechet distance needs of a set of features; also made from published statistics.

    Attributes:
        mean: of each feature.
        factor: any A with A^T A = covariance.
    """

    mean: Float64[Tensor, " d"]
    factor: Float64[Tensor, "r d"]

    @classmethod
    def of_features(cls, features: Float[Tensor, "n d"]) -> Gaussian:
        """Moments in float64, of at least two rows; memory beside the features is one chunk and d x d."""
        n, d = features.shape
        if n < 2:
            raise ValueError(f"a covariance needs two images or more, got {n}")
        _require_finite(features)
        chunks = features.split(_CHUNK)
        mean = torch.stack([chunk.double().sum(dim=0) for chunk in chunks]).sum(dim=0) / n
        if n <= d:
            return cls(mean, (features.double() - mean) / math.sqrt(n - 1))
        scatter = mean.new_zeros(d, d)
        for chunk in chunks:
            scatter += _gram((chunk.double() - mean).T)
        factor = _cholesky(scatter)
        if factor is None:
            factor = mean.new_empty(0, d)
            for chunk in chunks:
                factor = torch.linalg.qr(torch.cat([factor, chunk.double() - mean]), mode="r").R
        return cls(mean, factor / math.sqrt(n - 1))


def frechet_distance(*, real: Float[Tensor, "n d"] | Gaussian, fake: Float[Tensor, "m d"] | Gaussian) -> float:
    """Frechet distance, float64, at least 0 and 0 for equal sets; symmetric.

    Raises:
        ValueError: fewer than two rows, features that are not finite or so large that the distance is not, or
            different dimensions.
    """
    a = real if isinstance(real, Gaussian) else Gaussian.of_features(real)
    b = fake if isinstance(fake, Gaussian) else Gaussian.of_features(fake)
    _require_one_dimension(len(a.mean), len(b.mean))
    product = a.factor @ b.factor.T
    _require_finite(product.square().sum(), "squared products of features")  # the eigenproblem takes no others
    cross = _sum_of_singular_values(product)
    spread = a.factor.square().sum() + b.factor.square().sum() - 2 * cross
    distance = (a.mean - b.mean).square().sum() + spread
    _require_finite(distance, "squares of features")
    return max(float(distance), 0.0)


def require_comparable(*, real: Tensor, fake: Tensor) -> None:
    """Refuses two sets of features that have different dimensions, or are not finite, with a ValueError."""
    _require_one_dimension(real.shape[1], fake.shape[1])
    for features in (real, fake):
        _require_finite(features)


def _require_one_dimension(real: int, fake: int) -> None:
    if real != fake:
        raise ValueError(f"features of {real} and {fake} dimensions cannot be compared")


def _require_finite(values: Tensor, what: str = "features") -> None:
    if not values.isfinite().all():
        raise ValueError(f"{what} must be finite")


def _cholesky(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"] | None:
    """The upper triangle A with A^T A = covariance; None where rounding would decide its last rows."""
    factor, failed = torch.linalg.cholesky_ex(covariance, upper=True)
    if failed or factor.diagonal().min().square() < _SINGULAR * covariance.diagonal().max():
        return None
    return factor


def _sum_of_singular_values(p: Float64[Tensor, "r s"]) -> Tensor:
    """Through the eigenvalues of p p^T, unless their error, of the size eps times the largest, is too much for it."""
    if p.shape[0] == p.shape[1]:
        squares = torch.linalg.eigvalsh(_gram(p))
        values = squares.clamp(min=0).sqrt()
        error = torch.finfo(p.dtype).eps * squares[-1] / (2 * values)  # of each value; infinite or NaN at 0
        if error.norm() <= _ROUNDING * values.sum():
            return values.sum()
    return torch.linalg.svdvals(p).sum()


def _gram(a: Float64[Tensor, "m d"]) -> Float64[Tensor, "m m"]:
    """a a^T; on a CPU by NumPy, which does half the work since it is symmetric."""
    return torch.from_numpy(a.numpy() @ a.numpy().T) if a.device.type == "cpu" else a @ a.T


class KernelDistance(NamedTuple):
    """Mean over subsets, standard deviation between them, their size, and each one's distance."""

    mean: float
    std: float
    size: int
    values: tuple[float, ...]


def kernel_distance(
    *,
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """Unbiased MMD^2 with the cubic kernel; may be negative. Subsets are no larger than the smaller set.

    The subsets are those of clean-fid's `kernel_distance(real, fake)` after `numpy.random.seed(seed)`. Where they have
    more pairs of images than there are (up to 10,000 images of each kind by default), every pair is computed once.
    Memory beside the features: as much again, and a block of 256 rows by all images.

    Raises:
        ValueError: fewer than two rows, or features that are not finite, or not of one floating dtype and dimension, or
            so large that the kernel is not finite.
    """
    size = min(len(real), len(fake), subset_size)
    if size < 2:
        raise ValueError(f"the kernel distance needs two images or more of each kind, got {len(real)} and {len(fake)}")
    if real.dtype != fake.dtype or not real.is_floating_point():
        raise ValueError(f"features must be floats of one dtype, got {real.dtype} and {fake.dtype}")
    require_comparable(real=real, fake=fake)
    rng = np.random.RandomState(seed)
    drawn = [[torch.from_numpy(rng.choice(len(x), size, replace=False)) for x in (fake, real)] for _ in range(subsets)]
    centre = (real.double().sum(dim=0) + fake.double().sum(dim=0)) / (len(real) + len(fake))
    x, y = (_Centred.of(features, centre) for features in (fake, real))
    if torch.finfo(real.dtype).eps * max(x.steepness(), y.steepness()) > _KERNEL_ROUNDING:
        x, y = (_Centred.of(features.double(), centre) for features in (fake, real))
    if (len(fake) + len(real)) ** 2 <= subsets * (2 * size) ** 2:  # all pairs once are fewer than those of the subsets
        of_fake, of_real = zip(*drawn, strict=True)
        values = _mmd(x, y, _members(len(fake), of_fake, centre), _members(len(real), of_real, centre))
    else:
        whole = centre.new_ones(size, 1)
        values = torch.cat([_mmd(x.rows(i), y.rows(j), whole, whole) for i, j in drawn])
    _require_finite(values, "cubes of products of features")
    return KernelDistance(float(values.mean()), float(values.std(correction=0)), size, tuple(values.tolist()))


class _Centred(NamedTuple):
    """Rows u = x - c in the dtype of the features, and the float64 u . c / d + (c . c / d + 1) / 2."""

    u: Float[Tensor, "n d"]
    rest: Float64[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], c: Float64[Tensor, " d"]) -> _Centred:
        parts = [chunk.double() - c for chunk in x.split(_CHUNK)]
        rest = torch.cat([part @ c for part in parts]) / len(c) + (c @ c / len(c) + 1) / 2
        return cls(torch.cat([part.to(x.dtype) for part in parts]), rest)

    def steepness(self) -> float:
        """Change of the kernel, on average, with the relative change of u . v."""
        return float(12 * self.rest.mean().square() * self.u.square().mean())

    def rows(self, which: Tensor | slice) -> _Centred:
        return _Centred(self.u[which], self.rest[which])


def _members(n: int, subsets: Sequence[Tensor], like: Tensor) -> Float64[Tensor, "n s"]:
    """1 where a row is in a subset, else 0."""
    result = torch.zeros(n, len(subsets), dtype=torch.float64)
    for column, rows in enumerate(subsets):
        result[rows, column] = 1
    return result.to(like.device)


def _mmd(x: _Centred, y: _Centred, in_x: Float64[Tensor, "n s"], in_y: Float64[Tensor, "m s"]) -> Float64[Tensor, " s"]:
    """Unbiased MMD^2 between the rows of x and of y that are in a subset, for each of s subsets of equal size."""
    size = in_x[:, 0].sum()
    within = _sums(x, x, in_x, in_x) + _sums(y, y, in_y, in_y)
    return within / (size * (size - 1)) - 2 * _sums(x, y, in_x, in_y) / size**2


def _sums(
    x: _Centred, y: _Centred, in_x: Float64[Tensor, "n s"], in_y: Float64[Tensor, "m s"]
) -> Float64[Tensor, " s"]:
    """Of the kernel over pairs of a subset; within one set (x is y) not of a row with itself, half of them, twice."""
    result = torch.zeros_like(in_x[0])
    for start in range(0, len(in_x), _KERNEL_ROWS):
        part, right = slice(start, start + _KERNEL_ROWS), slice(start if x is y else 0, None)
        kernel = _kernel(x.rows(part), y.rows(right))
        if x is y:
            kernel.triu_(diagonal=1).mul_(2)
        result += (in_x[part] * (kernel @ in_y[right])).sum(dim=0)
    return result


def _kernel(x: _Centred, y: _Centred) -> Float64[Tensor, "n m"]:
    products = x.u @ y.u.T
    return (x.rest[:, None] + y.rest).add_(products, alpha=1 / x.u.shape[1]).pow_(3)


def inception_score(logits: Float[Tensor, "n classes"], *, split_size: int = 5000) -> float:
    """Inception Score in file order: every split counts the same, also a shorter last one. Range [1, classes].

    Args:
        logits: of generated images; guided-diffusion's are pool features times the weights of the last layer, without
            bias, 1008 classes.
        split_size: images a split. The score falls with it, so it belongs to the number.

    Raises:
        ValueError: no images, or logits that are not finite.
    """
    if not len(logits):
        raise ValueError("the Inception Score needs images, got none")
    _require_finite(logits, "logits")
    scores = []
    for split in logits.split(split_size):
        log_p = split.double().log_softmax(dim=1)
        log_marginal = log_p.logsumexp(dim=0) - math.log(len(split))
        divergence = (log_p.exp() * (log_p - log_marginal)).sum(dim=1)
        scores.append(float(divergence.mean().exp()))
    return float(np.mean(scores))
