"""What a run of a sampler promises: evaluations, noise, dtype, the first evaluation, the path."""

from __future__ import annotations

import sys

import pytest
import torch
from analytic_denoisers import net
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dbae.bridge import Bridge
from dbae.noise import PerImageNoise
from dbae.samplers import Denoiser, OneStep, SamplerConfig, evaluations, sample, steps_for, time_grid
from dbae.samplers.config import BOOTED_METHODS, BRIDGE_METHODS, DDBM_METHODS


def ignore_state(d: float) -> Denoiser:
    return lambda x, t: torch.full_like(x, d)


# --- evaluations ------------------------------------------------------------------------------------------------------

configs = st.builds(
    lambda method, nfe, churn, grid: SamplerConfig(
        method,
        nfe,
        churn=churn if method in DDBM_METHODS else 0.0,
        grid=grid if method != "one_step" else "native",
    ),
    st.sampled_from(BRIDGE_METHODS),
    st.integers(3, 40),
    st.sampled_from([0.0, 0.33]),
    st.sampled_from(["native", "karras", "uniform"]),
)


@settings(max_examples=60, deadline=None)
@given(config=configs)
def test_counted_evaluations_are_the_largest_that_fit_the_budget(config):
    calls = []

    def predict(x: Tensor, t: float) -> Tensor:
        calls.append(t)
        return 0.5 * x

    y = torch.zeros(1, 3, 2, 2)
    noise = PerImageNoise(0, [0])
    found = sample(predict, y, Bridge(), config, noise=noise)
    n = steps_for(config)
    assert found.nfe == len(calls) == evaluations(config, n) <= config.nfe
    assert all(isinstance(t, float) for t in calls)
    assert calls[0] == pytest.approx(1.0, abs=2e-4)
    if config.method != "one_step":
        assert evaluations(config, n + 1) > config.nfe


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig("ddbm_euler", 4, churn=0.2),
        SamplerConfig("dbim", 4),
        SamplerConfig("dbms2", 4),
        SamplerConfig("dbim", 4, eta=0.5, boot_noise=False),
    ],
)
def test_missing_noise_is_refused(config):
    with pytest.raises(ValueError, match="pass `noise`"):
        sample(ignore_state(0.0), torch.zeros(1, 3, 2, 2), Bridge(), config)


class CountingNoise:
    def __init__(self) -> None:
        self.draws = 0

    def normal(self, shape) -> Tensor:
        self.draws += 1
        return torch.zeros(tuple(shape))


@pytest.mark.parametrize(
    ("config", "draws"),
    [
        (SamplerConfig("ddbm_euler", 10), 0),
        (SamplerConfig("ddbm_heun", 20, churn=0.33), 7),
        (SamplerConfig("dbim", 10), 10),
        (SamplerConfig("dbim", 10, eta=1.0), 10),
        (SamplerConfig("dbim3", 10), 1),
        (SamplerConfig("dbms2", 10), 1),
        (SamplerConfig("dbms2", 10, boot_noise=False), 0),
    ],
)
def test_number_of_draws(config, draws):
    noise = CountingNoise()
    sample(ignore_state(0.0), torch.zeros(1, 3, 2, 2), Bridge(), config, noise=noise)
    assert noise.draws == draws


@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig("ddbm_heun", 14, churn=0.33),
        SamplerConfig("dbim", 6, eta=0.5),
        SamplerConfig("dbim3", 6),
        SamplerConfig("dbms2", 6),
    ],
    ids=lambda c: c.method,
)
def test_results_do_not_depend_on_the_batch(config):
    y = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def run(indices: list[int]) -> Tensor:
        part = y[indices]
        return sample(net(part), part, Bridge(), config, noise=PerImageNoise(3, indices)).images

    whole = run([0, 1, 2, 3, 4])
    parts = torch.cat([run([0]), run([1, 2]), run([4, 3]).flip(0)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=2e-6)


# --- arithmetic and state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["vp", "ve"])
@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig("ddbm_euler", 20),
        SamplerConfig("ddbm_heun", 39),
        SamplerConfig("ddbm_heun", 41, churn=0.33),
        *(SamplerConfig(m, 20) for m in BOOTED_METHODS),
        SamplerConfig("one_step"),
    ],
    ids=lambda c: c.method,
)
def test_float32_images_are_within_1e_5_of_float64(config, mode):
    y = 0.5 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    bridge = Bridge(mode=mode, sigma_max=1.0)

    def run(dtype: torch.dtype) -> Tensor:
        part = y.to(dtype)
        noise = PerImageNoise(0, [0, 1])
        found = sample(net(part, bridge), part, bridge, config, noise=noise)
        assert found.images.dtype == dtype
        return found.images.double()

    torch.testing.assert_close(run(torch.float32), run(torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("end_data", [0.5, 0.0])
@pytest.mark.parametrize("method", BOOTED_METHODS)
def test_booting_stays_off_T_when_the_preconditioning_is_singular_there(method, end_data):
    asked = []
    bridge, y = Bridge(end_data=end_data), torch.full((1, 3, 2, 2), 0.3)

    def predict(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return bridge.denoise(lambda x, *_: x.tanh(), x, t, y, torch.zeros(1, 1))

    config = SamplerConfig(method, 6, end_data=end_data, boot_noise=False)
    assert sample(predict, y, bridge, config).images.isfinite().all()
    assert asked[0] == (1.0 if end_data else 1 - 1e-4)


def test_bridge_and_config_must_agree_on_end_data():
    with pytest.raises(ValueError, match="end_data"):
        sample(net(torch.zeros(1)), torch.zeros(1, 3, 2, 2), Bridge(), SamplerConfig("one_step", end_data=0.0))


def test_one_step_is_the_prediction_near_T():
    y = torch.full((2, 3, 2, 2), 0.4)
    found = sample(net(y), y, Bridge(), SamplerConfig("one_step"))
    assert torch.equal(found.raw, net(y)(y, 1 - 1e-4))
    assert found.nfe == 1


def test_predictions_are_clamped_only_on_request():
    y = torch.full((1, 3, 2, 2), 0.4)
    clamped = sample(ignore_state(3.0), y, Bridge(), SamplerConfig("one_step"))
    free = sample(ignore_state(3.0), y, Bridge(), SamplerConfig("one_step", clip_denoised=False))
    assert clamped.raw.max() == 1
    assert free.raw.min() == 3
    assert free.images.max() == 1


@pytest.mark.parametrize(
    ("config", "states"),
    [
        (SamplerConfig("ddbm_euler", 5), 6),
        (SamplerConfig("ddbm_euler", 10, churn=0.33), 11),
        (SamplerConfig("dbim2", 6), 7),
        (SamplerConfig("dbms2", 6), 5),
        (SamplerConfig("one_step"), 2),
    ],
    ids=lambda c: c.method if isinstance(c, SamplerConfig) else "",
)
def test_path_runs_from_the_endpoint_to_the_raw_result(config, states):
    y = torch.full((1, 3, 2, 2), 0.4)
    found = sample(net(y), y, Bridge(), config, noise=PerImageNoise(0, [0]), keep_path=True)
    assert len(found.path) == states
    assert found.path[0] is y
    assert found.path[-1] is found.raw
    assert sample(net(y), y, Bridge(), config, noise=PerImageNoise(0, [0])).path is None


def test_guidance_weighs_the_transform_and_1_is_the_bridge():
    y = torch.full((1, 3, 2, 2), 0.4)
    plain = sample(net(y), y, Bridge(), SamplerConfig("ddbm_euler", 5)).raw
    half = sample(net(y), y, Bridge(), SamplerConfig("ddbm_euler", 5, guidance=0.5)).raw
    assert (plain - half).abs().min() > 1e-2


@pytest.mark.parametrize("mode", ["vp", "ve"])
@pytest.mark.parametrize("method", DDBM_METHODS)
@pytest.mark.parametrize("churn", [0.0, 0.33])
def test_both_arithmetics_agree_to_the_precision_of_the_reference(method, mode, churn):
    y = 0.5 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    config = SamplerConfig(method, 30, churn=churn)
    runs = [
        sample(net(y, bridge), y, bridge, config, noise=PerImageNoise(0, [0, 1])).raw
        for bridge in (Bridge(mode=mode, arithmetic=a) for a in ("float64", "reference"))
    ]
    assert (runs[0] - runs[1]).norm() / runs[0].norm() < 5e-3


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 50),
    start=st.floats(0.5, 80),
    stop=st.floats(1e-4, 0.4),
    kind=st.sampled_from(["karras", "uniform"]),
)
def test_grids_decrease_between_their_ends(n, start, stop, kind):
    grid = time_grid(kind, start, stop, n)
    assume(n > 1)
    assert (grid.diff() < 0).all()
    assert (grid[0].item(), grid[-1].item()) == pytest.approx((start, stop), rel=1e-12)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("method", ["ddbm_euler", "ddbm_heun", "dbms2", "dbim", "dbim2"])
def test_the_exponent_of_the_grid(method, rho):
    """The times at which the network is asked, by Karras et al., Eq. 5."""
    y, seen = torch.zeros(1, 3, 2, 2), []

    def network(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(t)
        return x * 0

    budget = {"ddbm_heun": 7, "dbms2": 6, "ddbm_euler": 4}.get(method, 5)
    sample(network, y, Bridge(), SamplerConfig(method, budget, grid="karras", rho=rho, **_deterministic(method)))
    first, n = (1 - 1e-3, 5) if method.startswith("dbim") else (1 - 1e-4, 3 if method == "dbms2" else 4)
    grid = [(first ** (1 / rho) + i / (n - 1) * (1e-4 ** (1 / rho) - first ** (1 / rho))) ** rho for i in range(n)]
    for t in grid[:-1]:
        assert min(abs(t - s) for s in seen) < 1e-9


def _deterministic(method: str) -> dict[str, bool]:
    return {} if method.startswith("ddbm") else {"boot_noise": False}


def test_a_progress_bar_is_shown_on_request(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    y = torch.zeros(1, 3, 2, 2)
    sample(net(y), y, Bridge(), SamplerConfig("ddbm_euler", 3), progress=True)
    assert "ddbm_euler" in capsys.readouterr().err
    sample(net(y), y, Bridge(), SamplerConfig("ddbm_euler", 3))
    assert capsys.readouterr().err == ""


def test_one_step_sampler_has_a_single_interval():
    assert OneStep(net(torch.zeros(1)), torch.zeros(1, 3, 2, 2), Bridge(), SamplerConfig("one_step"), None).n == 1
