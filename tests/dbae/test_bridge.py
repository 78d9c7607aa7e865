"""The bridge against the public programs' tables, against high-precision arithmetic and its own definitions."""

from __future__ import annotations

import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dbae.bridge import Bridge
from dbae.samplers.drift import probability_flow, reverse_sde

GOLDEN = Path(__file__).parents[1] / "golden"
ULPS = 2.0**-22  # two units in the last place of a float32 near 1
times = st.floats(1e-4, 1 - 1e-9)


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "dbae" / "bridge_schedule.npz"))


@pytest.fixture(scope="module")
def dbim_table() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "dbim" / "schedule.npz"))


def tabulate(mode: str, end_data: float, arithmetic: str, t: np.ndarray) -> dict[str, np.ndarray]:
    """Everything the public program's table holds, under its names."""
    bridge = Bridge(mode=mode[:2], end_data=end_data, preconditioned=not mode.endswith("simple"), arithmetic=arithmetic)
    time = torch.from_numpy(t)
    a, b, c = bridge.coefficients(time)
    c_skip, c_out, c_in, c_noise = bridge.scalings(time)
    end = f"end{end_data}"
    values = {"bridge_coef_xT": a, "bridge_coef_x0": b, "bridge_std": c, "c_noise": c_noise}
    values |= {f"{end}.c_skip": c_skip, f"{end}.c_out": c_out, f"{end}.c_in": c_in}
    values |= {f"{end}.weight": bridge.weight(time)}
    if mode.startswith("vp"):
        values |= {"logsnr": bridge.log_snr(time), "log_alpha": bridge.log_alpha(time)}
    return {name: value.numpy() for name, value in values.items()}


def remaining(mode: str, t: np.ndarray) -> np.ndarray:
    """1 - SNR_T / SNR_t; its inverse is the factor by which the public program amplifies rounding near T."""
    _, left = Bridge(mode=mode[:2]).snr_ratio(torch.from_numpy(t).double())
    return left.numpy()


@pytest.mark.golden
@pytest.mark.parametrize("end_data", [0.5, 0.0])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("mode", ["vp", "ve", "vp_simple", "ve_simple"])
def test_reference_arithmetic_reproduces_the_table(table, mode, dtype, end_data):
    """1e-5 relative; where 1 - u cancels, the last place of an `exp` (which differs between CPUs) is amplified."""
    t = table[f"{mode}.{dtype}.t"]
    tolerance = 1e-5 + (ULPS / np.maximum(remaining(mode, t), ULPS) if dtype == "f32" else 0)
    for name, found in tabulate(mode, end_data, "reference", t).items():
        expected = table[f"{mode}.{dtype}.{name}"]
        assert found.dtype == expected.dtype
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=name)
        loose = name in ("bridge_coef_x0", "bridge_std") or name.endswith(("c_skip", "c_in"))
        found, expected, bound = found[finite], expected[finite], np.broadcast_to(tolerance if loose else 1e-5, t.shape)
        assert (np.abs(found - expected) <= bound[finite] * np.abs(expected)).all(), name


@pytest.mark.golden
@pytest.mark.parametrize("end_data", [0.5, 0.0])
@pytest.mark.parametrize("mode", ["vp", "ve", "vp_simple", "ve_simple"])
def test_closed_form_reproduces_the_table(table, mode, end_data):
    """5e-4 relative in float64. T itself is left to the boundary test: there the public program's float32 T shows."""
    t = table[f"{mode}.f64.t"]
    inside = t < Bridge(mode=mode[:2]).T
    assert inside.sum() >= len(t) - 1
    for name, found in tabulate(mode, end_data, "float64", t).items():
        np.testing.assert_allclose(found[inside], table[f"{mode}.f64.{name}"][inside], rtol=5e-4, err_msg=name)


@pytest.mark.golden
@pytest.mark.parametrize("arithmetic", ["reference", "float64"])
@pytest.mark.parametrize("guidance", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["ode", "sde"])
@pytest.mark.parametrize("mode", ["vp", "ve"])
def test_drift_reproduces_the_table(table, mode, kind, guidance, arithmetic):
    """The linear coefficients of x, D and x_T; those that cancel analytically are measured by the cancelling terms."""
    bridge, make = Bridge(mode=mode, arithmetic=arithmetic), probability_flow if kind == "ode" else reverse_sde
    t = table[f"{mode}.drift.t"]
    drifts = [make(bridge, float(v), guidance) for v in t]
    np.testing.assert_allclose([d.g_squared for d in drifts], table[f"{mode}.drift.g2"], rtol=1e-5)

    exact = Bridge(mode=mode)
    doob_term = np.array([d.g_squared / d.q for d in (make(exact, float(v)) for v in t)])
    tolerance = 1e-5 + ULPS / remaining(mode, t)
    if arithmetic == "float64" and mode == "vp":  # the public program also loses 1 / rho^2 where exp(.) - 1 cancels
        tolerance = tolerance + ULPS / exact.rho_squared(torch.from_numpy(t).double()).numpy()
    one, zero = torch.ones(1), torch.zeros(1)
    for name, basis in {"x": (one, zero, zero), "denoised": (zero, one, zero), "xT": (zero, zero, one)}.items():
        expected = table[f"{mode}.drift.w{guidance}.{kind}.{name}"].astype(float)
        found = np.array([d(*basis).item() for d in drifts])
        slack = 0.0 if name == "denoised" else 1e-6 * doob_term
        assert (np.abs(found - expected) <= tolerance * np.abs(expected) + slack).all(), name


@pytest.mark.golden
def test_closed_form_reproduces_the_dbim_schedule(dbim_table):
    """1e-12 relative, plus what rounding costs the public program in `exp(.) - 1` at small t and in 1 - u near T."""
    t = torch.from_numpy(dbim_table["t"])
    bridge = Bridge()
    a, b, c = bridge.coefficients(t)
    rho = bridge.rho_squared(t).sqrt()
    inside = dbim_table["t"] < bridge.T
    tolerance = (
        1e-12 + 2.0**-52 * (1 / rho.numpy() ** 2 + 1 / np.maximum(remaining("vp", dbim_table["t"]), 1e-9))[inside]
    )
    found = {"a": a, "b": b, "c": c, "rho": rho, "alpha": bridge.log_alpha(t).exp()}
    found |= {"lam": (b / c).log(), "c_noise": bridge.scalings(t)[3]}
    for end_data in ("0.5", "0.0"):
        end_bridge = Bridge(end_data=float(end_data))
        c_skip, c_out, c_in, _ = end_bridge.scalings(t)
        found |= {f"exact_c_skip_end{end_data}": c_skip, f"exact_c_out_end{end_data}": c_out}
        found |= {f"exact_c_in_end{end_data}": c_in, f"exact_weight_end{end_data}": end_bridge.weight(t)}
    for name, value in found.items():
        expected = dbim_table[name][inside]
        assert (np.abs(value.numpy()[inside] - expected) <= tolerance * np.abs(expected)).all(), name


@pytest.mark.golden
def test_closed_form_is_close_to_the_public_preconditioning_in_float64(dbim_table):
    """1e-6 relative, 1e-3 near T, where the public program's float32 log SNR at T shows."""
    t = dbim_table["t"]
    near = t >= 0.99
    for end_data in ("0.5", "0.0"):
        bridge = Bridge(end_data=float(end_data))
        c_skip, c_out, c_in, _ = bridge.scalings(torch.from_numpy(t))
        weight = bridge.weight(torch.from_numpy(t))
        for name, value in {"c_skip": c_skip, "c_out": c_out, "c_in": c_in, "weight": weight}.items():
            expected = dbim_table[f"dbae_{name}_end{end_data}"]
            np.testing.assert_allclose(value.numpy()[~near], expected[~near], rtol=1e-6)
            np.testing.assert_allclose(value.numpy()[near & (t < 1)], expected[near & (t < 1)], rtol=1e-3)


@given(t=times)
def test_closed_form_is_exact_to_float64(t):
    """Against 50 decimal digits, down to t_min and up to T - 1e-9."""
    with mpmath.workdps(50):
        x = mpmath.mpf(t)
        exponent, exponent_T = x**2 + mpmath.mpf(0.1) * x, 1 + mpmath.mpf(0.1)
        alpha, alpha_T = mpmath.exp(-exponent / 2), mpmath.exp(-exponent_T / 2)
        u = mpmath.expm1(exponent) / mpmath.expm1(exponent_T)
        c = alpha * mpmath.sqrt(mpmath.expm1(exponent) * (1 - u))
        expected = [float(v) for v in (u * alpha / alpha_T, alpha * (1 - u), c)]
    assert Bridge().coefficients(t) == pytest.approx(expected, rel=5e-15)


@pytest.mark.parametrize("mode", ["vp", "ve"])
def test_boundaries(mode):
    bridge = Bridge(mode=mode)
    assert bridge.coefficients(bridge.T) == (1.0, 0.0, 0.0)
    assert bridge.coefficients(0.0) == pytest.approx((0.0, 1.0, 0.0), abs=1e-15)
    c_skip, c_out, c_in, c_noise = bridge.scalings(bridge.T)
    assert (c_skip, c_out, c_in) == (0.0, 0.5, 2.0)
    assert c_noise == pytest.approx(250 * math.log(bridge.T))
    x0, x_T = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    at_T = bridge.sample(x0, x_T, torch.tensor([bridge.T]), torch.full_like(x0, 1e3))
    assert torch.equal(at_T, x_T)


@pytest.mark.parametrize("mode", ["vp", "ve"])
@given(fraction=st.floats(1e-3, 0.999))
def test_marginal_is_the_base_process_conditioned_on_both_ends(mode, fraction):
    """Bayes: q(x_t | x_0, x_T) is proportional to p(x_t | x_0) p(x_T | x_t), all Gaussian."""
    bridge = Bridge(mode=mode)
    t = torch.tensor([fraction * bridge.T, bridge.T], dtype=torch.float64)
    (alpha, alpha_T), (rho2, rho2_T) = bridge.log_alpha(t).exp().tolist(), bridge.rho_squared(t).tolist()
    k, variance, variance_T = alpha_T / alpha, alpha**2 * rho2, alpha_T**2 * (rho2_T - rho2)
    precision = 1 / variance + k**2 / variance_T
    expected = (k / variance_T / precision, alpha / variance / precision, precision**-0.5)
    assert bridge.coefficients(fraction * bridge.T) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["vp", "ve"])
@given(fraction=st.floats(1e-4, 1), end_data=st.floats(0.05, 2), cov=st.floats(-0.02, 0.02))
def test_weight_is_the_inverse_square_of_c_out(mode, fraction, end_data, cov):
    bridge = Bridge(mode=mode, end_data=end_data, cov_xy=cov)
    t = torch.tensor([fraction * bridge.T], dtype=torch.float64)
    assert bridge.weight(t).item() == pytest.approx(bridge.scalings(t)[1].item() ** -2, rel=1e-12)


@given(fraction=st.floats(1e-3, 0.999), end_data=st.floats(0.1, 2), cov=st.floats(-0.04, 0.04))
def test_preconditioning_gives_unit_variances(fraction, end_data, cov):
    """c_in x_t and the network's target (x_0 - c_skip x_t) / c_out have variance 1; c_skip makes c_out smallest."""
    bridge = Bridge(end_data=end_data, cov_xy=cov)
    a, b, c = bridge.coefficients(fraction)
    c_skip, c_out, c_in, _ = bridge.scalings(fraction)
    moments = np.array([[0.25, cov, 0], [cov, end_data**2, 0], [0, 0, 1]])  # of x_0, x_T, eps
    x_t, x0 = np.array([b, a, c]), np.array([1.0, 0, 0])
    target = (x0 - c_skip * x_t) / c_out
    assert c_in**2 * x_t @ moments @ x_t == pytest.approx(1, rel=1e-9)
    assert target @ moments @ target == pytest.approx(1, rel=1e-9)
    assert target @ moments @ x_t == pytest.approx(0, abs=1e-9)


@given(fraction=times)
def test_host_and_tensor_values_agree(fraction):
    bridge, t = Bridge(), torch.tensor([fraction], dtype=torch.float64)
    assert bridge.coefficients(fraction) == pytest.approx([v.item() for v in bridge.coefficients(t)], rel=1e-15)
    assert bridge.scalings(fraction) == pytest.approx([v.item() for v in bridge.scalings(t)], rel=1e-15)
    assert bridge.coefficients(t.float())[2].dtype == torch.float32


@given(rho=st.floats(1e-3, 1.4))
def test_time_at_inverts_rho(rho):
    for bridge in (Bridge(), Bridge(mode="ve")):
        t = torch.tensor(bridge.time_at(rho), dtype=torch.float64)
        assert bridge.rho_squared(t).sqrt().item() == pytest.approx(rho, rel=1e-12)


def test_end_data_zero_is_singular_at_T_and_finite_before():
    bridge = Bridge(end_data=0.0)
    assert not math.isfinite(bridge.scalings(1.0)[2])
    assert bridge.scalings(1 - 1e-4)[2] == pytest.approx(69.0, abs=0.1)
    assert Bridge().scalings(1 - 1e-4)[2] == pytest.approx(2.0, abs=1e-3)


def test_times_are_uniform_and_repeatable():
    bridge = Bridge()
    draws = [bridge.sample_times(20_000, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)
    t = draws[0]
    assert t.dtype == torch.float32
    assert t.min() >= bridge.t_min
    assert t.max() <= bridge.T
    assert torch.quantile(t, torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.015)


def test_sample_has_the_stated_moments_and_gradient():
    bridge, t = Bridge(), torch.tensor([0.3, 0.7])
    generator = torch.Generator().manual_seed(0)
    x0, x_T, eps = torch.randn(3, 2, 3, 64, 64, generator=generator)
    x_T.requires_grad_()
    a, b, c = bridge.coefficients(t)
    x_t = bridge.sample(x0, x_T, t, eps)
    residual = (x_t - a[:, None, None, None] * x_T - b[:, None, None, None] * x0).detach()
    assert residual.std(dim=(1, 2, 3)).tolist() == pytest.approx(c.tolist(), rel=0.03)
    (gradient,) = torch.autograd.grad(x_t.sum(), x_T)
    assert torch.equal(gradient, a[:, None, None, None].expand_as(x_T))


def test_denoise_is_the_documented_formula():
    bridge = Bridge()
    generator = torch.Generator().manual_seed(0)
    x_t, x_T = torch.randn(2, 2, 3, 4, 4, generator=generator)
    z = torch.randn(2, 5, generator=generator)
    calls = []

    def network(x, c_noise, endpoint, latent):
        calls.append((x, c_noise, endpoint, latent))
        return x.sin() + endpoint

    c_skip, c_out, c_in, c_noise = bridge.scalings(0.4)
    found = bridge.denoise(network, x_t, 0.4, x_T, z)
    torch.testing.assert_close(found, c_out * ((c_in * x_t).sin() + x_T) + c_skip * x_t)
    x, noise_level, endpoint, latent = calls[0]
    torch.testing.assert_close(x, c_in * x_t)
    assert noise_level.tolist() == pytest.approx([c_noise] * 2, rel=1e-6)
    assert noise_level.dtype == torch.float32
    assert endpoint is x_T
    assert latent is z
    torch.testing.assert_close(bridge.denoise(network, x_t, torch.tensor([0.4, 0.4]), x_T, z), found)


def test_without_preconditioning_the_network_is_the_denoiser():
    bridge = Bridge(preconditioned=False)
    x = torch.ones(1, 3, 2, 2)
    assert torch.equal(bridge.denoise(lambda x, *_: 2 * x, x, 0.5, x, torch.zeros(1, 1)), 2 * x)
    assert bridge.weight(torch.tensor([0.1, 0.9])).tolist() == [1.0, 1.0]
