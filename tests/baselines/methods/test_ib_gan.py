"""IB-GAN: three players in one loss, each with its own gradient, and a code that is decoded."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from systems import fresh, losses_of_training, plain_images, tiny_config
from torch.distributions import Normal, kl_divergence

from baselines.conformance import check
from baselines.methods import ib_gan
from baselines.methods.ddim import NormalPrior
from baselines.methods.ib_gan import IBGAN, METHOD, BottleneckPrior, IBGANConfig
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)


def config(**options: object) -> IBGANConfig:
    return dataclasses.replace(tiny_config("ib_gan"), noise_dim=6, **options)  # type: ignore[arg-type]


def small(**options: object) -> IBGAN:
    return fresh(IBGAN, config(**options)).eval()


def players(model: IBGAN) -> dict[str, torch.Tensor]:
    """Mean losses as printed, each by itself: of G and e, of Q, and of D, on the draws of seed 1."""
    c, noise = model.config, GeneratorNoise(torch.Generator().manual_seed(1))
    n = noise.normal((4, 6))
    mean, sigma = model.squeezed(n)
    fake = model.generated(mean + sigma * noise.normal((4, 4)))
    eps, other = noise.normal(X.shape), noise.normal(X.shape)
    u = 0.7 + 0.5 * torch.rand(4, generator=noise.generator)
    s = 0.5 - 0.49 * min(1, int(model.images_seen) / c.noise_images)

    def D(x: torch.Tensor) -> torch.Tensor:
        return model.encoder(x)[:, 0]

    information = 0.5 * (n.square() - (n - model.encoder(fake)[:, 1:]).square()).sum(1)
    kl = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1)
    passed = -F.logsigmoid(D(fake + s * other))
    real, made = D(X + s * eps), D(fake.detach() + s * other)
    judged = -u * F.logsigmoid(real) - (1 - u) * F.logsigmoid(-real) - F.logsigmoid(-made)
    return {
        "generator": (c.gamma * passed - c.alpha * information + c.beta * kl).mean(),
        "encoder": (judged - c.alpha * information).mean(),
        "all": (judged + c.gamma * passed - c.alpha * information + c.beta * kl).mean(),
    }


@pytest.mark.parametrize("seen", [0, 150, 10_000])
def test_every_player_has_its_own_gradient(seen):
    model = small(alpha=0.7, beta=0.3, gamma=1.5, noise_images=300)
    model.images_seen.fill_(seen)
    found = ib_gan.loss(model, X, torch.Generator().manual_seed(1)).loss.mean()
    expected = players(model)
    torch.testing.assert_close(found, expected["all"])
    for part, name in (("generator", "generator"), ("bottleneck", "generator"), ("encoder", "encoder")):
        parameters = list(model.get_submodule(part).parameters())
        ours = torch.autograd.grad(found, parameters, retain_graph=True)
        theirs = torch.autograd.grad(expected[name], parameters, retain_graph=True)
        assert max(float(g.abs().max()) for g in ours) > 1e-4
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_what_the_image_says_of_its_noise_grows():
    errors = losses_of_training(fresh(IBGAN, config(beta=0.01)), ib_gan.loss, steps=30, attribute="mse")
    assert errors[-1] < errors[0] - 0.1


@pytest.mark.parametrize("code", ["r", "noise"])
def test_it_is_a_model_that_benchmarks_can_use(code):
    model = small(code=code)
    check(model)
    z = model.encode(X)
    assert z.shape == (4, {"r": 4, "noise": 6}[code])
    images = [model.decode(each).images for each in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().amax((1, 2, 3)).min() > 1e-6
    with pytest.raises(ValueError, match="decodes z in one step"):
        model.decode(z, sampler=SamplerConfig("ddim", nfe=3))


def test_prior_is_what_the_generator_was_trained_on():
    model = small()
    prior = METHOD.prior(model)
    assert isinstance(prior, BottleneckPrior)
    noise = PerImageNoise(0, range(3))
    mean, sigma = model.squeezed(noise.normal((3, 6)))
    expected = mean + sigma * noise.normal((3, 4))
    torch.testing.assert_close(prior.sample(PerImageNoise(0, range(3)), 3).z, expected.detach())
    assert METHOD.prior(small(code="noise")) == NormalPrior(6)


def test_what_is_impossible_is_refused():
    with pytest.raises(UserError, match="--beta: expected 0 or more, found -1"):
        config(beta=-1.0)
    with pytest.raises(UserError, match="--noise-images: expected a positive number, found 0"):
        config(noise_images=0)
