"""SB-VAE on images: the loss in its two estimates, z and its rest, and the ways between image and X_T."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from systems import fresh, losses_of_training, plain_images, stirred, tiny

from baselines.conformance import check
from baselines.methods import sb_vae
from baselines.methods.ddim import DDIMConfig
from baselines.methods.sb_vae import SBVAE, SBVAEConfig, bridge
from baselines.methods.sb_vae.method import _one_step
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)


def config(**options: object) -> SBVAEConfig:
    sized = sb_vae.sized_as(DDIMConfig(8, tiny().unet), 4)
    return dataclasses.replace(sized, steps=2, **options)  # type: ignore[arg-type]


def small(**options: object) -> SBVAE:
    return stirred(fresh(SBVAE, config(**options)))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("latent_dim", [4, 192], ids=["components", "whole"])
def test_it_is_a_model_that_benchmarks_can_use(latent_dim):
    model = small(latent_dim=latent_dim)
    check(model, nfe=2)
    z = model.encode(X)
    assert (z.shape, model.encode_nfe) == ((4, latent_dim), 4)
    images = [model.decode(code, noise=PerImageNoise(0, range(4))).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().amax((1, 2, 3)).min() > 1e-3


@torch.no_grad()
def test_gradients_along_the_path_are_those_of_the_chain():
    """The loss of a batch that trains U is the chain a number, with or without its states kept."""
    model = small()
    expected = bridge.chain(model.u, model.s, X, model.config.grid, 1.0, GeneratorNoise(seeded())) / 192
    parameters = list(model.parameters())
    with torch.enable_grad():
        found = sb_vae.loss(model, X, seeded())
        ours = torch.autograd.grad(found.loss.mean(), parameters)
        chain = bridge.chain(model.u, model.s, X, model.config.grid, 1.0, GeneratorNoise(seeded())) / 192
        theirs = torch.autograd.grad(chain.mean(), parameters)
    torch.testing.assert_close(found.loss, expected)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_one_step_is_the_chain_in_expectation():
    model = small()
    path = list(bridge.walk(model.u, X, model.config.grid, 1.0, GeneratorNoise(seeded())))
    chain = bridge.chain(model.u, model.s, X, model.config.grid, 1.0, GeneratorNoise(seeded()))
    draws = torch.stack([_one_step(model, path, torch.Generator().manual_seed(seed)) for seed in range(64)])
    error = draws.std(0) / 8
    assert ((draws.mean(0) - (chain - bridge.prior_term(path[-1]))).abs() < 4 * error).all()


def test_batches_take_turns_and_the_drift_stops():
    """U learns from the first of three batches, until 12 images are seen; S from all."""
    model = fresh(SBVAE, config(drift_every=3, drift_images=16)).train()
    learned = []
    for _ in range(7):
        sb_vae.loss(model, X, seeded()).loss.mean().backward()
        assert model.backward_drift.out[2].weight.grad is not None
        learned.append(model.forward_drift.out[2].weight.grad is not None)
        model.zero_grad()
    assert learned == [True, False, False, True, False, False, False]
    assert (int(model.images_seen), int(model.batches)) == (28, 7)
    assert not sb_vae.loss(small(drift_images=0), X, seeded()).loss.isnan().any()


def test_fixed_drift_is_a_score_model():
    """With U = 0 the encoder is an Ornstein-Uhlenbeck process; S enters as predicted noise does."""
    model = fresh(SBVAE, config(drift_images=0)).eval()
    t = torch.full((4,), 0.3)
    torch.testing.assert_close(model.u(t, X), -X / 2)
    torch.testing.assert_close(model.s(t, X), -X / 2)
    stirred(model)
    v = 1 - torch.tensor(-0.3).exp()
    torch.testing.assert_close(model.s(t, X), -X / 2 + model.backward_drift(X, t) / v.sqrt())


def test_loss_falls():
    losses = losses_of_training(fresh(SBVAE, config(drift_every=3)), sb_vae.loss, steps=12)
    assert losses[-1] < losses[0] - 0.05


def test_z_is_a_part_of_x_T_whose_rest_is_drawn():
    model, noise = small(), PerImageNoise(0, range(4)).normal((4, 3, 8, 8))
    P, z = model.basis(), torch.randn(4, 4, generator=seeded())
    torch.testing.assert_close(P.T @ P, torch.eye(4), rtol=0, atol=1e-5)
    x_T = model.completed(z, PerImageNoise(0, range(4))).flatten(1)
    torch.testing.assert_close(x_T @ P, z, rtol=0, atol=1e-4)
    rest = noise.flatten(1)
    torch.testing.assert_close(x_T - x_T @ P @ P.T, rest - rest @ P @ P.T, rtol=0, atol=1e-4)
    whole = small(latent_dim=192)
    assert torch.equal(whole.completed(noise.flatten(1), None), noise)
    with pytest.raises(ValueError, match="whose rest is drawn"):
        model.decode(z)


def test_directions_turn_to_those_of_largest_variance():
    model = fresh(SBVAE, config(latent_dim=2))
    scale = torch.ones(192)
    scale[[5, 70]] = torch.tensor([6.0, 4.0])
    generator = seeded()
    for _ in range(150):
        model.follow((torch.randn(64, 192, generator=generator) * scale + 3).reshape(64, 3, 8, 8))
    P = model.basis()
    assert P[5, 0].abs() > 0.97
    assert P[70, 1].abs() > 0.97


def test_the_flow_comes_back():
    """Where both networks are 0 it shrinks an image by exp(-1/2). More noise on the way makes other images."""
    model = fresh(SBVAE, config()).eval()
    x_T, spent = model.infer_endpoint(X, None, steps=41)
    assert spent == 40
    torch.testing.assert_close(x_T, X * torch.tensor(-0.5).exp(), rtol=0, atol=0.01)
    z = model.encode(X)
    back = model.decode(z, x_T=x_T, sampler=SamplerConfig("ddim", nfe=40))
    assert back.nfe == 40
    torch.testing.assert_close(back.raw, X, rtol=0, atol=0.02)
    for sampler, nfe in (
        (SamplerConfig("ddim", nfe=5, eta=0.5), 4),
        (SamplerConfig("ddim", nfe=5, eta=1.0), 5),
        (SamplerConfig("ddpm", nfe=5), 5),
    ):
        found = model.decode(z, x_T=x_T, sampler=sampler, noise=PerImageNoise(0, range(4)))
        assert found.nfe == nfe
        assert (found.images - back.images).abs().max() > 0.01


def test_what_is_impossible_is_refused():
    for options, message in (
        ({"g": 0.0}, "--g: expected a positive"),
        ({"drift_images": -1}, "--drift-images: expected 0 or more"),
        ({"latent_dim": 193}, "--latent-dim: expected 1 to 192, found 193"),
    ):
        with pytest.raises(UserError, match=message):
            config(**options)
    with pytest.raises(UserError, match="1 evaluations: a step of SB-VAE takes 2"):
        small().infer_endpoint(X, None, steps=1)
    with pytest.raises(ValueError, match="has ddim and ddpm, without stop and variance"):
        small().decode(torch.zeros(4, 4), x_T=X, sampler=SamplerConfig("ddim", nfe=4, stop=0.5))
