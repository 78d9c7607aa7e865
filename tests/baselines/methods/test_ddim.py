"""Plain diffusion models: files, parameters, and what benchmarks ask of them. Outputs: test_diffusion_models.py."""

from __future__ import annotations

import pytest
import torch
from diffusion_networks import SMALL_DDIM, published, small_ddim, tiny_ddim_config
from golden_fill import seeded
from torch import Tensor

from baselines.interface import InfersEndpoint, Prior, RepresentationModel
from baselines.methods import ddim
from baselines.methods.ddim import DDIM, DDIMConfig, NormalPrior
from dbae.checkpoints.shapes import unet_shape
from dbae.model import parameter_counts
from dbae.networks.trunk import UNetConfig
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig

PUBLISHED = {
    "ffhq128_ddim": (ddim.ffhq128(), 98_618_499),
    "celeba64_ddim_as_intended": (ddim.celeba64(), 67_841_539),
    "small_ddim": (SMALL_DDIM, 1_922_755),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_and_parameters(name):
    state = published(name)
    config, parameters = PUBLISHED[name]
    assert ddim.detect(state) == config
    model = ddim.METHOD.blank(config, name)
    ours = ddim.from_official(state)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert parameter_counts(model)["total"] == parameters


@pytest.mark.golden
def test_an_autoencoder_is_not_taken_for_one():
    assert ddim.detect(published("small_autoenc")) is None
    assert ddim.detect({}) is None


SHAPES = [
    UNetConfig(8, (1, 2), res_blocks=1, attention_sizes=(), groups=4, head_channels=8, embedding=32),
    UNetConfig(8, (1, 2, 3), res_blocks=3, attention_sizes=(32, 8), groups=4, head_channels=8, embedding=32),
    UNetConfig(8, (2,), res_blocks=2, attention_sizes=(32,), groups=4, head_channels=8, embedding=20),
]


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{len(c.channel_mult)} levels")
@pytest.mark.parametrize("learn_sigma", [False, True])
def test_shape_of_any_unet_is_read_off_its_keys(config, learn_sigma):
    model = ddim.METHOD.blank(DDIMConfig(32, config, learn_sigma=learn_sigma), "")
    state = {key.removeprefix("network."): value for key, value in model.state_dict().items()}
    shape = unet_shape(state)
    found = shape.config(32, head_channels=8)
    assert found == UNetConfig(**{**vars(config), "groups": 32, "head_channels": 8})
    assert (shape.in_channels, shape.out_channels) == (3, 6 if learn_sigma else 3)


def test_networks_that_do_not_show_their_heads_are_not_guessed():
    for config in (DDIMConfig(32, SHAPES[1]), DDIMConfig(32, SHAPES[2], learn_sigma=True), DDIMConfig(32, SHAPES[0])):
        state = {k.removeprefix("network."): v for k, v in ddim.METHOD.blank(config, "").state_dict().items()}
        assert ddim.detect(state) is None


# --- as a RepresentationModel -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> DDIM:
    return small_ddim()


def images(n: int = 3) -> Tensor:
    return seeded(7, n, 3, 16, 16).clamp(-1, 1)


def test_it_is_one(model):
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    assert (model.latent_dim, model.encode_nfe) == (3 * 16 * 16, 100)
    assert model.endpoints[0] == "decoded"


def test_code_is_the_inferred_noise():
    model = DDIM(tiny_ddim_config(), encode_steps=10)
    model.load_state_dict(small_ddim().state_dict())
    model.eval()
    z = model.encode(images(), noise=PerImageNoise(0, range(3)))
    x_T, nfe = model.infer_endpoint(images(), None, steps=10)
    assert nfe == model.encode_nfe == 10
    assert torch.equal(z, x_T.flatten(1))
    ten = SamplerConfig("ddim", 10)
    assert torch.equal(model.decode(z, sampler=ten).images, model.decode(z * 0, x_T=x_T, sampler=ten).images)
    images_back = model.decode(z, sampler=ten).images
    assert (images_back - images()).square().mean() < (images_back - images().flip(0)).square().mean() / 2


@pytest.mark.parametrize("learn_sigma", [False, True])
@pytest.mark.parametrize(
    "sampler", [SamplerConfig("ddim", 5), SamplerConfig("ddim", 5, eta=1.0), SamplerConfig("ddpm", 5)]
)
def test_a_code_decodes_alike_in_any_batch(sampler, learn_sigma):
    model = small_ddim(learn_sigma=learn_sigma)
    z = NormalPrior(model.latent_dim).sample(PerImageNoise(1, range(3)), 3).z
    together = model.decode(z, sampler=sampler, noise=PerImageNoise(2, range(3)))
    alone = model.decode(z[2:], sampler=sampler, noise=PerImageNoise(2, [2]))
    assert together.nfe == 5
    torch.testing.assert_close(together.images[2:], alone.images, rtol=0, atol=1e-4)


def test_predicted_variance_changes_ddpm_alone():
    plain, learned = small_ddim(), small_ddim(learn_sigma=True)
    state = plain.state_dict()
    head = {k: torch.cat([state[k], torch.ones_like(state[k])]) for k in ("network.out.2.weight", "network.out.2.bias")}
    learned.load_state_dict(state | head)
    z = seeded(1, 2, model_dim := plain.latent_dim)
    assert model_dim == learned.latent_dim
    for config, same in ((SamplerConfig("ddim", 5), True), (SamplerConfig("ddpm", 5), False)):
        found = [m.decode(z, sampler=config, noise=PerImageNoise(2, range(2))).images for m in (plain, learned)]
        assert torch.allclose(*found) == same


def test_prior_is_standard_normal():
    prior = NormalPrior(1000)
    assert isinstance(prior, Prior)
    drawn = prior.sample(PerImageNoise(0, range(4)), 4)
    assert drawn.nfe == 0
    assert drawn.z.shape == (4, 1000)
    assert abs(drawn.z.mean()) < 0.05
    assert abs(drawn.z.std() - 1) < 0.05


def test_loss_of_a_fresh_network_is_that_of_silence():
    fresh = DDIM.initialised(tiny_ddim_config(), 0, name="")
    loss = ddim.loss(fresh, images(), torch.Generator().manual_seed(0))
    assert loss.loss.shape == (3,)
    assert loss.mse.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("preset", ["faces32", "faces64"])
def test_small_presets_have_the_trunk_of_dbaes(preset):
    from dbae import model as dbae_models

    config: DDIMConfig = getattr(ddim, preset)()
    theirs = getattr(dbae_models, preset)()
    assert (config.image_size, config.unet) == (theirs.image_size, theirs.score)
