"""The latent prior against the goldens of DBAE's, DiffAE's and PDAE's, and as a distribution."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, relative_l2, seeded
from latent_networks import filled_prior, small_prior
from torch import Tensor

from dbae.checkpoints import own as checkpoint
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.noise import PerImageNoise, ReplayNoise
from dbae.prior import METHOD, LatentSampling, LossKind, alpha_bar, load
from dbae.support.errors import UserError

DBAE = np.load(GOLDEN / "dbae" / "latent_prior.npz")
DIFFAE = np.load(GOLDEN / "diffae" / "latent_net.npz")
PDAE = np.load(GOLDEN / "pdae" / "small.npz")
PAPER = LatentMLPConfig(32)


@pytest.mark.golden
def test_schedule() -> None:
    ts = [0, 1, 2, 5, 10, 50, 100, 250, 500, 750, 900, 998, 999]
    np.testing.assert_allclose([alpha_bar(t) for t in ts], DBAE["sched1000.alphas_cumprod"], rtol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [10, 20, 50, 100])
def test_strides(steps: int) -> None:
    transitions = LatentSampling(steps).transitions[::-1]
    assert [t for t, _, _ in transitions] == DBAE[f"ddim{steps}.timestep_map"].tolist()
    np.testing.assert_allclose([ab for _, ab, _ in transitions], DBAE[f"ddim{steps}.alphas_cumprod"], rtol=1e-12)
    previous = DBAE[f"ddim{steps}.alphas_cumprod_prev"]
    np.testing.assert_allclose([ab for _, _, ab in transitions], previous, rtol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("steps", [10, 20])
def test_draws_of_the_prior_of_the_paper(steps: int) -> None:
    prior = filled_prior(PAPER, LatentSampling(steps), hashed="cond_layers.1")
    drawn = prior.sample(ReplayNoise([seeded(404, 4, 32)]), 4)
    assert drawn.nfe == steps
    assert relative_l2(drawn.z, DBAE[f"ddim{steps}.sample"]) < 1e-4


@pytest.mark.golden
@pytest.mark.parametrize(("kind", "key"), [("l1", "loss.l1"), ("l2", "loss.mse")])
def test_loss_of_the_prior_of_the_paper(kind: LossKind, key: str) -> None:
    prior = filled_prior(PAPER, LatentSampling(), hashed="cond_layers.1")
    w, eps, t = seeded(402, 4, 32), seeded(403, 4, 32), torch.tensor([3, 100, 400, 990])
    assert relative_l2(prior.noisy(w, t, eps), DBAE["x_t"]) < 1e-6
    result = prior.loss(w, t, eps, kind)
    assert relative_l2(result.loss, DBAE[key]) < 1e-4
    assert relative_l2(result.mse, DBAE["loss.mse"]) < 1e-4


@pytest.mark.golden
@pytest.mark.parametrize(("name", "steps"), [("mlp_small", 5), ("mlp_small", 10), ("mlp_small", 20), ("mlp10", 10)])
def test_draws_of_diffae(name: str, steps: int) -> None:
    config = LatentMLPConfig(16, 48, 4) if name == "mlp_small" else LatentMLPConfig()
    prior = filled_prior(config, LatentSampling(steps), hashed="linear_emb")
    noise = seeded(302, 2, config.latent_dim)
    w = prior.sample(ReplayNoise([noise]), 2).z
    final = DIFFAE[f"{name}/ddim{steps}_noclip/final"]
    assert (w - torch.from_numpy(final)).abs().max() < 1e-4 * np.abs(final).max()
    prior.mean.copy_(0.1 * seeded(303, config.latent_dim))
    prior.std.copy_(0.5 + 0.1 * seeded(304, config.latent_dim).abs())
    z, expected = prior.sample(ReplayNoise([noise]), 2).z, DIFFAE[f"{name}/ddim{steps}_noclip/denorm"]
    assert (z - torch.from_numpy(expected)).abs().max() < 1e-4 * np.abs(expected).max()


@pytest.mark.golden
@pytest.mark.parametrize(("clip", "key"), [(True, "latent/z_loop"), (False, "latent/z_noclamp")])
def test_draws_of_pdae(clip: bool, key: str) -> None:
    config = LatentMLPConfig(32, 64, 4, time_dim=16)
    prior = filled_prior(config, LatentSampling(10, "linspace", clip=clip), hashed="cond_layers.1")
    noise = torch.from_numpy(PDAE["latent/zT"]).clamp(-1, 1)  # in both, so that "noclamp" concerns w_0 alone
    w = prior.sample(ReplayNoise([noise]), 2).z
    largest = 1.0 if clip else float(np.abs(PDAE[key]).max())  # 393: the network is random
    torch.testing.assert_close(w, torch.from_numpy(PDAE[key]), rtol=0, atol=2e-4 * largest)


def test_draws_depend_on_their_index_alone() -> None:
    prior = small_prior()
    eight = prior.sample(PerImageNoise(5, range(8)), 8).z
    torch.testing.assert_close(prior.sample(PerImageNoise(5, [6, 2]), 2).z, eight[[6, 2]])
    assert (prior.sample(PerImageNoise(6, range(8)), 8).z - eight).abs().min() > 0


def test_network_that_knows_the_answer_gives_the_gaussian_back() -> None:
    """For w ~ N(0, s^2) the noise is known in closed form: E(w_t, t) = sqrt(1 - ab) w_t / (ab s^2 + 1 - ab)."""
    prior, s = small_prior(), 0.5

    class Exact(torch.nn.Module):
        def forward(self, w_t: Tensor, t: Tensor) -> Tensor:
            ab = alpha_bar(int(t[0]))
            return (1 - ab) ** 0.5 * w_t / (ab * s**2 + 1 - ab)

    prior.network, prior.sampling = Exact(), LatentSampling(1000)  # type: ignore[assignment]
    prior.mean.fill_(3.0)
    prior.std.fill_(2.0)
    noise = torch.linspace(-2, 2, 8)[:, None].expand(8, 4)
    z = prior.sample(ReplayNoise([noise]), 8).z
    # The last step ends at the mean of w_0 given w_t at t = 0, whose deviation is 1.6 % short of s.
    torch.testing.assert_close((z - 3.0) / 2.0, s * noise, rtol=0.03, atol=0)


@pytest.mark.parametrize("clip", [False, True, "noise", "predictions"])
def test_the_first_noise_and_the_predictions_are_clamped_apart(clip: bool | str) -> None:
    """One step by hand, from t = 0 to w_0."""
    prior = small_prior()
    prior.sampling = LatentSampling(2, clip=clip)  # type: ignore[arg-type]
    w = 3 * seeded(7, 4, prior.latent_dim)
    with torch.no_grad():
        found = (prior.sample(ReplayNoise([w]), 4).z - prior.mean) / prior.std
        if clip in (True, "noise"):
            w = w.clamp(-1, 1)
        for t, after in ((500, 0), (0, None)):
            ab, ab_after = 0.992 ** (t + 1), 1.0 if after is None else 0.992 ** (after + 1)
            e = prior.network(w, torch.full((4,), t))
            w_0 = (w - (1 - ab) ** 0.5 * e) / ab**0.5
            if clip in (True, "predictions"):
                w_0 = w_0.clamp(-1, 1)
            e = (w - ab**0.5 * w_0) / (1 - ab) ** 0.5
            w = ab_after**0.5 * w_0 + (1 - ab_after) ** 0.5 * e
    torch.testing.assert_close(found, w, rtol=1e-4, atol=1e-4)


def test_the_key_of_images_that_are_kept_is_what_it_was() -> None:
    assert str(LatentSampling(10, clip=True)) == "LatentSampling(steps=10, spacing='stride', clip=True)"


def test_clipped_draws_stay_near_the_cube() -> None:
    prior = small_prior()
    prior.sampling = LatentSampling(10, clip=True)
    assert prior.sample(PerImageNoise(0, range(50)), 50).z.abs().max() <= 1
    prior.sampling = LatentSampling(10)
    assert prior.sample(PerImageNoise(0, range(50)), 50).z.abs().max() > 1


def test_steps_that_no_stride_gives() -> None:
    with pytest.raises(UserError, match=r"gives 600 steps\. .* 500 and 1000"):
        LatentSampling(600)


def test_legal_steps_are_diffaes() -> None:
    legal = [*range(2, 37), 38, 39, 40, 42, 44, 46, 48, 50, 53, 56, 59, 63, 67, 72, 77, 84, 91, 100, 112, 125, 143]
    legal += [167, 200, 250, 334, 500, 1000]
    for steps in range(1, 1002):
        if steps in legal:
            assert len(LatentSampling(steps).times) == steps
        else:
            with pytest.raises(UserError, match="no stride"):
                LatentSampling(steps)
    for steps in (0, 1000):
        with pytest.raises(UserError, match="expected 1 to 999"):
            LatentSampling(steps, "linspace")


def test_network_weights_and_statistics_survive_a_file(tmp_path: Path) -> None:
    prior = small_prior()
    prior.std.fill_(2.0)
    card = checkpoint.Card(
        METHOD, "p", dataclasses.asdict(prior.config), {"autoencoder_sha256": "ab", "autoencoder": "x"}
    )
    checkpoint.save(tmp_path / "p.safetensors", card, ema=prior.state_dict())
    found, _ = load(tmp_path / "p.safetensors", autoencoder_sha256="ab")
    assert found.state_dict().keys() == prior.state_dict().keys()
    assert all(torch.equal(found.state_dict()[key], value) for key, value in prior.state_dict().items())
    with pytest.raises(UserError, match=r"prior of another autoencoder \(x, checkpoint ab\)"):
        load(tmp_path / "p.safetensors", autoencoder_sha256="cd")
