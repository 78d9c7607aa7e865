"""SAMI and ScoreVAE: guidance by the encoder's gradient, its equalities, and a collapse that is said."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from systems import equal_losses, fresh, gradients, losses_of_training, plain_images, stirred, tiny
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from baselines.diffusion.process import alpha_bar
from baselines.interface import InfersEndpoint, LoadedModel, RepresentationModel
from baselines.methods import ddim, sami
from baselines.methods.ddim import DDIM, DDIMConfig
from baselines.methods.sami import METHOD, SAMI, SAMIConfig, SAMIOptions, method
from baselines.methods.sami.model import _noise_of
from baselines.options import in_sizes
from dbae.interface import EncodesTimes, GuidesByAxes
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
NOISE = X.flip(0)
THREE = SamplerConfig("ddim", nfe=3)


def config(**options: object) -> SAMIConfig:
    return dataclasses.replace(in_sizes(SAMIConfig, tiny()), **options)  # type: ignore[arg-type]


def small(**options: object) -> SAMI:
    return stirred(fresh(SAMI, config(**options)))


def around(plain: DDIM, **options: object) -> SAMI:
    """A fresh one whose network is that of a plain model."""
    given = SAMIOptions(pretrained="plain.safetensors")
    built = given.built(METHOD, config(**options), 3, "frozen", lambda source: LoadedModel.of(plain))
    assert built.objective["pretrained"] == "small"
    return built.model


def plain_model(**options: bool) -> DDIM:
    return fresh(DDIM, DDIMConfig(8, tiny().unet, **options))


def test_without_guidance_and_kl_it_is_ddpm_bit_for_bit():
    ours, theirs = small(guidance=0.0, kl=0.0), stirred(plain_model())
    ours.network.load_state_dict(theirs.network.state_dict())
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert equal_losses(sami.loss(ours, X, generators[0]), ddim.loss(theirs, X, generators[1]))
    a, b = gradients(ours, sami.loss, X), gradients(theirs, ddim.loss, X)
    assert all(torch.equal(a[name], b[name]) for name in b)
    ours.eval(), theirs.eval()
    for sampler in (THREE, SamplerConfig("ddpm", nfe=3)):
        noises = PerImageNoise(0, range(4)), PerImageNoise(0, range(4))
        images = ours.decode(ours.encode(X), x_T=NOISE, sampler=sampler, noise=noises[0]).images
        assert torch.equal(images, theirs.decode(NOISE.flatten(1), sampler=sampler, noise=noises[1]).images)


@pytest.mark.parametrize("timed", [False, True], ids=["sami", "scorevae"])
def test_guide_is_the_gradient_of_the_log_density(timed):
    """Against differences of torch's density in the direction of a random image."""
    model = small(time_conditioned=timed)
    z, t = model.encode(NOISE).detach(), torch.tensor([0, 10, 400, 999])
    direction = torch.randn(X.shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def log_q(x: torch.Tensor) -> torch.Tensor:
        mean, sigma = model.posterior_at(x, t)
        return Normal(mean.double(), sigma.double()).log_prob(z).sum(1)

    h = 3e-3
    expected = (log_q(X + h * direction) - log_q(X - h * direction)) / (2 * h)
    found = (model.guide(X, t, z) * direction).flatten(1).sum(1)
    assert found.abs().min() > 1e-3
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_guided_noise_is_bayes_rule():
    model = small(guidance=2.0)
    t, z = torch.tensor([0, 10, 400, 999]), model.encode(NOISE)
    s = torch.tensor(1 - alpha_bar("linear"), dtype=torch.float32)[t].sqrt().view(-1, 1, 1, 1)
    expected = model.network(X, t) - 2 * s * model.guide(X, t, z)
    torch.testing.assert_close(model.guided(X, t, z), expected)


def test_loss_reaches_the_encoder_through_the_guide():
    """Its gradient is that of differences of the loss, the second derivative of the density included."""
    model = small(kl=0.0)
    weight = model.encoder.out[3].weight

    def value() -> torch.Tensor:
        return sami.loss(model, X, torch.Generator().manual_seed(2)).loss.mean()

    (gradient,) = torch.autograd.grad(value(), weight)
    direction = gradient / gradient.norm()
    assert gradient.norm() > 1e-3
    h = 3e-3
    with torch.no_grad():
        weight += h * direction
        above = value()
        weight -= 2 * h * direction
        below = value()
    assert float((above - below) / (2 * h)) == pytest.approx(float(gradient.norm()), rel=0.03)


@torch.no_grad()
def test_kl_is_added_with_a_weight_that_rises():
    model = small(kl=0.1, kl_start=0.001, anneal_images=100)
    mean, sigma = model.posterior(X)
    kl = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1)

    def added() -> torch.Tensor:
        found = sami.loss(model, X, torch.Generator().manual_seed(2))
        return found.loss - found.mse

    for seen, weight in ((0, 0.001), (50, 0.01), (100, 0.1), (1000, 0.1)):
        model.images_seen.fill_(seen)
        torch.testing.assert_close(added(), weight * kl, rtol=1e-3, atol=1e-5)
    free = small(kl=0.1, anneal_images=1, free_bits=100.0)
    free.images_seen.fill_(1)
    found = sami.loss(free, X, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found.loss - found.mse, torch.full((4,), 0.1 * 100 * 4))


@pytest.mark.parametrize("options", [{}, {"time_conditioned": True, "times": "late"}], ids=["sami", "scorevae"])
def test_loss_falls_and_z_is_used(options):
    model = fresh(SAMI, config(**options))
    losses = losses_of_training(model, sami.loss, steps=15)
    assert losses[-1] < losses[0] - 0.1
    z = model.encode(X)
    images = [model.decode(code, x_T=NOISE, sampler=THREE).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().amax((1, 2, 3)).min() > 1e-4


def test_frozen_network_stays_as_it_is_and_guidance_helps_it():
    """The error under the guide falls below that of the frozen network alone."""
    plain = plain_model()
    losses_of_training(plain, ddim.loss, steps=15)
    before = {key: value.clone() for key, value in plain.network.state_dict().items()}
    model = around(plain, kl=1e-6)
    errors = losses_of_training(model, sami.loss, steps=30, attribute="mse")
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert not any(module.training for module in model.train().network.modules())
    assert {name.split(".")[0] for name in gradients(model, sami.loss, X)} == {"encoder"}
    unguided = losses_of_training(plain, ddim.loss, steps=1, lr=0.0)[0]
    assert errors[-1] < 0.97 * unguided


def test_precision_and_inference_mode_leave_the_guide_alone():
    model = small()
    t, z = torch.tensor([0, 10, 400, 999]), model.encode(NOISE).detach()
    expected = model.guide(X, t, z)
    assert not expected.requires_grad
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.zeros_like(X) + X  # an inference tensor
        assert torch.equal(model.guide(inside, t + 0, z + 0), expected)
        decoded = model.decode(model.encode(inside), x_T=NOISE, sampler=THREE)
    assert (decoded.nfe, decoded.images.dtype) == (3, torch.float32)


def test_collapse_is_said(caplog):
    model = small()
    model.train().batches = method.CHECK_EVERY - 2
    with caplog.at_level(logging.WARNING):
        method._watch(model, torch.full((4, 4), 0.001))
        assert not caplog.records
        method._watch(model, torch.full((4, 4), 0.001))
        assert "z has collapsed: after 100 batches an image's KL is 0.004 nats" in caplog.text
        caplog.clear()
        model.batches = method.CHECK_EVERY - 1
        method._watch(model, torch.full((4, 4), 1.0))
        assert not caplog.records


def test_it_is_a_model_that_benchmarks_can_use():
    model = small()
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    mean, sigma = model.posterior(X)
    drawn = model.encode(X, noise=PerImageNoise(0, range(4)))
    torch.testing.assert_close(drawn, mean + sigma * PerImageNoise(0, range(4)).normal((4, 4)))
    assert (sigma > 0).all()
    x_T, nfe = model.infer_endpoint(X, mean, steps=3)
    assert (x_T.shape, nfe) == (X.shape, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:  # through the encoder and back
        assert model.decode(mean, noise=PerImageNoise(0, range(4)), sampler=THREE).images.shape == X.shape
    assert counter.get_total_flops() > 0


def test_what_is_impossible_is_refused():
    for options, message in (
        ({"kl": -1.0}, "--kl: expected 0"),
        ({"kl_start": 0.0}, "--kl-start: expected a positive"),
    ):
        with pytest.raises(UserError, match=message):
            config(**options)
    with pytest.raises(UserError, match="expected a plain model of 8 px that predicts no variance"):
        around(plain_model(learn_sigma=True))


def test_z_of_scorevae_at_a_time_is_what_it_sees_of_a_noised_image():
    """The same of an image in every batch; SAMI's encoder is told no time."""
    model = small(time_conditioned=True)
    assert isinstance(model, EncodesTimes)
    assert (model.encoder_times, small().encoder_times) == (1000, 0)
    pair = model.at(100, 900)
    assert (pair.latent_dim, model.latent_dim) == (8, 4)
    mean, sigma = pair.posterior(X)
    assert mean.shape == sigma.shape == (4, 8)
    alone = [pair.posterior(x[None])[0] for x in X]
    torch.testing.assert_close(mean, torch.cat(alone), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean[:, 4:], model.at(900).posterior(X)[0])
    torch.testing.assert_close(model.at(0).posterior(X)[0], model.posterior(X)[0], rtol=0.1, atol=0.05)
    eps = _noise_of(X)
    assert abs(float(eps.mean())) < 0.1
    assert abs(float(eps.std()) - 1) < 0.1
    assert not torch.equal(eps[0], eps[1])
    ab = float(alpha_bar("linear")[900])
    state = ab**0.5 * X + (1 - ab) ** 0.5 * eps
    torch.testing.assert_close(mean[:, 4:], model.posterior_at(state, torch.full((4,), 900))[0])


@pytest.mark.parametrize("timed", [False, True], ids=["sami", "scorevae"])
def test_guidance_of_axes_is_their_share_of_the_gradient(timed):
    """Against torch's density of one number, one image at a time; and all of them together are what guides."""
    model = small(time_conditioned=timed, guidance=2.0)
    assert isinstance(model, GuidesByAxes)
    found = model.guidance(X, 400, PerImageNoise(0, range(4)))
    noise = PerImageNoise(0, range(4))
    z, ab = model.encode(X, noise=noise), float(alpha_bar("linear")[400])
    state = ab**0.5 * X + (1 - ab) ** 0.5 * noise.normal(X.shape)

    def log_q(x: torch.Tensor) -> torch.Tensor:
        mean, sigma = model.posterior_at(x, torch.full((4,), 400))
        return Normal(mean, sigma).log_prob(z)

    every = torch.autograd.functional.jacobian(lambda x: log_q(x).sum(0), state)  # (l, b, 3, s, s)
    expected = 4 * (1 - ab) * every.square().mean((2, 3, 4)).T
    assert found.min() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(model.guide(state, torch.full((4,), 400), z), every.sum(0), rtol=1e-4, atol=1e-6)
