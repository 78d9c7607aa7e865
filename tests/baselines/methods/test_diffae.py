"""DiffAE: its files, its parameters, and what benchmarks ask of it. Its outputs: test_diffusion_models.py."""

from __future__ import annotations

import json

import pytest
import torch
from diffusion_networks import SMALL_DIFFAE, filled_diffae, published, small_diffae, tiny_diffae_config
from golden_fill import GOLDEN, fill, seeded
from torch import Tensor

from baselines.interface import InfersEndpoint, Prior, RepresentationModel
from baselines.methods import diffae
from baselines.methods.diffae import DiffAE, DiffAEConfig
from dbae.model import parameter_counts
from dbae.networks.latent_mlp import LatentMLP, LatentMLPConfig, config_of
from dbae.noise import PerImageNoise
from dbae.prior import LatentSampling
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

PUBLISHED = {
    "celeba64d2c_autoenc": (diffae.celeba64(), 71_518_723, 19_320_512),
    "ffhq128_autoenc": (diffae.ffhq128(), 103_871_619, 24_673_536),
    "ffhq256_autoenc": (diffae.ffhq256(), 138_341_891, 30_150_400),
    "small_autoenc": (SMALL_DIFFAE, None, None),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_and_parameters(name):
    """Every key has one place in our model, nothing is left over, and the parts have the papers' sizes."""
    state = published(name)
    config, unet, encoder = PUBLISHED[name]
    assert diffae.detect(state) == config
    model = diffae.METHOD.blank(config, name)
    ours = diffae.from_official(state)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in model.state_dict().items()}
    counts = parameter_counts(model)
    total = sum(v.numel() for v in state.values())
    assert counts["total"] == total
    if unet:
        assert counts == {"network": unet, "encoder": encoder, "total": unet + encoder}
        manifest = json.loads((GOLDEN / "diffae" / f"manifest_{name}.json").read_text())
        assert total == manifest["num_parameters"]


def test_the_papers_129_million():
    """DBAE's Table 8 rounds: 129 M = 105 M + 24 M."""
    counts = parameter_counts(diffae.METHOD.blank(diffae.ffhq128(), ""))
    assert round(counts["total"] / 1e6) == 129


@pytest.mark.parametrize(
    "missing",
    [
        "time_embed.time_embed.0.weight",
        "encoder.out.3.weight",
        "output_blocks.0.0.cond_emb_layers.1.weight",
        "out.2.weight",
    ],
)
def test_other_networks_are_not_taken_for_it(missing):
    state = published("small_autoenc")
    assert diffae.detect({k: v for k, v in state.items() if k != missing}) is None
    assert diffae.detect({}) is None
    assert diffae.detect(published("small_ddim")) is None


def test_shapes_that_fit_nothing_are_not_taken_for_it():
    state = published("small_autoenc")
    for key, shape in (("time_embed.time_embed.0.weight", (3,)), ("output_blocks.0.0.out_layers.3.weight", ())):
        assert diffae.detect(state | {key: torch.empty(shape, device="meta")}) is None


def latent_state(layers: int) -> dict[str, Tensor]:
    name = {10: "ffhq128", 20: "horse128"}[layers]
    manifest = json.loads((GOLDEN / "diffae" / f"manifest_{name}_autoenc_latent.json").read_text())
    return {k.removeprefix("latent_net."): torch.empty(s, device="meta") for k, s in manifest["latent_keys"]}


@pytest.mark.golden
@pytest.mark.parametrize(("layers", "parameters"), [(10, 54_109_696), (20, 117_106_176)])
def test_published_latent_networks_are_ours(layers, parameters):
    """The aliases of tied tensors aside."""
    state = {k: v for k, v in latent_state(layers).items() if ".cond_layers." not in k}
    with torch.device("meta"):
        network = LatentMLP(config_of(state))
    assert {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert sum(v.numel() for v in state.values()) == parameters


def small_latent() -> dict[str, Tensor]:
    """As a file holds it, tied tensors under both names."""
    state = fill(dict(LatentMLP(LatentMLPConfig(latent_dim=4, hidden=8, layers=3)).state_dict()))
    return state | {k.replace("linear_emb", "cond_layers.1"): v for k, v in state.items() if "linear_emb" in k}


def test_latent_network_becomes_a_prior():
    mean, std = seeded(1, 1, 4), 1 + seeded(2, 1, 4).abs()
    prior = diffae.build_prior(small_latent(), mean[0], std[0], "last.ckpt", name="prior")
    assert isinstance(prior, Prior)
    assert (prior.latent_dim, prior.sampling) == (4, LatentSampling(steps=1000, spacing="stride", clip=False))
    prior.sampling = LatentSampling(steps=10)
    drawn = prior.sample(PerImageNoise(0, range(3)), 3)
    assert drawn.nfe == 10
    w = prior.sample(PerImageNoise(0, range(3)), 3).z
    torch.testing.assert_close(w, drawn.z)
    moved = diffae.build_prior(small_latent(), mean[0] + 1, std[0], "last.ckpt", name="prior")
    moved.sampling = LatentSampling(steps=10)
    torch.testing.assert_close(moved.sample(PerImageNoise(0, range(3)), 3).z, drawn.z + 1)


def test_latent_network_that_does_not_fit_is_refused():
    state = small_latent()
    short = {k: v for k, v in state.items() if k != "layers.1.norm.bias"}
    with pytest.raises(UserError, match=r"last\.ckpt: .*missing network\.layers\.1\.norm\.bias"):
        diffae.build_prior(short, torch.zeros(4), torch.ones(4), "last.ckpt", name="")
    with pytest.raises(UserError, match=r"mean has shape \(3,\), expected \(4,\)"):
        diffae.build_prior(state, torch.zeros(3), torch.ones(3), "last.ckpt", name="")


# --- as a RepresentationModel -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> DiffAE:
    return small_diffae()


def images(n: int = 3) -> Tensor:
    return seeded(7, n, 3, 16, 16).clamp(-1, 1)


def test_it_is_one(model):
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    mean, sigma = model.posterior(images())
    assert sigma is None
    assert torch.equal(model.encode(images(), noise=PerImageNoise(0, range(3))), mean)
    assert (model.image_size, model.latent_dim, model.encode_nfe) == (16, 4, 0)


@pytest.mark.parametrize("method", ["ddim", "ddpm"])
def test_an_image_decodes_alike_in_any_batch(model, method):
    assert method in model.samplers
    sampler = SamplerConfig(method, 5)

    def decoded(rows: list[int]) -> Tensor:
        z = model.encode(images()[rows])
        found = model.decode(z, sampler=sampler, noise=PerImageNoise(3, rows, stream="sample"))
        assert found.nfe == 5
        return found.images

    together = decoded([0, 1, 2])
    torch.testing.assert_close(together[[2]], decoded([2]), rtol=0, atol=1e-4)
    torch.testing.assert_close(together[[0]], decoded([0]), rtol=0, atol=1e-4)


def test_default_is_ddim_with_100_steps_from_random_noise(model):
    z = model.encode(images(1))
    found = model.decode(z, noise=PerImageNoise(0, [0]))
    assert (found.nfe, model.endpoints[0], model.samplers[0]) == (100, "random", "ddim")
    x_T = PerImageNoise(0, [0]).normal((1, 3, 16, 16))
    assert torch.equal(found.images, model.decode(z, x_T=x_T, sampler=SamplerConfig("ddim")).images)


def test_z_and_inferred_endpoint_matter(model):
    x, ten = images(), SamplerConfig("ddim", 10)
    z = model.encode(x)
    x_T, nfe = model.infer_endpoint(x, z, steps=10)
    assert nfe == 10
    near = (model.decode(z, x_T=x_T, sampler=ten).images - x).square().mean()
    far = (model.decode(z, sampler=ten, noise=PerImageNoise(0, range(3))).images - x).square().mean()
    assert near < far / 2
    other = model.decode(z.flip(0), x_T=x_T, sampler=ten).images
    assert (other - model.decode(z, x_T=x_T, sampler=ten).images).abs().max() > 1e-3


def test_what_is_missing_is_asked_for(model):
    z = model.encode(images(1))
    with pytest.raises(ValueError, match="pass `x_T` or `noise`"):
        model.decode(z)
    with pytest.raises(UserError, match="nearest numbers that one gives: 250 and 334"):
        model.infer_endpoint(images(1), z, steps=300)
    with pytest.raises(ValueError, match="a method of bridges"):
        model.decode(z, sampler=SamplerConfig("ddbm_euler"), noise=PerImageNoise(0, [0]))


def test_fresh_weights_are_a_function_of_the_seed():
    before = torch.random.get_rng_state()
    a, b, c = (DiffAE.initialised(tiny_diffae_config(), seed, name="") for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.encoder.out[3].weight, b.encoder.out[3].weight)
    assert not torch.equal(a.encoder.out[3].weight, c.encoder.out[3].weight)


def test_gradient_reaches_the_encoder_at_the_third_step():
    """The last convolutions start at zero: step 1 moves the U-Net's head, step 2 its blocks."""
    model = DiffAE.initialised(tiny_diffae_config(), 0, name="")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    reached = []
    for step in range(3):
        optimizer.zero_grad()
        diffae.loss(model, images(), torch.Generator().manual_seed(step)).loss.mean().backward()
        reached.append(float(model.encoder.out[3].weight.grad.norm()))
        optimizer.step()
    assert reached[:2] == [0.0, 0.0]
    assert reached[2] > 0


def test_loss_is_a_function_of_the_generator(model):
    a, b, c = (diffae.loss(model, images(), torch.Generator().manual_seed(s)).loss for s in (0, 0, 1))
    assert a.shape == (3,)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(("preset", "like"), [("faces32", 32), ("faces64", 64)])
def test_small_presets_have_the_trunk_of_dbaes(preset, like):
    from dbae import model as dbae_models

    config: DiffAEConfig = getattr(diffae, preset)()
    theirs = getattr(dbae_models, preset)()
    assert (config.image_size, config.latent_dim) == (like, theirs.latent_dim)
    assert (config.unet, config.encoder) == (theirs.score, theirs.encoder)


@pytest.mark.golden
def test_our_names_of_keys_are_reversible():
    ours = list(diffae.from_official(published("small_autoenc")))
    assert len(set(ours)) == len(ours) == len(filled_diffae("small_autoenc").state_dict())
