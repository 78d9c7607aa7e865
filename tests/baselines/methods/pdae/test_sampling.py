"""PDAE's way from noise to images and back, against the reference's trajectories."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from numpy.typing import NDArray
from pdae_models import filled_pdae, small_config
from torch import Tensor

from baselines.diffusion.process import Process, alpha_bar
from baselines.diffusion.samplers import DDPMSampler
from baselines.methods.pdae.gap import posterior_gap
from baselines.methods.pdae.sampling import (
    Heads,
    ddim_noise,
    ddim_process,
    ddpm_noise,
    decode,
    decode_mixed,
    infer,
    shift_coefficients,
)
from dbae.noise import PerImageNoise, ReplayNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

TABLES = np.load(GOLDEN / "pdae/ddim_tables.npz")
ANALYTIC = {
    k: v if v.ndim < 2 else torch.from_numpy(v) for k, v in np.load(GOLDEN / "pdae/analytic_sampler.npz").items()
}
SMALL = np.load(GOLDEN / "pdae/small.npz")


class Analytic:
    """The closed-form decoder of the golden README, and the times it was asked for."""

    def __init__(self, ab: NDArray[np.float64] | None = None, *, z: Tensor | None = None) -> None:
        self.ab = alpha_bar("linear") if ab is None else ab
        self.z = torch.from_numpy(ANALYTIC["z"]) if z is None else z
        self.called: list[int] = []

    def __call__(self, x: Tensor, t: int, shift: bool) -> tuple[Tensor, Tensor | None]:
        self.called.append(t)
        a = float(np.float32(self.ab[t]))
        d = 0.25 * a + 1 - a
        eps = (1 - a) ** 0.5 * x / d
        return eps, a**0.5 * ANALYTIC["m"] * self.z.view(-1, 1, 1, 1) / d if shift else None


class Process20(Process):
    """The linear schedule of 20 times, which the reference's tests of the ancestral process use."""

    @functools.cached_property
    def betas(self) -> NDArray[np.float64]:
        return np.linspace(1e-4, 0.02, 20)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100, 200, 500, 1000])
def test_times_and_their_alpha_bar(steps):
    process = ddim_process(steps)
    assert list(process.times) == TABLES[f"ddim{steps}/timestep_map"].tolist()
    np.testing.assert_allclose(process.alpha_bar, TABLES[f"ddim{steps}/np2/alphas_cumprod"], rtol=2e-6)
    np.testing.assert_allclose(process.alpha_bar, TABLES[f"ddim{steps}/np1/alphas_cumprod"], rtol=2e-6)


@pytest.mark.golden
def test_shift_coefficients():
    process = Process("linear", tuple(range(1000)))
    np.testing.assert_allclose(
        shift_coefficients(process), np.load(GOLDEN / "pdae/schedule.npz")["linear/shift_coef"], rtol=1e-6
    )


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 10, 20, 100, 1000])
def test_decoding_follows_the_reference(steps):
    heads, atol = Analytic(), 2e-4 if steps == 1000 else 5e-5
    found = decode(heads, ANALYTIC["x_T"], SamplerConfig("ddim", nfe=steps), keep_path=True)
    assert heads.called == ANALYTIC[f"sample{steps}_called_t"].tolist()
    assert found.nfe == len(heads.called) == min(steps, 999)
    torch.testing.assert_close(found.raw, ANALYTIC[f"sample{steps}"], atol=atol, rtol=0)
    if steps <= 20:
        torch.testing.assert_close(torch.stack(found.path[1:]), ANALYTIC[f"sample{steps}_traj"], atol=atol, rtol=0)
    stopped = decode(Analytic(), ANALYTIC["x_T"], SamplerConfig("ddim", nfe=steps, stop=0.3))
    torch.testing.assert_close(stopped.raw, ANALYTIC[f"sample{steps}_stop0.3"], atol=atol, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 10, 20, 100, 1000])
def test_inversion_follows_the_reference(steps):
    heads = Analytic()
    found = infer(ddim_noise(heads), ANALYTIC["x_0"], steps)
    assert heads.called == ANALYTIC[f"encode{steps}_called_t"].tolist()
    assert found.nfe == len(heads.called)
    torch.testing.assert_close(found.raw, ANALYTIC[f"encode{steps}"], atol=2e-4 if steps == 1000 else 5e-5, rtol=0)


@pytest.mark.golden
def test_inversion_by_999_and_decoding_by_100():
    x_T = infer(ddim_noise(Analytic()), ANALYTIC["x_0"], 1000).raw
    found = decode(Analytic(), x_T, SamplerConfig("ddim", nfe=100))
    torch.testing.assert_close(found.raw, ANALYTIC["autoencode_1000_100"], atol=2e-4, rtol=0)


@pytest.mark.golden
def test_without_shift_it_is_the_frozen_model():
    found = decode(Analytic(), ANALYTIC["x_T"], SamplerConfig("ddim", nfe=10, stop=1.0))
    torch.testing.assert_close(found.raw, ANALYTIC["uncond10"], atol=5e-5, rtol=0)
    bare = ddim_noise(Analytic(), since=1000)
    x_T = infer(bare, ANALYTIC["x_0"], 10).raw
    torch.testing.assert_close(x_T, ANALYTIC["uncond_encode10"], atol=5e-5, rtol=0)


@pytest.mark.golden
def test_trajectory_interpolation():
    z = torch.from_numpy(ANALYTIC["z"])
    found = decode_mixed(Analytic(z=z), Analytic(z=z.flip(0)), 0.3, ANALYTIC["x_T"], SamplerConfig("ddim", nfe=10))
    torch.testing.assert_close(found.raw, ANALYTIC["trajinterp10_a0.3"], atol=5e-5, rtol=0)
    assert found.nfe == 20


@pytest.mark.golden
def test_the_ancestral_process():
    process = Process20("linear", tuple(range(20)))
    predict = ddpm_noise(Analytic(process.alpha_bar), process)
    noise = ReplayNoise(seeded(3000 + k, 2, 3, 8, 8) for k in range(20))
    found = DDPMSampler(predict, process, variance="fixed_small", clip=False, noise=noise).run(ANALYTIC["x_T"])
    torch.testing.assert_close(found.raw, ANALYTIC["ddpm20_sample"], atol=5e-5, rtol=0)


@pytest.mark.golden
def test_posterior_gap():
    process = Process20("linear", tuple(range(20)))
    uniform = [np.random.RandomState(2000 + k).uniform(size=(2, 3, 8, 8)) for k in range(20)]
    noise = ReplayNoise(torch.special.ndtri(torch.from_numpy(u)) for u in uniform)
    found = posterior_gap(Analytic(process.alpha_bar), ANALYTIC["x_0"], noise=noise, process=process, uniform=True)
    assert found.times == tuple(range(19, -1, -1))
    for gap, key in ((found.frozen, "pretrained"), (found.shifted, "pdae")):
        np.testing.assert_allclose(gap.mean(0), ANALYTIC[f"gap20_{key}"], rtol=1e-4, atol=1e-9)


def test_the_gap_of_every_time_shrinks_where_z_is_known():
    found = posterior_gap(Analytic(), ANALYTIC["m"], noise=PerImageNoise(0, range(2)))
    assert found.frozen.shape == (2, 1000)
    assert found.shifted[0].sum() < found.frozen[0].sum()


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 20])
def test_the_small_network_through_all_steps(steps):
    model, z = filled_pdae(small_config()), seeded(16, 1, 32)
    heads: Heads = model.heads(z)
    found = decode(heads, seeded(17, 1, 3, 16, 16), SamplerConfig("ddim", nfe=steps), keep_path=True)
    np.testing.assert_allclose(torch.stack(found.path[1:]), SMALL[f"A/sample{steps}_traj"], atol=2e-4)
    stopped = decode(heads, seeded(17, 1, 3, 16, 16), SamplerConfig("ddim", nfe=steps, stop=0.3))
    np.testing.assert_allclose(stopped.raw, SMALL[f"A/sample{steps}_stop0.3"], atol=2e-4)
    found = infer(ddim_noise(heads), seeded(18, 1, 3, 16, 16).clamp(-1, 1), steps, keep_path=True)
    np.testing.assert_allclose(torch.stack(found.path[1:]), SMALL[f"A/encode{steps}_traj"], atol=2e-4)


def test_an_image_comes_back_from_its_inferred_endpoint():
    errors = []
    for steps in (20, 200):
        x_T = infer(ddim_noise(Analytic()), ANALYTIC["x_0"], steps).raw
        back = decode(Analytic(), x_T, SamplerConfig("ddim", nfe=steps))
        errors.append(float((back.images - ANALYTIC["x_0"]).abs().mean()))
    assert errors[1] < 0.2 * errors[0] < 0.03


def test_fewer_ancestral_steps_visit_both_ends():
    heads = Analytic()
    noise = PerImageNoise(0, [4, 9])
    found = decode(heads, ANALYTIC["x_T"], SamplerConfig("ddpm", nfe=10, clip_denoised=False), noise=noise)
    assert (found.nfe, heads.called[0], heads.called[-1], len(heads.called)) == (10, 999, 0, 10)
    assert found.raw.isfinite().all()


def test_eta_adds_noise_and_needs_it():
    config = SamplerConfig("ddim", nfe=10, eta=1.0)
    with pytest.raises(ValueError, match="noise"):
        decode(Analytic(), ANALYTIC["x_T"], config)
    noisy = decode(Analytic(), ANALYTIC["x_T"], config, noise=PerImageNoise(0, range(2)))
    plain = decode(Analytic(), ANALYTIC["x_T"], SamplerConfig("ddim", nfe=10))
    assert (noisy.raw - plain.raw).abs().max() > 0.1


def test_a_single_step_is_the_least():
    assert decode(Analytic(), ANALYTIC["x_T"], SamplerConfig("ddim", nfe=1)).nfe == 1
    with pytest.raises(UserError, match="1 to 999"):
        infer(ddim_noise(Analytic()), ANALYTIC["x_0"], 0)


def test_methods_of_bridges_are_refused():
    with pytest.raises(ValueError, match="ddim and ddpm"):
        decode(Analytic(), ANALYTIC["x_T"], SamplerConfig("dbim2"))
