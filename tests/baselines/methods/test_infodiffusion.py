"""InfoDiffusion: DiffAE and a kernel, and the plain model that ends its sampling."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from golden_fill import GOLDEN
from systems import equal_losses, fresh, gradients, losses_of_training, plain_images, stirred, tiny

from baselines.diffusion.process import alpha_bar
from baselines.interface import InfersEndpoint, LoadedModel, RepresentationModel
from baselines.methods import diffae, infodiffusion
from baselines.methods.ddim import DDIM, DDIMConfig
from baselines.methods.diffae import DiffAE
from baselines.methods.infodiffusion import METHOD, InfoDiffusion, InfoDiffusionConfig, InfoDiffusionOptions
from baselines.options import in_sizes
from baselines.regularisers import mmd
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
NOISE = X.flip(0)


def config(**options: object) -> InfoDiffusionConfig:
    return dataclasses.replace(in_sizes(InfoDiffusionConfig, tiny()), **options)  # type: ignore[arg-type]


def small(**options: object) -> InfoDiffusion:
    return stirred(fresh(InfoDiffusion, config(**options)))


def beside(plain: DDIM) -> InfoDiffusion:
    """One with two phases, fresh."""
    options = InfoDiffusionOptions(pretrained="plain.safetensors")
    built = options.built(METHOD, config(), 0, "two", lambda source: LoadedModel.of(plain))
    assert built.objective == {"pretrained": "small", "sha256": built.objective["sha256"]}
    return built.model


def plain_model(**options: bool) -> DDIM:
    return stirred(fresh(DDIM, DDIMConfig(8, tiny().unet, **options), 5))


@pytest.mark.golden
def test_schedule_is_the_released_one():
    golden = json.loads((GOLDEN / "systems" / "losses.json").read_text())["infodiffusion_schedule"]
    for t in (0, 499, 999):
        assert alpha_bar("infodiffusion")[t] == pytest.approx(golden[f"alpha_bar_{t}"], rel=1e-5)


def test_without_mmd_it_is_diffae_bit_for_bit():
    ours = fresh(InfoDiffusion, config(mmd=0.0))
    theirs = fresh(DiffAE, tiny())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    stirred(ours), stirred(theirs)
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert equal_losses(infodiffusion.loss(ours, X, generators[0]), diffae.loss(theirs, X, generators[1]))
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    a, b = gradients(ours, infodiffusion.loss, X), gradients(theirs, diffae.loss, X)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@torch.no_grad()
def test_mmd_is_added_to_every_image():
    model, theirs = small(mmd=0.5), stirred(fresh(DiffAE, tiny()))
    generator = torch.Generator().manual_seed(1)
    found = diffae.loss(theirs, X, generator)
    term = 0.5 * mmd(GeneratorNoise(generator).normal((4, 4)), model.encode(X))
    result = infodiffusion.loss(model, X, torch.Generator().manual_seed(1))
    assert term > 0.01
    torch.testing.assert_close(result.loss, found.loss + term)
    assert torch.equal(result.mse, found.mse)


def test_loss_falls_and_z_is_used():
    model = fresh(InfoDiffusion, config())
    losses = losses_of_training(model, infodiffusion.loss, steps=15)
    assert losses[-1] < losses[0] - 0.1
    z = model.encode(X)
    images = [model.decode(code, x_T=NOISE, sampler=SamplerConfig("ddim", nfe=3)).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_last_phase_is_the_plain_models():
    """With stop 1 all of it, with 0 none; between them the first steps know z and the last do not."""
    plain = plain_model()
    model = stirred(beside(plain))
    assert (model.config.plain, model.prior_stop) == (True, 0.5)
    z = model.encode(X)

    def images(stop: float, z: torch.Tensor) -> torch.Tensor:
        return model.decode(z, x_T=NOISE, sampler=SamplerConfig("ddim", nfe=10, stop=stop)).images

    expected = plain.decode(NOISE.flatten(1), sampler=SamplerConfig("ddim", nfe=10)).images
    assert torch.equal(images(1.0, z), expected)
    assert not torch.equal(images(0.5, z), images(0.5, z.flip(0)))
    half = model.decode(z, x_T=NOISE, sampler=SamplerConfig("ddim", nfe=10, stop=0.5))
    assert half.nfe == 10
    assert not torch.equal(half.images, images(0.0, z))
    assert not torch.equal(half.images, expected)


def test_plain_model_stays_as_it_is():
    plain = plain_model()
    model = beside(plain)
    losses_of_training(model, infodiffusion.loss, steps=1)
    assert not any(module.training for module in model.train().network_plain.modules())
    state = plain.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.network_plain.state_dict().items())
    assert {name.split(".")[0] for name in gradients(model, infodiffusion.loss, X)} == {"network", "encoder"}


def test_it_is_a_model_that_benchmarks_can_use():
    model = small(schedule="infodiffusion")
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    assert (model.latent_dim, model.schedule) == (4, "infodiffusion")
    assert model.posterior(X)[1] is None
    noise = PerImageNoise(0, range(4))
    assert model.decode(model.encode(X), noise=noise, sampler=SamplerConfig("ddpm", nfe=3)).nfe == 3
    with pytest.raises(ValueError, match="small has no plain model for the steps after `stop`"):
        model.decode(model.encode(X), x_T=X, sampler=SamplerConfig("ddim", nfe=10, stop=0.5))


def test_what_it_cannot_build_on_is_refused():
    with pytest.raises(UserError, match="--mmd: expected 0 or more, found -1"):
        config(mmd=-1.0)
    with pytest.raises(
        UserError, match=r"plain\.safetensors: expected a plain model of 8 px that predicts no variance"
    ):
        beside(plain_model(learn_sigma=True))
    with pytest.raises(UserError, match=r"expected a plain diffusion model \(ddim\) to build on, found InfoDiffusion"):
        InfoDiffusionOptions(pretrained="a").built(
            METHOD, config(), 0, "two", lambda source: LoadedModel.of(small(), method="InfoDiffusion")
        )
