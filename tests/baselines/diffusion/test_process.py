"""Schedules, tables and samplers of discrete diffusion against the reference's own numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from torch import Tensor

from baselines.diffusion.process import Process, alpha_bar, betas, even_times, noise_loss, q_sample
from baselines.diffusion.samplers import DDIMSampler, DDPMSampler, DiffusionSampler, Inversion, invert, sample
from dbae import prior
from dbae.noise import PerImageNoise, ReplayNoise
from dbae.prior import LatentSampling
from dbae.samplers import SamplerConfig
from dbae.samplers.strides import stride_times
from dbae.support.errors import UserError

TABLES = np.load(GOLDEN / "diffae" / "schedules.npz")
ANALYTIC = np.load(GOLDEN / "diffae" / "sampler_analytic.npz")
SHAPE = (2, 3, 8, 8)


def exact(found: object, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=0)


class Gaussian:
    """The exact network of images that are N(0, 0.09) in every pixel; keeps the times it is asked for."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, x: Tensor, t: int) -> Tensor:
        self.calls.append(t)
        ab = np.float32(alpha_bar("linear")[t])
        return float(np.sqrt(1 - ab)) * x / float(np.float32(0.09) * ab + (1 - ab))


def stream(seed: int, draws: int, shape: tuple[int, ...] = SHAPE) -> ReplayNoise:
    rng = np.random.RandomState(seed)
    return ReplayNoise([rng.standard_normal(shape).astype(np.float32) for _ in range(draws)])


def process(kind: str, steps: int) -> Process:
    return Process("linear", tuple(stride_times(steps) if kind == "ddim" else even_times(steps)))


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_tables_of_the_whole_process():
    whole, names = Process("linear", tuple(range(1000))), "linear/full"
    exact(betas("linear"), TABLES["linear/named_betas"])
    exact(whole.betas, TABLES[f"{names}/betas"])
    exact(alpha_bar("linear"), TABLES[f"{names}/alphas_cumprod"])
    exact(np.sqrt(1 / whole.alpha_bar), TABLES[f"{names}/sqrt_recip_alphas_cumprod"])
    exact(np.sqrt(1 / whole.alpha_bar - 1), TABLES[f"{names}/sqrt_recipm1_alphas_cumprod"])
    exact(np.exp(whole.log_variance("fixed_small"))[1:], TABLES[f"{names}/posterior_variance"][1:])
    exact(whole.log_variance("fixed_small"), TABLES[f"{names}/posterior_log_variance_clipped"])
    for i, coefficient in enumerate(whole.posterior_mean):
        exact(coefficient, TABLES[f"{names}/posterior_mean_coef{i + 1}"])


def kept(schedule: str) -> list[str]:
    """Which processes of some of the times the golden file has: "ddim10", "ddpm50", ..."""
    return sorted({key.split("/")[1] for key in TABLES if key.startswith(f"{schedule}/dd")})


@pytest.mark.golden
@pytest.mark.parametrize("name", kept("linear"))
def test_tables_of_kept_times(name):
    found = process(name[:4], int(name[4:]))
    assert list(found.times) == TABLES[f"linear/{name}/timestep_map"].tolist()
    tables = {
        "alphas_cumprod": found.alpha_bar,
        "betas": found.betas,
        "fixed_large_log_variance": found.log_variance("fixed_large"),
        "fixed_small_log_variance": found.log_variance("fixed_small"),
        "posterior_mean_coef1": found.posterior_mean[0],
        "posterior_mean_coef2": found.posterior_mean[1],
    }
    there = [key for key in tables if f"linear/{name}/{key}" in TABLES]
    assert there
    for key in there:
        exact(tables[key], TABLES[f"linear/{name}/{key}"])


@pytest.mark.golden
@pytest.mark.parametrize("name", kept("const0.008"))
def test_process_of_latents(name):
    """That of `dbae.prior`, on the same grid."""
    times = LatentSampling(int(name[4:])).times[::-1]
    assert times == TABLES[f"const0.008/{name}/timestep_map"].tolist() == stride_times(int(name[4:]))
    exact([prior.alpha_bar(t) for t in times], TABLES[f"const0.008/{name}/alphas_cumprod"])


@pytest.mark.golden
def test_legal_numbers_of_steps():
    legal = TABLES["valid_ddim_N"].tolist()
    for steps in range(1002):
        if steps in legal:
            assert len(stride_times(steps)) == steps
        else:
            with pytest.raises(UserError):
                stride_times(steps)


@pytest.mark.parametrize(("steps", "near"), [(300, "250 and 334"), (1, ": 2"), (37, "36 and 38"), (5000, ": 1000")])
def test_illegal_number_of_steps_is_answered_with_the_nearest(steps, near):
    with pytest.raises(UserError, match=f"^{steps} steps: .*{near}"):
        stride_times(steps)


@pytest.mark.parametrize("steps", [-1, 0, 1, 1001])
def test_illegal_number_of_ancestral_steps(steps):
    with pytest.raises(UserError, match="expected 2 to 1000"):
        even_times(steps)


def test_whole_ancestral_process():
    assert even_times(1000) == list(range(1000))


def test_cosine_schedule():
    """Nichol and Dhariwal 2021, eq. 17: f(t) = cos^2((t / T + 0.008) / 1.008 pi / 2), betas clipped at 0.999."""

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    ab = alpha_bar("cosine")
    for t in (0, 1, 500, 998):
        assert ab[t] == pytest.approx(f(t + 1) / f(0), rel=1e-9)
    assert betas("cosine")[-1] == 0.999


# --- samplers on a network known in closed form -----------------------------------------------------------------------


def follows(sampler: DiffusionSampler, x: Tensor, name: str) -> Tensor:
    """Runs the sampler; every state, and every x_0 predicted in the golden states, must be the golden one."""
    found = sampler.run(x, keep_path=True)
    states = found.path[1:]
    if f"{name}/calls" in ANALYTIC:
        assert sampler.network.calls == ANALYTIC[f"{name}/calls"].tolist()
    if f"{name}/sample" in ANALYTIC:
        expected = torch.from_numpy(ANALYTIC[f"{name}/sample"])
        torch.testing.assert_close(torch.stack(states), expected, rtol=0, atol=1e-5)
        if f"{name}/x0" in ANALYTIC:
            before = [x, *expected[:-1]]
            x0 = [sampler.predict(state, i)[0] for state, i in zip(before, sampler.order(), strict=True)]
            torch.testing.assert_close(torch.stack(x0), torch.from_numpy(ANALYTIC[f"{name}/x0"]), rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(states[-1], torch.from_numpy(ANALYTIC[f"{name}/final"]), rtol=0, atol=1e-5)
    assert found.nfe == len(states) == sampler.n
    return found.raw


@pytest.mark.golden
@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100])
def test_ddim_and_its_inversion(steps):
    x_T, x_0 = seeded(201, *SHAPE), (seeded(202, *SHAPE) * 0.3).clamp(-1, 1)
    follows(DDIMSampler(Gaussian(), process("ddim", steps)), x_T, f"ddim{steps}")
    inferred = follows(Inversion(Gaussian(), process("ddim", steps)), x_0, f"reverse{steps}")
    back = DDIMSampler(Gaussian(), process("ddim", steps)).run(inferred)
    torch.testing.assert_close(back.raw, torch.from_numpy(ANALYTIC[f"recon{steps}"]), rtol=0, atol=1e-5)


@pytest.mark.golden
def test_ddim_with_noise():
    sampler = DDIMSampler(Gaussian(), process("ddim", 10), eta=1.0, noise=stream(905, 10))
    follows(sampler, seeded(201, *SHAPE), "ddim10_eta1_stream905")


@pytest.mark.golden
@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
@pytest.mark.parametrize("steps", [10, 50])
def test_ddpm(steps, variance):
    sampler = DDPMSampler(Gaussian(), process("ddpm", steps), variance=variance, noise=stream(906, steps))
    follows(sampler, seeded(201, *SHAPE), f"ddpm{steps}_{variance}_stream906")


def test_ddpm_asks_the_network_for_a_variance_if_it_has_one():
    """Channels of 1 mean the large variance, of -1 the small one, of 0 their geometric mean."""
    x, times = seeded(201, *SHAPE), process("ddpm", 10)
    draw = seeded(5, *SHAPE)

    def step(v: float | None, variance: str = "fixed_large") -> Tensor:
        network = Gaussian()
        with_v = network if v is None else lambda x, t: torch.cat([network(x, t), torch.full_like(x, v)], 1)
        return DDPMSampler(with_v, times, variance=variance, noise=ReplayNoise([draw])).step(x, 4)

    large, small = step(None), step(None, "fixed_small")
    torch.testing.assert_close(step(1.0), large)
    torch.testing.assert_close(step(-1.0), small)
    mean = step(0.0) - math.exp(0.25 * (np.log(times.betas[4]) + times.log_variance("fixed_small")[4])) * draw
    torch.testing.assert_close(mean, large - math.sqrt(times.betas[4]) * draw)
    assert (large - small).abs().max() > 0.01


def test_runs_that_stay_on_the_grid_are_each_others_inverse():
    """PDAE's: they end at the first and last time, and take one evaluation less than the grid has times."""
    x, errors = (seeded(202, *SHAPE) * 0.3).clamp(-1, 1), []
    for steps in (100, 400):
        times = Process("linear", tuple(int(t) for t in np.linspace(0, 999, steps + 1)))
        up = Inversion(Gaussian(), times, to_noise=False).run(x)
        down = DDIMSampler(Gaussian(), times, to_data=False).run(up.raw)
        assert up.nfe == down.nfe == steps
        errors.append((down.raw - x).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)  # of first order
    assert errors[1] < 0.03


# --- entry points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [SamplerConfig("ddim", 10), SamplerConfig("ddim", 10, eta=0.5), SamplerConfig("ddpm", 10)]
)
def test_an_image_is_the_same_in_any_batch(config):
    def images(indices: list[int]) -> Tensor:
        noise = PerImageNoise(7, indices)
        return sample(Gaussian(), noise.normal((len(indices), 3, 8, 8)), "linear", config, noise=noise).images

    together = images([4, 1, 9])
    torch.testing.assert_close(together[2:], images([9]))
    torch.testing.assert_close(together[1:2], images([1]))
    assert (together[0] - together[1]).abs().max() > 0.1


class MetaNoise:
    """Draws without numbers."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.empty(tuple(shape), device="meta")


@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize(
    "config", [SamplerConfig("ddim", 5), SamplerConfig("ddim", 5, eta=0.5), SamplerConfig("ddpm", 5)]
)
def test_no_step_reads_a_number_of_an_image(config, channels):
    """On the meta device there are none: reading one, or mixing it with the host's tensors, raises."""
    x = torch.empty(SHAPE, device="meta")

    def network(x: Tensor, t: int) -> Tensor:
        return torch.cat([x] * (channels // 3), 1)

    assert sample(network, x, "linear", config, noise=MetaNoise()).images.device.type == "meta"
    assert invert(network, x, "linear", 5)[0].device.type == "meta"


def test_options_reach_the_samplers():
    x = seeded(201, *SHAPE)
    for config, sampler in (
        (
            SamplerConfig("ddim", 10, eta=1.0),
            DDIMSampler(Gaussian(), process("ddim", 10), eta=1.0, noise=stream(1, 10)),
        ),
        (SamplerConfig("ddpm", 10), DDPMSampler(Gaussian(), process("ddpm", 10), noise=stream(1, 10))),
    ):
        found = sample(Gaussian(), x, "linear", config, noise=stream(1, 10))
        assert torch.equal(found.raw, sampler.run(x).raw)
        assert found.nfe == 10
    far = SamplerConfig("ddim", 10, clip_denoised=False)
    expected = DDIMSampler(Gaussian(), process("ddim", 10), clip=False).run(9 * x)
    assert torch.equal(sample(Gaussian(), 9 * x, "linear", far).raw, expected.raw)
    assert expected.raw.abs().max() > 1 >= expected.images.abs().max()


@pytest.mark.parametrize("variance", ["native", "large", "small"])
def test_variance_of_ancestral_steps(variance):
    """Two steps by hand: from t = 999 to 0 under the posterior, and then its mean."""
    x, n = seeded(201, *SHAPE), seeded(203, *SHAPE)
    found = sample(Gaussian(), x, "linear", SamplerConfig("ddpm", 2, variance=variance), noise=ReplayNoise([n]))
    ab = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    beta = 1 - ab[999] / ab[0]
    posterior = beta * (1 - ab[0]) / (1 - ab[999])

    def predicted(x: Tensor, t: int) -> Tensor:
        return (x / ab[t] ** 0.5 - (1 / ab[t] - 1) ** 0.5 * Gaussian()(x, t)).clamp(-1, 1)

    mean = beta * ab[0] ** 0.5 / (1 - ab[999]) * predicted(x, 999) + (1 - ab[0]) * (1 - beta) ** 0.5 / (1 - ab[999]) * x
    state = mean + (posterior if variance == "small" else beta) ** 0.5 * n
    # At t = 999 x is divided by 0.006 in float32.
    torch.testing.assert_close(found.raw, predicted(state, 0), rtol=0, atol=1e-4)


def test_a_network_with_a_variance_of_its_own_takes_no_other():
    def network(x: Tensor, t: int) -> Tensor:
        return torch.cat([Gaussian()(x, t), torch.zeros_like(x)], 1)

    x, noise = seeded(201, *SHAPE), stream(1, 10)
    assert sample(network, x, "linear", SamplerConfig("ddpm", 3), noise=noise).nfe == 3
    with pytest.raises(ValueError, match="predicts the variance of its steps: leave out `variance`"):
        sample(network, x, "linear", SamplerConfig("ddpm", 3, variance="small"), noise=stream(1, 10))


@pytest.mark.parametrize("config", [SamplerConfig("ddpm", 10), SamplerConfig("ddim", 10, eta=0.1)])
def test_noise_is_asked_for(config):
    with pytest.raises(ValueError, match="pass `noise`"):
        sample(Gaussian(), seeded(201, *SHAPE), "linear", config)


@pytest.mark.parametrize(
    ("config", "message"), [(SamplerConfig("dbim"), "a method of bridges"), (SamplerConfig("ddim", stop=0.3), "stop")]
)
def test_other_methods_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        sample(Gaussian(), seeded(201, *SHAPE), "linear", config)


def test_inversion_comes_back():
    x, errors = (seeded(202, *SHAPE) * 0.3).clamp(-1, 1), []
    for steps in (50, 250):
        x_T, nfe = invert(Gaussian(), x, "linear", steps)
        assert nfe == steps
        errors.append((sample(Gaussian(), x_T, "linear", SamplerConfig("ddim", steps)).raw - x).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(5, rel=0.3)  # of first order
    assert errors[1] < 0.05


# --- loss -------------------------------------------------------------------------------------------------------------


def test_loss_is_zero_for_the_noise_itself_and_one_for_silence():
    x0, eps, t = seeded(1, *SHAPE).clamp(-1, 1), seeded(2, *SHAPE), torch.tensor([3, 900])
    loss = noise_loss(lambda x, t: eps, "linear", x0, t, noise=ReplayNoise([eps]))
    assert loss.loss.tolist() == [0.0, 0.0]
    loss = noise_loss(lambda x, t: 0 * x, "linear", x0, t, noise=ReplayNoise([eps]))
    torch.testing.assert_close(loss.mse, eps.square().mean((1, 2, 3)))


def test_the_noise_of_an_image_is_what_turns_it_into_x_t():
    x0, eps, t = seeded(1, *SHAPE), seeded(2, *SHAPE), torch.tensor([0, 999])
    x_t = q_sample("linear", x0, t, eps)
    ab = alpha_bar("linear")[999]
    torch.testing.assert_close(x_t[1], math.sqrt(ab) * x0[1] + math.sqrt(1 - ab) * eps[1])
    assert (x_t[0] - x0[0]).abs().max() < 0.05
