"""The bound of SB-VAE against a linear-Gaussian pair, whose integrals are known, and against its own other forms."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from torch import Tensor

from baselines.methods.sb_vae import bridge
from dbae.noise import GeneratorNoise, ReplayNoise

CASE = json.loads((GOLDEN / "systems" / "sb_linear_gaussian.json").read_text())
P = CASE["params"]
G = P["g"]
NODES, WEIGHTS = (torch.tensor(values) for values in np.polynomial.hermite_e.hermegauss(5))
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Of a quadrature that is exact for the polynomials of degree 9 in a standard normal number."""


def u(t: Tensor, x: Tensor) -> Tensor:
    return P["a"] * x + P["b"]


def s(t: Tensor, x: Tensor) -> Tensor:
    return P["c"] * x + P["d"]


def moments(t: float) -> tuple[float, float]:
    """Mean and variance of rho_t."""
    e = math.exp(P["a"] * t)
    variance = P["v0"] * e**2 + G**2 * (e**2 - 1) / (2 * P["a"])
    return P["m0"] * e + P["b"] * (e - 1) / P["a"], variance


def minus_log_prior(mean: float, variance: float) -> float:
    """-E log pi(X_T), which is N(mp, vp) here."""
    return 0.5 * (math.log(2 * math.pi * P["vp"]) + (variance + (mean - P["mp"]) ** 2) / P["vp"])


ENTROPY = 0.5 * math.log(2 * math.pi * math.e * P["v0"])


def integral(integrand) -> float:
    """Over t from 0 to T, of the mean over rho_t of `integrand(t, x)`: Gauss-Legendre with 40 times."""
    found = 0.0
    for node, weight in zip(*np.polynomial.legendre.leggauss(40), strict=True):
        t = P["T"] * (node + 1) / 2
        mean, variance = moments(t)
        x = (mean + math.sqrt(variance) * NODES)[:, None]
        found += weight * P["T"] / 2 * float((WEIGHTS * integrand(bridge.at(t, x), x)).sum())
    return found


@pytest.mark.golden
def test_total_without_the_density():
    def integrand(t: Tensor, x: Tensor) -> Tensor:
        value, div = bridge.divergence(s, t, x)
        return bridge.continuous_term(u(t, x), value.detach(), div.detach(), G)

    found = minus_log_prior(*moments(P["T"])) - ENTROPY + integral(integrand)
    assert found == pytest.approx(CASE["tractable_elbo_form"], abs=1e-6)
    assert found == pytest.approx(CASE["path_kl"], abs=1e-6)


@pytest.mark.golden
def test_drift_matching_with_and_without_the_density():
    """By the density |u - g^2 grad log rho - s|^2 / (2 g^2); by parts, the total's, div u and that of the density."""

    def score(t: Tensor, x: Tensor) -> Tensor:
        mean, variance = moments(float(t[0]))
        return -(x - mean) / variance

    def exact(t: Tensor, x: Tensor) -> Tensor:
        zero = torch.zeros(len(x), dtype=x.dtype)
        return bridge.continuous_term(u(t, x) - G**2 * score(t, x), s(t, x), zero, G)

    def by_parts(t: Tensor, x: Tensor) -> Tensor:
        (value, div_s), (_, div_u) = bridge.divergence(s, t, x), bridge.divergence(u, t, x)
        term = bridge.continuous_term(u(t, x), value, div_s, G) + div_u
        return (term + G**2 / 2 * score(t, x).square().sum(1)).detach()

    assert integral(exact) == pytest.approx(CASE["drift_matching_exact"], abs=1e-6)
    assert integral(by_parts) == pytest.approx(CASE["drift_matching_implicit_form"], abs=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [50, 200, 800])
def test_chain_is_the_bound_of_the_discretised_process(steps):
    """Every expectation by quadrature over X_k and its noise."""
    grid = bridge.times(steps, P["T"])
    mean, variance, found = P["m0"], P["v0"], -ENTROPY
    for t, after in itertools.pairwise(grid):
        x = (mean + math.sqrt(variance) * NODES).repeat_interleave(5)[:, None]
        weights = torch.outer(WEIGHTS, WEIGHTS).flatten()
        *_, end = bridge.walk(u, x, [t, after], G, ReplayNoise([NODES.repeat(5)[:, None]]))
        found += float((weights * bridge.chain_term(s(bridge.at(after, end), end), x, end, after - t, G)).sum())
        mean = float((weights[:, None] * end).sum())
        variance = float((weights[:, None] * (end - mean) ** 2).sum())
    assert found + minus_log_prior(mean, variance) == pytest.approx(CASE["discrete_chain"][str(steps)], abs=1e-6)


def test_regression_finds_the_reversed_drift():
    """The minimum over s of the chain's terms is near u - g^2 grad log rho, which is linear here."""
    generator = torch.Generator().manual_seed(0)
    h, t = 0.00375, 0.6
    mean, variance = moments(t)
    x = mean + math.sqrt(variance) * torch.randn(400_000, 1, generator=generator, dtype=torch.float64)
    *_, after = bridge.walk(u, x, [t, t + h], G, GeneratorNoise(generator))
    mean, variance = moments(t + h)
    slope, intercept = P["a"] + G**2 / variance, P["b"] - G**2 * mean / variance

    def value(slope: float, intercept: float) -> float:
        return float(bridge.chain_term(slope * after + intercept, x, after, h, G).mean())

    best = value(slope, intercept)
    for other in ((slope + 0.3, intercept), (slope - 0.3, intercept), (slope, intercept + 0.3), (0.0, 0.0)):
        assert value(*other) > best + 2e-5


def test_chain_adds_up_along_its_path():
    x0 = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    zero, grid = torch.zeros((), dtype=torch.float64), bridge.times(4, power=2)
    assert grid == [0, 1 / 16, 1 / 4, 9 / 16, 1]
    path = list(bridge.walk(u, x0, grid, G, GeneratorNoise(torch.Generator().manual_seed(2))))
    found = bridge.chain(u, s, x0, grid, G, GeneratorNoise(torch.Generator().manual_seed(2)))
    expected = -torch.distributions.Normal(zero, 1.0).log_prob(path[-1]).sum(1)
    for k, (t, after) in enumerate(itertools.pairwise(grid)):
        h = after - t
        back = torch.distributions.Normal(path[k + 1] - h * s(None, path[k + 1]), G * math.sqrt(h))
        noise = (path[k + 1] - path[k] - h * u(None, path[k])) / (G * math.sqrt(h))
        forth = torch.distributions.Normal(zero, G * math.sqrt(h)).log_prob(G * math.sqrt(h) * noise)
        # What a draw of the forward step is worth, xi^2 / 2, has the mean D / 2 that the chain has in its place.
        expected = expected + (forth + 0.5 * noise.square() - 0.5 - back.log_prob(path[k])).sum(1)
    torch.testing.assert_close(found, expected)


def test_less_noise_leaves_the_marginals_as_they_are():
    """Of rho_T, whatever eta, the way back makes rho_0; and the flow up makes rho_T of rho_0."""

    def reversed_drift(t: Tensor, x: Tensor) -> Tensor:
        mean, variance = moments(float(t[0]))
        return u(t, x) + G**2 * (x - mean) / variance

    grid, generator = bridge.times(200, P["T"]), torch.Generator().manual_seed(0)
    mean, variance = moments(P["T"])
    x_T = mean + math.sqrt(variance) * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    for eta in (0.0, 0.5, 1.0):
        noise = GeneratorNoise(generator) if eta else None
        *_, x0 = bridge.walk_back(u, reversed_drift, x_T, grid, G, noise, eta)
        assert float(x0.mean()) == pytest.approx(P["m0"], abs=0.02)
        assert float(x0.var()) == pytest.approx(P["v0"], rel=0.05)
        if not eta:
            torch.testing.assert_close(bridge.flow(u, reversed_drift, x0, grid), x_T, rtol=0, atol=0.03)
    with pytest.raises(ValueError, match="the decoder draws noise"):
        list(bridge.walk_back(u, s, x_T, grid, G, None))
