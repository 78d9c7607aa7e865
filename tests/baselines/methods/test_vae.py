"""The family of variational autoencoders: its objectives, and what benchmarks ask of it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from systems import fresh, losses_of_training, plain_images, stirred, tiny
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from baselines.interface import InfersEndpoint, RepresentationModel
from baselines.methods import vae
from baselines.methods.vae import VAE, VAEConfig, VAEOptions, config_of
from baselines.methods.vae.ae import AE
from baselines.methods.vae.beta_tcvae import BetaTCVAE
from baselines.methods.vae.beta_vae import BetaVAE
from baselines.methods.vae.info_vae import InfoVAE
from baselines.regularisers import mmd, total_correlation
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

FAMILY: dict[type[VAE], vae.Family] = {
    AE: "ae",
    VAE: "vae",
    BetaVAE: "beta_vae",
    BetaTCVAE: "beta_tcvae",
    InfoVAE: "info_vae",
}
X = plain_images(6)
D = X[0].numel()


def config(kind: type[VAE] = VAE, weights: vae.Weights = "calibrated", **options: object) -> VAEConfig:
    return dataclasses.replace(config_of(FAMILY[kind], tiny(), weights), **options)  # type: ignore[arg-type]


def small(settings: VAEConfig, kind: type[VAE] = VAE) -> VAE:
    return stirred(fresh(kind, settings))


def parts(model: VAE) -> tuple[torch.Tensor, ...]:
    """mu, sigma, z and xhat of `X`, and the generator's next draw for MMD, as the loss with seed 3 has them."""
    noise = GeneratorNoise(torch.Generator().manual_seed(3))
    mean, sigma = model.posterior(X)
    assert sigma is not None
    z = mean + sigma * noise.normal(mean.shape)
    return mean, sigma, z, model.expected(z), noise.normal(z.shape)


def computed(model: VAE) -> torch.Tensor:
    return vae.loss(model, X, torch.Generator().manual_seed(3)).loss


@torch.no_grad()
@pytest.mark.parametrize("likelihood", ["gaussian", "learned", "bernoulli"])
def test_calibrated_loss_is_minus_the_elbo_of_an_image(likelihood):
    """By torch's densities, over D."""
    model = small(config(likelihood=likelihood, variance=0.2))
    mean, sigma, _, out, _ = parts(model)
    if likelihood == "bernoulli":  # torch wants zeros and ones
        p = Bernoulli(logits=out)
        target = (X + 1) / 2
        log_p = target * p.log_prob(torch.ones_like(out)) + (1 - target) * p.log_prob(torch.zeros_like(out))
    else:
        log_p = Normal(out, math.sqrt(0.2)).log_prob(X)
    kl = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(computed(model), (kl - log_p.flatten(1).sum(1)) / D, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_published_vae_is_a_mean_over_pixels_beside_a_sum_over_z():
    """That is an ELBO with unit variance and beta = D / 2, but for factors and constants."""
    model = small(config(weights="published"))
    mean, sigma, _, out, _ = parts(model)
    kl = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(computed(model), (out - X).square().flatten(1).mean(1) + kl)
    elbo = small(config(beta=D / 2, variance=1.0))
    elbo.load_state_dict(model.state_dict())
    torch.testing.assert_close(computed(elbo), (computed(model) + math.log(2 * math.pi)) / 2)


@torch.no_grad()
def test_terms_of_the_others():
    for kind, term in (
        (BetaVAE, lambda mean, sigma, z, n: 3 * kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1)),
        (BetaTCVAE, lambda mean, sigma, z, n: 5 * total_correlation(z, mean, sigma)),
    ):
        model = small(config(kind), kind)
        plain = small(config(), kind)
        mean, sigma, z, _, n = parts(model)
        torch.testing.assert_close(computed(model) - computed(plain), term(mean, sigma, z, n) / D, rtol=1e-3, atol=1e-6)
    model = small(config(InfoVAE, "published"), InfoVAE)
    _, _, z, out, n = parts(model)
    torch.testing.assert_close(computed(model), (out - X).square().flatten(1).mean(1) + 0.1 * mmd(n, z))


@torch.no_grad()
def test_capacity_rises_with_the_images_seen():
    model = small(config(BetaVAE, "published", capacity_images=24), BetaVAE)
    mean, sigma, _, out, _ = parts(model)
    kl, rec = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1).mean(), (out - X).square().flatten(1).mean(1)
    torch.testing.assert_close(computed(model), rec + kl)
    assert int(model.images_seen) == 0  # only training counts
    model.images_seen += 12
    torch.testing.assert_close(computed(model), rec + (kl - 12.5).abs())
    model.images_seen += 100
    torch.testing.assert_close(computed(model), rec + (kl - 25).abs())
    computed(model.train())
    assert int(model.images_seen) == 112 + len(X)


@pytest.mark.parametrize(("kind", "weights"), list(zip(FAMILY, ["published", "calibrated"] * 3, strict=False)))
def test_loss_falls_on_fixed_images(kind, weights):
    model = fresh(kind, config(kind, weights))
    losses = losses_of_training(model, vae.loss, steps=25, lr=0.03)
    assert min(losses[-3:]) < losses[0] - 0.02


def test_calibrated_codes_decode_to_their_image_and_published_ones_collapse():
    """The zeros of DBAE's Table 3: under published weights z of a VAE holds nothing, under the ELBO's it does."""
    swapped = torch.arange(64).roll(1)
    error = {}
    for weights in ("calibrated", "published"):
        model = fresh(VAE, config(weights=weights))
        losses_of_training(model, vae.loss, steps=50, lr=0.03)
        x = plain_images()
        z = model.encode(x)
        own, other = (model.decode(code).images for code in (z, z[swapped]))
        error[weights] = float((own - x).square().mean()), float((other - x).square().mean())
    own, other = error["calibrated"]
    assert own < 0.6 * other
    own, other = error["published"]
    assert own > 0.9 * other


def test_calibrated_weight_of_mmd_draws_codes_to_the_prior():
    """MMD of all codes to N(0, I) after training with it and without."""
    x, prior = plain_images(), torch.randn(4096, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for options in ({}, {"mmd": 0.0}):
        model = fresh(InfoVAE, config(InfoVAE, **options))
        losses_of_training(model, vae.loss, steps=50, lr=0.03)
        with torch.no_grad():
            mean, sigma = model.posterior(x)
            assert sigma is not None
            found.append(float(mmd(prior, mean + sigma * PerImageNoise(0, range(64)).normal(mean.shape))))
    assert found[0] < 0.3 * found[1]


@pytest.mark.parametrize("kind", FAMILY)
def test_it_is_a_model_that_benchmarks_can_use(kind):
    model = small(config(kind), kind)
    assert isinstance(model, RepresentationModel)
    assert not isinstance(model, InfersEndpoint)
    assert (model.samplers, model.endpoints, model.encode_nfe) == (("one_step",), ("decoded",), 0)
    mean, sigma = model.posterior(X)
    z = model.encode(X)
    assert torch.equal(z, mean)
    assert z.shape == (6, 4)
    noise = PerImageNoise(0, range(6))
    drawn = model.encode(X, noise=noise)
    assert torch.equal(drawn, z) == (kind is AE) == (sigma is None)
    decoded = model.decode(z, sampler=SamplerConfig("one_step", nfe=1))
    assert (decoded.nfe, decoded.images.shape) == (1, X.shape)
    assert not decoded.images.requires_grad
    assert decoded.images.abs().max() <= 1
    assert not torch.equal(decoded.images[0], decoded.images[1])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.decode(z)
    assert counter.get_total_flops() > 0
    with pytest.raises(ValueError, match="expected no x_T and the sampler one_step"):
        model.decode(z, sampler=SamplerConfig("ddim"))
    with pytest.raises(ValueError, match="expected no x_T"):
        model.decode(z, x_T=X)


def test_bernoulli_decodes_to_its_mean():
    model = small(config(likelihood="bernoulli"))
    z = model.encode(X)
    torch.testing.assert_close(model.decode(z).images, 2 * torch.sigmoid(model.expected(z)) - 1)


def test_learned_variance_moves_to_the_error():
    model = fresh(VAE, config(likelihood="learned", variance=1.0))
    losses_of_training(model, vae.loss, steps=12, lr=0.03)
    assert model.log_variance.exp() < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, r"--beta: expected 0 or more, found -1\.0; change --beta\."),
        ({"variance": 0.0}, "--variance: expected a positive number, found 0.0"),
        ({"capacity_images": 0}, "--capacity-images: expected a positive number, found 0"),
        (
            {"stochastic": False},
            r"expected beta, capacity, tc and mmd of 0, 0, 1, 0, found \(1\.0, 0\.0, 1\.0, 0\.0\); take a vae",
        ),
    ],
)
def test_impossible_objectives_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        config(**options)


def test_options_and_what_tables_call_them():
    """Whatever weights a configuration had before; what is given beside them stands."""
    method = vae.METHOD
    plain = VAEOptions().configured(config(weights="published"))
    assert plain == config()
    assert method.variant(plain) == "calibrated"
    published = VAEOptions(weights="published", beta=0.5, latent_dim=7).configured(config())
    assert (published.likelihood, published.beta, published.latent_dim) == ("mean", 0.5, 7)
    assert method.variant(published) == "as published, beta=0.5"


def test_prior_is_normal_where_there_is_one():
    made = {kind: vae.method_of_family(key, "", kind).prior(small(config(kind), kind)) for kind, key in FAMILY.items()}
    assert made.pop(AE) is None
    assert all(prior is not None and prior.latent_dim == 4 for prior in made.values())
