r"""Frechet and kernel distance between two sets of features, and the Inception Score.

    Frechet   |m_1 - m_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^{1/2},    S with divisor n - 1
    kernel    MMD^2 with k(x, y) = (x . y / d + 1)^3, unbiased, mean over random subsets (KID of Inception features)
    IS        exp mean_i KL(p_i | mean_j p_j), mean over consecutive splits

For any factors S = A^T A, with the singular values sigma of A_1 A_2^T:   tr (S_1 S_2)^{1/2} = sum sigma. The factor is
the centred features over sqrt(n - 1), their R of a QR decomposition where n > d, and diag(lambda)^{1/2} V^T of the
symmetric eigenproblem where only a covariance is known. No square root of a matrix is taken, nothing becomes complex,
and a covariance without full rank is no special case.

The Frechet distance is called FID for Inception features only. It is biased upwards for small n.
Source: GaParmar/clean-fid, cleanfid/fid.py; openai/guided-diffusion, evaluations/evaluator.py (IS).
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

_CHUNK = 8192
_KERNEL_ROWS = 64


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
        if not features.isfinite().all():
            raise ValueError("features must be finite")
        chunks = features.split(_CHUNK)
        mean = torch.stack([chunk.double().sum(dim=0) for chunk in chunks]).sum(dim=0) / n
        factor = mean.new_empty(0, d)
        for chunk in chunks:
            factor = torch.cat([factor, chunk.double() - mean])
            if len(factor) > d:
                factor = torch.linalg.qr(factor, mode="r").R
        return cls(mean, factor / math.sqrt(n - 1))

    @classmethod
    def of_moments(cls, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> Gaussian:
        """From a mean and a symmetric covariance, whose negative eigenvalues (rounding) count as 0."""
        values, vectors = torch.linalg.eigh(covariance.double())
        return cls(mean.double(), values.clamp(min=0).sqrt()[:, None] * vectors.T)


def frechet_distance(*, real: Float[Tensor, "n d"] | Gaussian, fake: Float[Tensor, "m d"] | Gaussian) -> float:
    """Frechet distance, float64, at least 0 and 0 for equal sets; symmetric.

    Raises:
        ValueError: fewer than two rows, features that are not finite, or different dimensions.
    """
    a = real if isinstance(real, Gaussian) else Gaussian.of_features(real)
    b = fake if isinstance(fake, Gaussian) else Gaussian.of_features(fake)
    if len(a.mean) != len(b.mean):
        raise ValueError(f"features of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared")
    cross = torch.linalg.svdvals(a.factor @ b.factor.T).sum()
    spread = a.factor.square().sum() + b.factor.square().sum() - 2 * cross
    return max(float((a.mean - b.mean).square().sum() + spread), 0.0)


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

    The subsets are those of clean-fid's `kernel_distance(real, fake)` after `numpy.random.seed(seed)`.
    """
    size = min(len(real), len(fake), subset_size)
    if size < 2:
        raise ValueError(f"the kernel distance needs two images or more of each kind, got {len(real)} and {len(fake)}")
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = fake[torch.from_numpy(rng.choice(len(fake), size, replace=False)).to(fake.device)]
        y = real[torch.from_numpy(rng.choice(len(real), size, replace=False)).to(real.device)]
        values.append(_mmd(x, y))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), size, tuple(values))


def _mmd(x: Float[Tensor, "m d"], y: Float[Tensor, "m d"]) -> float:
    """Products in the dtype of the features, everything after them in float64.

    The cubes are taken in blocks that stay in the processor's cache; of the symmetric matrices above the diagonal only.
    """
    m, d = x.shape
    xx, yy, xy = _products(x, x), _products(y, y), _products(x, y)
    within, between = 0.0, 0.0
    for start in range(0, m, _KERNEL_ROWS):
        rows, right = slice(start, start + _KERNEL_ROWS), slice(start + _KERNEL_ROWS, None)
        for products in (xx, yy):
            diagonal = products.diagonal()[rows].double().div(d).add(1).pow(3).sum()
            within += _cubes(products[rows, rows], d) - float(diagonal) + 2 * _cubes(products[rows, right], d)
        between += _cubes(xy[rows], d)
    return within / (m * (m - 1)) - 2 * between / m**2


def _products(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """a b^T; on a CPU by NumPy, which does half the work where b is a."""
    return torch.from_numpy(a.numpy() @ b.numpy().T) if a.device.type == "cpu" else a @ b.T


def _cubes(products: Float[Tensor, "m n"], d: int) -> float:
    """Sum of the kernel over a block of products."""
    k = products.double().div_(d).add_(1)
    return float(torch.dot(k.square().flatten(), k.flatten()))


def inception_score(logits: Float[Tensor, "n classes"], *, split_size: int = 5000) -> float:
    """Inception Score in file order: every split counts the same, also a shorter last one. Range [1, classes].

    Args:
        logits: of generated images; guided-diffusion's are pool features times the weights of the last layer, without
            bias, 1008 classes.
        split_size: images a split. The score falls with it, so it belongs to the number.
    """
    scores = []
    for split in logits.split(split_size):
        log_p = split.double().log_softmax(dim=1)
        log_marginal = log_p.logsumexp(dim=0) - math.log(len(split))
        divergence = (log_p.exp() * (log_p - log_marginal)).sum(dim=1)
        scores.append(float(divergence.mean().exp()))
    return float(np.mean(scores))
