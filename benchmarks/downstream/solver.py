r"""Linear maps that are the optimum and not what an optimiser happened to reach: logistic regression and ridge.

    logistic    min_a,b   mean_i [log(1 + e^f_i) - y_i f_i] + |a|^2 / (2 C n)      f = X a + b
    ridge       min_a,b   mean_i (y_i - f_i)^2 + l |a|^2

The first is scikit-learn's `LogisticRegression(C)` divided by C n, the second its `Ridge(alpha = l n)` divided by n;
the intercept b is not penalised. Both have one optimum, so that the answer is a function of the data. X is n codes on
the axes that `Axes` finds: the same minimum as in standardised z, and the faster search, because X^T X is diagonal
there. Everything is float64.

Logistic regressions of all attributes are solved at once by Newton's method: directions by conjugate gradients with the
diagonal of the Hessian as preconditioner, to a relative residual of min(.1, sqrt |g|), then halved steps (Armijo).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

STRENGTHS = tuple(10.0**e for e in range(-4, 5))
"""C of logistic regression, weakest fit first."""
PENALTIES = tuple(10.0**e for e in range(2, -7, -1))
"""l of ridge, weakest fit first."""
TOLERANCE = 1e-7
"""Largest Euclidean norm of the gradient of an attribute's objective, as written above."""
DEAD = 1e-6
"""A dimension whose deviation is below this share of the largest, or of its own mean, is rounding noise of float32."""
_RANK = 1e-12
_NEWTON_STEPS, _CG_STEPS, _HALVINGS = 100, 200, 40
_CHUNK = 8192


@dataclasses.dataclass(frozen=True)
class Axes:
    """Standardised codes on the principal axes of their correlation matrix.

        x = V^T ((z - mean) / std)      std: of the training codes; V: eigenvectors, largest eigenvalue first

    Dead dimensions (`DEAD`) are left out, as are axes whose eigenvalue is below 1e-12 of the largest: there is nothing
    to learn from them, and dividing by them would make test codes explode.
    """

    mean: Float64[Tensor, " d"]
    map: Float64[Tensor, "d r"]

    @property
    def rank(self) -> int:
        """Directions in which the codes vary."""
        return self.map.shape[1]

    def __call__(self, z: Float[Tensor, "n d"]) -> Float64[Tensor, "n r"]:
        x = torch.empty(len(z), self.rank, dtype=torch.float64)
        for rows in torch.arange(len(z)).split(_CHUNK):
            x[rows] = (z[rows].double() - self.mean) @ self.map
        return x


def standardisation(z: Float[Tensor, "n d"]) -> tuple[Float64[Tensor, " d"], Float64[Tensor, " d"]]:
    """Mean of every dimension, and 1 / its standard deviation, which is 0 for a dead one."""
    chunks = z.split(_CHUNK)
    mean = torch.stack([chunk.double().sum(dim=0) for chunk in chunks]).sum(dim=0) / len(z)
    squares = torch.stack([(chunk.double() - mean).square().sum(dim=0) for chunk in chunks]).sum(dim=0)
    std = (squares / len(z)).sqrt()
    return mean, torch.where(std > DEAD * torch.maximum(std.max(), mean.abs()), 1 / std, 0.0)


def axes(z: Float[Tensor, "n d"]) -> Axes:
    """The axes of training codes."""
    mean, scale = standardisation(z)
    correlation = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64)
    for chunk in z.split(_CHUNK):
        x = (chunk.double() - mean) * scale
        correlation += x.T @ x / len(z)
    values, vectors = torch.linalg.eigh(correlation)
    kept = (values > _RANK * values[-1].clamp(min=1e-300)).flip(0)
    return Axes(mean, scale[:, None] * vectors.flip(1)[:, kept])


@dataclasses.dataclass(frozen=True)
class Fits:
    """Linear maps of k attributes, one for each strength: f = X weights[s, :-1] + weights[s, -1].

    `gradients` are the Euclidean norms of the objectives' gradients, relative to the target's deviation in ridge.
    """

    weights: Float64[Tensor, "s w k"]
    gradients: Float64[Tensor, "s k"]

    def predictions(self, x: Float64[Tensor, "n r"], strength: int) -> Float64[np.ndarray, "n k"]:
        """Logits, or predicted values, of every attribute."""
        return predict(x, self.weights[strength])

    def chosen(self, strengths: Int64[np.ndarray, " k"]) -> tuple[Float64[Tensor, "w k"], Float64[Tensor, " k"]]:
        """Weights and gradients with a strength of its own for each attribute."""
        index, k = torch.as_tensor(strengths), torch.arange(self.weights.shape[2])
        return self.weights[index, :, k].T, self.gradients[index, k]


def predict(x: Float64[Tensor, "n r"], weights: Float64[Tensor, "w k"]) -> Float64[np.ndarray, "n k"]:
    """X a + b."""
    return (x @ weights[:-1] + weights[-1]).numpy()


def ridge(
    x: Float64[Tensor, "n r"], targets: Shaped[np.ndarray, "n k"], penalties: Sequence[float] = PENALTIES
) -> Fits:
    """Ridge regression in closed form: X has mean zero and orthogonal columns, so that each weight is one quotient."""
    y = torch.from_numpy(np.asarray(targets, np.float64))
    mean, deviation = y.mean(dim=0), y.std(dim=0, correction=0)
    variance, covariance = x.square().mean(dim=0), x.T @ (y - mean) / len(x)
    weights, gradients = [], []
    for penalty in penalties:
        a = covariance / (variance + penalty)[:, None]
        residual = x.T @ (x @ a + mean - y) / len(x) + penalty * a
        weights.append(torch.cat([a, mean[None]]))
        gradients.append(residual.norm(dim=0) / torch.where(deviation > 0, deviation, 1.0))
    return Fits(torch.stack(weights), torch.stack(gradients))


def logistic(
    x: Float64[Tensor, "n r"],
    labels: Shaped[np.ndarray, "n k"],
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = TOLERANCE,
) -> Fits:
    """Logistic regressions from the weakest fit to the strongest, each started at the one before.

    Args:
        x: codes.
        labels: 0 or 1. An attribute with one class only has no optimum: weights 0, intercept the smoothed log odds.
        strengths: C, rising.
        tolerance: of the gradient's norm.
    """
    y = torch.from_numpy(np.asarray(labels, np.float64))
    count = y.sum(dim=0)
    weights = torch.zeros(x.shape[1] + 1, y.shape[1], dtype=torch.float64)
    weights[-1] = torch.log((count + 0.5) / (len(y) - count + 0.5))
    both = ((count > 0) & (count < len(y))).nonzero().flatten()
    x1 = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    found, gradients = [], []
    for c in strengths:
        gradient = torch.zeros(y.shape[1], dtype=torch.float64)
        if len(both):
            weights = weights.clone()
            weights[:, both], gradient[both] = _newton(x1, y[:, both], weights[:, both], 1 / (c * len(y)), tolerance)
        found.append(weights)
        gradients.append(gradient)
    return Fits(torch.stack(found), torch.stack(gradients))


def _newton(
    x: Tensor, y: Tensor, start: Tensor, penalty: float, tolerance: float
) -> tuple[Float64[Tensor, "w k"], Float64[Tensor, " k"]]:
    """Minima of all attributes from `start`, and the norms of their gradients; an attribute that is there is left."""
    done, norms = start.clone(), torch.zeros(y.shape[1], dtype=torch.float64)
    live, w = torch.arange(y.shape[1]), start
    eta = x @ w
    l2 = torch.full((len(w), 1), penalty, dtype=torch.float64)
    l2[-1] = 0
    for step in range(_NEWTON_STEPS + 1):
        p = torch.sigmoid(eta)
        gradient = x.T @ (p - y) / len(x) + l2 * w
        norm = gradient.norm(dim=0)
        done[:, live], norms[live] = w, norm
        going = norm > tolerance
        if not going.any() or step == _NEWTON_STEPS:
            break
        if not going.all():
            live, w, eta, y, p, gradient, norm = (t[..., going] for t in (live, w, eta, y, p, gradient, norm))
        direction = _conjugate_gradients(x, p * (1 - p), l2, -gradient, norm.sqrt().clamp(max=0.1) * norm)
        along = x @ direction
        size = _step_size(eta, along, y, w, direction, l2, (gradient * direction).sum(dim=0))
        w, eta = w + size * direction, eta + size * along
    return done, norms


def _conjugate_gradients(x: Tensor, s: Tensor, l2: Tensor, b: Tensor, residual: Tensor) -> Tensor:
    """Solve (X^T diag(s) X / n + ridge) v = b for every column until |b - A v| <= `residual`."""
    n = len(x)
    diagonal = l2 + sum(c.square().T @ w for c, w in zip(x.split(_CHUNK), s.split(_CHUNK), strict=True)) / n
    v, r = torch.zeros_like(b), b
    z = r / diagonal
    q, rz = z, (r * z).sum(dim=0)
    for _ in range(_CG_STEPS):
        going = r.norm(dim=0) > residual
        if not going.any():
            break
        aq = x.T @ (s * (x @ q)) / n + l2 * q
        alpha = torch.where(going, rz / (q * aq).sum(dim=0), 0.0)
        v, r = v + alpha * q, r - alpha * aq
        z = r / diagonal
        before, rz = rz, (r * z).sum(dim=0)
        q = torch.where(going, z + rz / before * q, 0.0)
    return v


def _step_size(
    eta: Tensor, along: Tensor, y: Tensor, w: Tensor, direction: Tensor, l2: Tensor, slope: Tensor
) -> Tensor:
    """The largest of 1, 1/2, 1/4, ... that lowers each objective by 1e-4 of what the slope promises."""

    def objective(size: Tensor) -> Tensor:
        f = eta + size * along
        return (F.softplus(f) - y * f).mean(dim=0) + (l2 * (w + size * direction).square()).sum(dim=0) / 2

    size = torch.ones_like(slope)
    before = objective(torch.zeros_like(slope))
    for _ in range(_HALVINGS):
        short = objective(size) > before + 1e-4 * size * slope + 1e-14 * before
        if not short.any():
            break
        size = torch.where(short, size / 2, size)
    return size
