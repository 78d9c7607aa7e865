"""The samplers where the truth is known: constant predictions, and a Gaussian with a closed-form probability flow."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dbae.bridge import Bridge
from dbae.noise import GeneratorNoise
from dbae.samplers import DBIM, DDBM, DBMSolver, Denoiser, MultistepDBIM, SamplerConfig, evaluations, sample
from dbae.samplers.config import BOOTED_METHODS, DDBM_METHODS

DETERMINISTIC = [(method, grid) for method in BOOTED_METHODS for grid in ("native", "karras", "uniform")]


def ignore_state(d: float) -> Denoiser:
    return lambda x, t: torch.full_like(x, d)


@pytest.mark.parametrize("mode", ["vp", "ve"])
@pytest.mark.parametrize(("method", "grid"), DETERMINISTIC)
@settings(max_examples=15, deadline=None)
@given(d=st.floats(-1, 1), n=st.integers(2, 12), seed=st.integers(0, 99), boot_noise=st.booleans())
def test_a_constant_denoiser_is_solved_exactly(method, grid, mode, d, n, seed, boot_noise):
    """x_t = a y + b d + (c_t / c_0) (x_0 - a_0 y - b_0 d), for any grid and order."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    bridge = Bridge(mode=mode)
    config = SamplerConfig(method, grid=grid, boot_noise=boot_noise)
    config = dataclasses.replace(config, nfe=evaluations(config, n))
    noise = GeneratorNoise(generator)
    path = sample(ignore_state(d), y, bridge, config, noise=noise, keep_path=True).path
    first = bridge.T - (1e-4 if method == "dbms2" else 1e-3)
    last, reached = (path[-2], bridge.t_min) if method == "dbms2" else (path[-1], bridge.t_min)
    a0, b0, c0 = bridge.coefficients(first)
    a, b, c = bridge.coefficients(reached)
    expected = a * y + b * d + c / c0 * (path[1] - a0 * y - b0 * d)
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-9)
    if not boot_noise:
        torch.testing.assert_close(path[1], a0 * y + b0 * d, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["vp", "ve"])
@pytest.mark.parametrize("arithmetic", ["float64", "reference"])
@pytest.mark.parametrize("grid", ["native", "uniform"])
@pytest.mark.parametrize("method", DDBM_METHODS)
@settings(max_examples=10, deadline=None)
@given(d=st.floats(-1, 1))
def test_ddbm_leaves_a_bridge_that_stands_still(method, grid, arithmetic, mode, d):
    """In VE, x_T = x_0 = d makes x_t = d the exact flow; in VP, x_0 = x_T = 0 does. Euler and Heun keep both."""
    d = d if mode == "ve" else 0.0
    y = torch.full((1, 3, 2, 2), d, dtype=torch.float64)
    bridge = Bridge(mode=mode, arithmetic=arithmetic)
    found = sample(ignore_state(d), y, bridge, SamplerConfig(method, 19, grid=grid))
    torch.testing.assert_close(found.images, y, rtol=0, atol=1e-12)


# --- a Gaussian with a known flow -------------------------------------------------------------------------------------

MEAN, STD = 0.6, 0.3  # x_0 | y ~ N(MEAN y, STD^2)


def gaussian(y: Tensor, bridge: Bridge) -> Denoiser:
    """The posterior mean of x_0."""

    def predict(x: Tensor, t: float) -> Tensor:
        a, b, c = bridge.coefficients(t)
        gain = b * STD**2 / (b**2 * STD**2 + c**2) if t < bridge.T else 0.0
        return MEAN * y + gain * (x - (a + b * MEAN) * y)

    return predict


def flow(x: Tensor, y: Tensor, bridge: Bridge, s: float, t: float) -> Tensor:
    """The probability flow from time s to t, which keeps quantiles."""
    (a_s, b_s, c_s), (a, b, c) = bridge.coefficients(s), bridge.coefficients(t)
    ratio = math.sqrt((b**2 * STD**2 + c**2) / (b_s**2 * STD**2 + c_s**2))
    return (a + b * MEAN) * y + ratio * (x - (a_s + b_s * MEAN) * y)


class Interior:
    """A run on the interior of the bridge, from t = 0.8 to 0.2, where nothing is stiff."""

    def start(self) -> Tensor:
        return self.x_T + 0.3

    def times(self) -> Tensor:
        return torch.linspace(0.8, 0.2, self.n + 1, dtype=torch.float64)


class InteriorDDBM(Interior, DDBM): ...


class InteriorDBIM(Interior, DBIM): ...


class InteriorMultistep(Interior, MultistepDBIM): ...


class InteriorSolver(Interior, DBMSolver):
    def times(self) -> Tensor:
        grid = torch.linspace(0.8, 0.2, self.n, dtype=torch.float64)
        middle = (grid[1:] + grid[:-1]) / 2
        return torch.cat([torch.stack([grid[:-1], middle], 1).flatten(), grid[-1:], grid.new_zeros(1)])


@pytest.mark.parametrize(
    ("kind", "method", "order"),
    [
        (InteriorDDBM, "ddbm_euler", 1),
        (InteriorDDBM, "ddbm_heun", 2),
        (InteriorDBIM, "dbim", 1),
        (InteriorMultistep, "dbim2", 2),
        (InteriorMultistep, "dbim3", 2),  # its first and last steps are of order 1
        (InteriorSolver, "dbms2", 2),
    ],
)
@pytest.mark.parametrize("mode", ["vp", "ve"])
def test_order_of_convergence(kind, method, order, mode):
    bridge = Bridge(mode=mode, sigma_max=1.0)
    y = torch.linspace(-1, 1, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    exact = flow(y + 0.3, y, bridge, 0.8, 0.2)
    errors = []
    for n in (32, 64, 128):
        config = SamplerConfig(method, evaluations(SamplerConfig(method), n), clip_denoised=False)
        path = kind(gaussian(y, bridge), y, bridge, config, None).run(keep_path=True).path
        errors.append((path[-2 if method == "dbms2" else -1] - exact).abs().max().item())
    slopes = -np.diff(np.log2(errors))
    assert (slopes > order - 0.12).all(), (errors, slopes)
    assert (slopes < order + 0.35).all(), (errors, slopes)


@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig("ddbm_heun", 998, churn=0.33),
        SamplerConfig("ddbm_euler", 2000, churn=0.33),
        SamplerConfig("dbim", 400, eta=1.0),
        SamplerConfig("dbim", 200, eta=0.5),
        SamplerConfig("dbim2", 30, grid="karras"),
        SamplerConfig("dbms2", 30),
    ],
    ids=lambda c: f"{c.method}-{c.churn or c.eta}",
)
def test_stochastic_runs_draw_from_the_data_distribution(config):
    """20,000 draws of x_0 | y: mean within 0.01, standard deviation within 3 %."""
    y = torch.full((20_000, 1, 1, 1), 0.5, dtype=torch.float64)
    bridge = Bridge()
    noise = GeneratorNoise(torch.Generator().manual_seed(0))
    config = dataclasses.replace(config, clip_denoised=False)
    x = sample(gaussian(y, bridge), y, bridge, config, noise=noise).raw
    assert x.mean().item() == pytest.approx(MEAN * 0.5, abs=0.01)
    assert x.std().item() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize(
    "config", [SamplerConfig("ddbm_euler", 100), SamplerConfig("dbim", 10, boot_noise=False), SamplerConfig("one_step")]
)
def test_runs_without_noise_approach_the_posterior_mean(config):
    y = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    x = sample(gaussian(y, Bridge()), y, Bridge(), config).raw
    assert x.item() == pytest.approx(MEAN * 0.5, abs=0.02)
