"""The samplers against the public programs' own paths."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from analytic_denoisers import net
from golden_fill import GOLDEN, filled_dbae, relative_l2, seeded
from torch import Tensor

from dbae.bridge import Bridge
from dbae.noise import ReplayNoise
from dbae.samplers import DDBM, DBMSolver, Denoiser, SamplerConfig, sample, time_grid

# --- the DBIM and DBMSolver programs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paths() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "dbim" / "samplers.npz"))


def mix(y: Tensor) -> Denoiser:
    """The posterior mean for x_0 | y = half N(0.8 y - 0.3, 0.1^2) + half N(0.8 y + 0.3, 0.1^2)."""
    bridge = Bridge()

    def predict(x: Tensor, t: float) -> Tensor:
        if t == bridge.T:
            return 0.8 * y
        a, b, c = bridge.coefficients(t)
        v = 0.01 * b**2 + c**2
        means = torch.stack([0.8 * y - 0.3, 0.8 * y + 0.3])
        residual = x - a * y - b * means
        weights = torch.softmax(-(residual**2) / (2 * v), 0)
        return (weights * (means + 0.01 * b / v * residual)).sum(0)

    return predict


def recorded_noise() -> ReplayNoise:
    draws = (np.random.RandomState(1000 + k).standard_normal((2, 3, 4, 4)) for k in itertools.count())
    return ReplayNoise(draw.astype(np.float32) for draw in draws)


GOLDEN_PATHS = [
    *(f"net.{s}.{n}" for s in ("dbim.eta0.0", "dbim.eta0.5", "dbim.eta1.0") for n in ("n4", "n9")),
    *(f"net.{s}.{n}" for s in ("dbim_ho.order2", "dbim_ho.order3") for n in ("n4", "n9")),
    *(f"mix.{s}.{n}" for s in ("dbim.eta0.0", "dbim.eta0.5", "dbim.eta1.0") for n in ("n4", "n9")),
    *(f"mix.{s}.{n}" for s in ("dbim_ho.order2", "dbim_ho.order3") for n in ("n4", "n9")),
    *(f"net_clip_y3.{s}.n9" for s in ("dbim.eta0.0", "dbim_ho.order2", "dbim_ho.order3")),
    *(f"{d}.dbms2.mid_{m}.{n}" for d in ("net", "mix") for m in ("lambda", "time") for n in ("n3", "n6")),
]


@pytest.mark.golden
@pytest.mark.parametrize("key", GOLDEN_PATHS)
def test_fast_samplers_reproduce_the_public_paths(paths, key):
    """2e-6 absolute in float64, whole paths where the file has them."""
    denoiser, family, *_ = key.split(".")
    n, clipped = int(key.rsplit(".n", 1)[1]), "clip" in denoiser
    y = torch.from_numpy(paths["y"]).double() * (3 if clipped else 1)
    predict = mix(y) if denoiser == "mix" else net(y)
    if family == "dbms2":
        config = SamplerConfig("dbms2", 2 * n, clip_denoised=clipped)
        midpoint = "time" if "mid_time" in key else "lambda"
        found = DBMSolver(predict, y, Bridge(), config, recorded_noise(), midpoint).run(keep_path=True)
    else:
        method = {"dbim": "dbim", "dbim_ho": f"dbim{key.split('.')[2][-1]}"}[family]
        eta = float(key.split("eta")[1][:3]) if family == "dbim" else 0.0
        config = SamplerConfig(method, n + 1, eta=eta, clip_denoised=clipped)
        found = sample(predict, y, Bridge(), config, noise=recorded_noise(), keep_path=True)
    assert found.nfe == config.nfe
    path = torch.stack(found.path).numpy()
    path = path if family == "dbms2" else path[1:]  # the DBIM file begins at the booted state
    expected = paths[key]
    np.testing.assert_allclose(path if expected.ndim == 5 else path[-1], expected, rtol=0, atol=2e-6)


def test_every_recorded_path_is_tested(paths):
    assert set(GOLDEN_PATHS) == set(paths) - {"y"}


@pytest.mark.golden
@pytest.mark.parametrize("mode", ["vp", "ve"])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 40, 100])
def test_karras_grid_reproduces_the_table(mode, n):
    expected = np.load(GOLDEN / "dbae" / "bridge_schedule.npz")[f"karras.{mode}.n{n}"]
    for arithmetic in ("reference", "float64"):
        bridge = Bridge(mode=mode, arithmetic=arithmetic)
        sampler = DDBM(net(torch.zeros(1)), torch.zeros(1, 3, 2, 2), bridge, SamplerConfig("ddbm_euler", n), None)
        np.testing.assert_allclose(sampler.t, expected, rtol=1e-5)


# --- the DDBM sampler as DBAE runs it, with a network -----------------------------------------------------------------

TRAJECTORIES = json.loads((GOLDEN / "dbae" / "sampler.json").read_text())
LONGEST = {tag for tag, facts in TRAJECTORIES.items() if facts["nfe"] > 11}


@pytest.fixture(scope="module")
def trajectories() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "dbae" / "sampler.npz"))


class ReferenceTimes(DDBM):
    """On the public program's float32 times, whatever the arithmetic: random weights amplify a last place of t."""

    def times(self) -> Tensor:
        grid = time_grid("karras", self.bridge.T - 1e-4, self.bridge.t_min, self.n, torch.float32)
        return torch.cat([grid, grid.new_zeros(1)]).double()


def recorded_stream(seed: int) -> ReplayNoise:
    """One RandomState for all draws: the encoder's, then one image-shaped draw a churn step."""
    stream = np.random.RandomState(seed)

    class Stream(ReplayNoise):
        def normal(self, shape) -> Tensor:
            return torch.from_numpy(stream.standard_normal(tuple(shape)).astype(np.float32))

    return Stream([])


@pytest.mark.golden
@pytest.mark.parametrize(
    ("tag", "arithmetic", "bound"),
    [
        *(pytest.param(tag, "reference", 5e-4, marks=[pytest.mark.slow] * (tag in LONGEST)) for tag in TRAJECTORIES),
        *((tag, "float64", 5e-3) for tag in TRAJECTORIES if tag not in LONGEST),
    ],
)
@torch.no_grad()
def test_ddbm_reproduces_the_trajectory(trajectories, tag, arithmetic, bound):
    """Every recorded pixel of every state: 5e-4 with the literal float32 drift, 5e-3 with the float64 schedule.

    The longest, which are others in more steps, are walked with the former alone.

    Near T the drift amplifies the last place of x_T, which depends on the machine's convolutions. So x_T is the
    recorded one at the recorded pixels (every 8th), and states are compared there.
    """
    facts, golden = (
        TRAJECTORIES[tag],
        {key.removeprefix(f"{tag}."): value for key, value in trajectories.items() if key.startswith(f"{tag}.")},
    )
    settings = facts["config"]
    model = filled_dbae(f"small64_L32_{'sto' if settings['sto'] else 'det'}")
    noise = recorded_stream(facts["noise_seed"])
    z = model.encode(seeded(301, 2, 3, 64, 64, image=True), noise=noise)
    x_T = 10 * model.endpoint(z)
    assert relative_l2(z, golden["z"]) < 1e-5
    assert relative_l2(x_T[:, :, ::8, ::8], golden["path_raw"][0]) < 1e-5
    x_T[:, :, ::8, ::8] = torch.from_numpy(golden["path_raw"][0])

    bridge = Bridge(mode=settings["mode"], end_data=settings["end_data"], arithmetic=arithmetic)
    config = SamplerConfig(
        f"ddbm_{facts['sampler']}",
        facts["nfe"],
        churn=facts["churn"],
        guidance=facts["guidance"],
        clip_denoised=facts["clip_denoised"],
        end_data=settings["end_data"],
    )
    sampler = ReferenceTimes(lambda x, t: bridge.denoise(model.score, x, t, x_T, z), x_T, bridge, config, noise)
    found = sampler.run(keep_path=True)

    assert (sampler.n, found.nfe, len(found.path)) == (facts["steps"], facts["nfe"], facts["path_len"])
    for state, pixels, length in zip(found.path, golden["path_raw"], golden["path_l2"], strict=True):
        assert relative_l2(state[:, :, ::8, ::8], pixels) < bound
        assert state.norm().item() == pytest.approx(length, rel=bound)
    assert torch.equal(found.raw, found.path[-1])
    assert relative_l2(found.images[:, :, ::8, ::8], golden["final"][:, :, ::2, ::2]) < bound
    assert relative_l2(found.raw[:, :, ::8, ::8], golden["final_raw"][:, :, ::2, ::2]) < bound
    assert found.images.std().item() == pytest.approx(facts["final"]["std"], rel=bound)
