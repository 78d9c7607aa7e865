"""DRL and VDRL: the code curve, its equalities with DiffAE, and the noise levels that train it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from systems import equal_losses, fresh, gradients, losses_of_training, plain_images, stirred, tiny
from torch.distributions import Normal, kl_divergence

from baselines.diffusion.process import alpha_bar
from baselines.diffusion.time_encoder import TimeEncoder
from baselines.interface import InfersEndpoint, RepresentationModel
from baselines.methods import diffae, drl
from baselines.methods.diffae import DiffAE
from baselines.methods.drl import DRL, DRLConfig
from baselines.options import in_sizes
from dbae.interface import EncodesTimes
from dbae.networks.encoder import Encoder
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
D = X[0].numel()
NOISE = X.flip(0)
TEN = SamplerConfig("ddim", nfe=10)


def config(**options: object) -> DRLConfig:
    return dataclasses.replace(in_sizes(DRLConfig, tiny()), **options)  # type: ignore[arg-type]


def small(**options: object) -> DRL:
    return stirred(fresh(DRL, config(**options)))


def times(t: int) -> torch.Tensor:
    return torch.full((len(X),), t)


def test_fresh_time_encoder_is_the_encoder():
    """Same weights, same function, until its layers of time have learned."""
    timed = TimeEncoder(tiny().encoder, image_size=8, outputs=4)
    plain = Encoder(tiny().encoder, image_size=8, outputs=4)
    plain.load_state_dict({k: v for k, v in timed.state_dict().items() if not k.startswith("time_")})
    assert torch.equal(timed(X, times(3)), plain(X))
    stirred(timed)
    assert not torch.equal(timed(X, times(3)), timed(X, times(900)))
    mixed = torch.tensor([3, 3, 900, 900])
    torch.testing.assert_close(timed(X, mixed), torch.cat([timed(X, times(3))[:2], timed(X, times(900))[2:]]))
    with pytest.raises(ValueError, match="told a time"):
        timed(X)


def test_at_a_constant_time_it_is_diffae_bit_for_bit():
    ours = stirred(fresh(DRL, config(timed=False, weight=0.0)))
    theirs = stirred(fresh(DiffAE, tiny()))
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert equal_losses(drl.loss(ours, X, generators[0]), diffae.loss(theirs, X, generators[1]))
    a, b = gradients(ours, drl.loss, X), gradients(theirs, diffae.loss, X)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    ours.eval(), theirs.eval()
    z = theirs.encode(X)
    assert torch.equal(ours.encode(X), z)
    for code in (z, ours.encode_curve(X, z, TEN)[0]):
        assert torch.equal(
            ours.decode(code, x_T=NOISE, sampler=TEN).images, theirs.decode(z, x_T=NOISE, sampler=TEN).images
        )
        assert torch.equal(ours.infer_endpoint(X, code, steps=10)[0], theirs.infer_endpoint(X, z, steps=10)[0])


@torch.no_grad()
def test_regulariser_is_the_published_one_on_the_scale_of_a_mean():
    """Theirs: half a sum over pixels, and w R. Ours is theirs times 2 / D."""
    for variational in (False, True):
        model, free = (small(variational=variational, weight=w) for w in (0.25, 0.0))
        found, plain = (drl.loss(m, X, torch.Generator().manual_seed(1)) for m in (model, free))
        generator = torch.Generator().manual_seed(1)
        t = torch.randint(1000, (4,), generator=generator)
        mean, sigma = model.posterior_at(X, t)
        size = mean.abs() if sigma is None else kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0))
        torch.testing.assert_close(found.loss * D / 2, plain.loss * D / 2 + 0.25 * size.sum(1))
        assert torch.equal(found.mse, plain.mse)


@torch.no_grad()
def test_variational_loss_predicts_under_a_draw_of_z():
    model = small(variational=True, weight=0.0)
    generator = torch.Generator().manual_seed(1)
    noise, t = GeneratorNoise(generator), torch.randint(1000, (4,), generator=generator)
    mean, sigma = model.posterior_at(X, t)
    z, eps = mean + sigma * noise.normal(mean.shape), noise.normal(X.shape)
    ab = torch.tensor(alpha_bar("linear"), dtype=torch.float32)[t].view(-1, 1, 1, 1)
    error = eps - model.network(ab.sqrt() * X + (1 - ab).sqrt() * eps, t, z)
    found = drl.loss(model, X, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.loss, error.square().flatten(1).mean(1), rtol=1e-4, atol=1e-5)


def test_z_at_times_and_the_curve():
    model = small()
    z = model.encode(X)
    assert z.shape == (4, 20)
    assert model.latent_dim == 20
    for i, t in enumerate((100, 300, 500, 700, 900)):
        torch.testing.assert_close(z[:, 4 * i : 4 * i + 4], model.posterior_at(X, times(t))[0])
    curve, passes = model.encode_curve(X, z, TEN)
    assert (curve.shape, passes) == ((4, 10, 4), 10)
    torch.testing.assert_close(curve[:, 3], model.posterior_at(X, times(300))[0])
    assert isinstance(model, EncodesTimes)
    assert (model.encoder_times, small(timed=False).encoder_times) == (1000, 0)
    one = model.at(700)
    assert one.latent_dim == 4
    assert torch.equal(one.encode(X), z[:, 12:16])
    assert model.latent_dim == 20
    assert one.network is model.network


def test_decoding_along_the_exact_curve_and_along_an_interpolated_one():
    """They agree where the visited times are those of z, here 0, 100 ... 900, and are linear between them."""
    model = small()
    curve, _ = model.encode_curve(X, model.encode(X), TEN)
    exact = model.decode(curve, x_T=NOISE, sampler=TEN)
    everywhere = model.at(*range(0, 1000, 100))
    stored = everywhere.decode(everywhere.encode(X), x_T=NOISE, sampler=TEN)
    torch.testing.assert_close(stored.images, exact.images)
    assert exact.nfe == stored.nfe == 10
    assert not torch.equal(model.decode(model.encode(X), x_T=NOISE, sampler=TEN).images, exact.images)
    seen = []
    model.network.register_forward_pre_hook(lambda _, arguments: seen.append((int(arguments[1][0]), arguments[2])))
    z = model.encode(X).unflatten(1, (5, 4))
    model.decode(z.flatten(1), x_T=NOISE, sampler=TEN)
    known = {900: z[:, 4], 800: (z[:, 3] + z[:, 4]) / 2, 700: z[:, 3], 0: z[:, 0]}
    for t, code in seen:
        if t in known:
            torch.testing.assert_close(code, known[t])
    assert [t for t, _ in seen] == list(range(900, -1, -100))


def test_inversion_along_the_exact_curve():
    model = small()
    curve, _ = model.encode_curve(X, model.encode(X), TEN)
    x_T, nfe = model.infer_endpoint(X, curve, steps=10)
    assert nfe == 10
    everywhere = model.at(*range(0, 1000, 100))
    torch.testing.assert_close(x_T, everywhere.infer_endpoint(X, everywhere.encode(X), steps=10)[0])
    with pytest.raises(ValueError, match="expected a code for each of 20 times, found 10"):
        model.infer_endpoint(X, curve, steps=20)


def test_curve_through_a_draw():
    """At the times of z it is z; elsewhere as far from the mean as z is, in standard deviations."""
    model = small(variational=True)
    drawn = model.encode(X, noise=PerImageNoise(0, range(4)))
    curve, passes = model.encode_curve(X, drawn, TEN)
    assert passes == 15
    torch.testing.assert_close(curve[:, [1, 3, 5, 7, 9]].flatten(1), drawn)
    eps = PerImageNoise(0, range(4)).normal((4, 20))
    mean, sigma = model.posterior_at(X, times(400))
    assert sigma is not None
    torch.testing.assert_close(curve[:, 4], mean + sigma * (eps[:, 4:8] + eps[:, 8:12]) / 2)
    mean_curve, _ = model.encode_curve(X, model.encode(X), TEN)
    torch.testing.assert_close(mean_curve[:, 4], mean)


@pytest.mark.parametrize("options", [{}, {"variational": True, "schedule": "ve", "emphasis": "coarse"}])
def test_loss_falls_and_z_is_used(options):
    model = fresh(DRL, config(**options))
    losses = losses_of_training(model, drl.loss, steps=15)
    assert losses[-1] < losses[0] - 0.1
    z = model.encode(X)
    images = [model.decode(code, x_T=NOISE, sampler=SamplerConfig("ddim", nfe=3)).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_it_is_a_model_that_benchmarks_can_use():
    model = small(variational=True)
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    mean, sigma = model.posterior(X)
    assert sigma is not None
    assert mean.shape == sigma.shape == (4, 20)
    drawn = model.encode(X, noise=PerImageNoise(0, range(4)))
    torch.testing.assert_close(drawn, mean + sigma * PerImageNoise(0, range(4)).normal((4, 20)))
    assert small().posterior(X)[1] is None
    assert model.decode(drawn, noise=PerImageNoise(0, range(4)), sampler=SamplerConfig("ddpm", nfe=3)).nfe == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": (300, 100)}, r"--times: expected times that rise within 0 to 999, found \(300, 100\)"),
        ({"times": ()}, "--times: expected"),
        ({"times": (1000,)}, "--times: expected"),
        ({"weight": -1.0}, "--weight: expected 0 or more, found -1.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        config(**options)
