r"""How much every image moves a distance between two sets: the noise of Frechet and kernel distances and of IS.

A smooth function T of the two distributions deviates from its expectation, in first order, by the mean over real
images of c(x) plus the mean over generated ones of c'(y); so its variance is var(c) / n + var(c') / m (the
infinitesimal jackknife). With u = y - m_2:

    Frechet  c'(y) = 2 (m_2 - m_1) . u + |u|^2 - u^T A u,   A = S_1^{1/2} (S_1^{1/2} S_2 S_1^{1/2})^{-1/2} S_1^{1/2}
             (A carries N(m_2, S_2) to N(m_1, S_1): the derivative of 2 tr (S_1 S_2)^{1/2}); c is the mirror image
    kernel   c'(y) = 2 (mean k(y, fake) - mean k(y, real)),    c(x) = 2 (mean k(x, real) - mean k(x, fake))
    IS       c'(y) = IS KL(p(y) | mean p)

all less their mean. With F_1, F_2 any factors S = F^T F and U s V^T = F_1 F_2^T, u^T A u = |s^{-1/2} U^T F_1 u|^2.
Sets that are nearly equal have no first-order noise; what is then found has the size of the second order, and is above
it.
Frechet distances of no more images than features have none of this: `frechet_contributions` gives None.

Source: Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from benchmarks.metrics.frechet import Gaussian

_CHUNK = 4096
_SMALL = 1e-10
"""Directions with a smaller share of the largest variance are rounding, or features that are always zero."""

Contributions = tuple[Float64[Tensor, " n"], Float64[Tensor, " m"]]
"""Of every real and of every generated image."""


def frechet_contributions(*, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Contributions | None:
    """Contributions to the Frechet distance; None where either set has no more images than features."""
    if min(len(real), len(fake)) <= real.shape[1]:
        return None
    a, b = Gaussian.of_features(real), Gaussian.of_features(fake)
    u, s, vh = torch.linalg.svd(a.factor @ b.factor.T, full_matrices=False)
    keep = s > _SMALL * s[0]
    scale = s[keep].rsqrt()[:, None]
    to_real, to_fake = scale * (u.T[keep] @ a.factor), scale * (vh[keep] @ b.factor)
    return _quadratic(real, a.mean, b.mean, to_fake), _quadratic(fake, b.mean, a.mean, to_real)


def kernel_contributions(*, real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], limit: int = 5000) -> Contributions:
    """Contributions to the kernel distance; means over the first `limit` images of each set."""

    def contributions(x: Tensor, other: Tensor) -> Tensor:
        few = x[:limit].double()
        within = torch.cat([_kernel_sums(chunk, few) for chunk in x.split(_CHUNK)])
        within[:limit] -= (few.square().sum(dim=1) / x.shape[1] + 1).pow(3)  # an image is not compared with itself
        within[:limit] /= len(few) - 1
        within[limit:] /= len(few)
        between = torch.cat([_kernel_sums(chunk, other[:limit].double()) for chunk in x.split(_CHUNK)])
        values = 2 * (within - between / len(other[:limit]))
        return values - values.mean()

    return contributions(real, fake), contributions(fake, real)


def inception_contributions(logits: Float[Tensor, "n classes"], *, split_size: int = 5000) -> Float64[Tensor, " n"]:
    """Contributions to the Inception Score, the mean over consecutive splits of `split_size`."""
    splits, found = logits.split(split_size), []
    for split in splits:
        log_p = split.double().log_softmax(dim=1)
        divergence = (log_p.exp() * (log_p - log_p.exp().mean(dim=0).log())).sum(dim=1)
        weight = len(logits) / len(splits) / len(split)  # every split counts the same
        found.append(weight * divergence.mean().exp() * (divergence - divergence.mean()))
    return torch.cat(found)


def _quadratic(
    x: Float[Tensor, "n d"], mean: Float64[Tensor, " d"], other: Float64[Tensor, " d"], to_other: Float64[Tensor, "r d"]
) -> Float64[Tensor, " n"]:
    found = []
    for chunk in x.split(_CHUNK):
        u = chunk.double() - mean
        found.append(2 * u @ (mean - other) + u.square().sum(dim=1) - (u @ to_other.T).square().sum(dim=1))
    values = torch.cat(found)
    return values - values.mean()


def _kernel_sums(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float64[Tensor, " n"]:
    return (x.double() @ y.T / x.shape[1] + 1).pow(3).sum(dim=1)
