"""SODA-lite: DiffAE, views and a z that is left out at times; guidance in decoding and what it costs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from diffusion_networks import small_diffae
from pdae_models import filled_pdae, small_config
from systems import equal_losses, fresh, gradients, losses_of_training, plain_images, stirred, tiny

from baselines.conformance import check
from baselines.diffusion import alpha_bar
from baselines.methods import diffae, soda
from baselines.methods.diffae import DiffAE
from baselines.methods.soda import SODA, SODAConfig
from baselines.options import in_sizes
from baselines.train import pictures
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
NOISE = X.flip(0)
TEN = SamplerConfig("ddim", nfe=10)


def config(**options: object) -> SODAConfig:
    return dataclasses.replace(in_sizes(SODAConfig, tiny()), **options)  # type: ignore[arg-type]


def small(**options: object) -> SODA:
    return stirred(fresh(SODA, config(**options)))


def test_without_views_and_dropping_it_is_diffae_bit_for_bit():
    ours, theirs = small(views="same", drop=0.0), stirred(fresh(DiffAE, tiny()))
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert equal_losses(soda.loss(ours, X, generators[0]), diffae.loss(theirs, X, generators[1]))
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    a, b = gradients(ours, soda.loss, X), gradients(theirs, diffae.loss, X)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    decoded = [m.eval().decode(m.encode(X), x_T=NOISE, sampler=TEN).images for m in (ours, theirs)]
    assert torch.equal(*decoded)


def test_what_the_encoder_sees_is_the_only_other_thing():
    """The loss of a model with views is DiffAE's under the code of those views."""
    model = small(drop=0.0)
    generator = torch.Generator().manual_seed(1)
    t = torch.randint(1000, (4,), generator=generator)
    view = model.view(X, generator)
    eps = torch.randn(X.shape, generator=generator)
    a, b = (torch.tensor(table[t], dtype=torch.float32).sqrt().view(-1, 1, 1, 1) for table in _shares())
    expected = (eps - model.network(a * X + b * eps, t, model.encoder(view))).square().flatten(1).mean(1)
    torch.testing.assert_close(soda.loss(model, X, torch.Generator().manual_seed(1)).loss, expected)
    assert not torch.equal(view, X)


def _shares() -> tuple[np.ndarray, np.ndarray]:
    return alpha_bar("linear"), 1 - alpha_bar("linear")


def test_where_z_is_dropped_the_encoder_learns_nothing():
    found = gradients(small(drop=1.0), soda.loss, X)
    assert all(not grad.any() for name, grad in found.items() if name.startswith("encoder."))
    half = gradients(small(drop=0.5), soda.loss, X)
    assert any(grad.any() for name, grad in half.items() if name.startswith("encoder."))


def test_loss_falls_and_z_is_used():
    model = fresh(SODA, config())
    losses = losses_of_training(model, soda.loss, steps=20)
    assert losses[-1] < losses[0] - 0.1
    z = model.encode(X)
    images = [model.decode(code, x_T=NOISE, sampler=TEN).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_guidance_weighs_z_and_takes_two_evaluations_a_step():
    model = small()
    z = model.encode(X)

    def decoded(weight: float, nfe: int = 20):
        sampler = SamplerConfig("ddim", nfe=nfe, guidance=weight, clip_denoised=False)
        return model.decode(z, x_T=NOISE, sampler=sampler)

    unclipped = dataclasses.replace(TEN, clip_denoised=False)
    without = model.decode(torch.zeros_like(z), x_T=NOISE, sampler=unclipped)
    assert (decoded(0.0).nfe, without.nfe, decoded(1.0).nfe) == (20, 10, 20)
    torch.testing.assert_close(decoded(0.0).raw, without.raw)
    eps = model._guided(z, 3.0)(NOISE, 500)
    under_z, alone = model.predictor(z)(NOISE, 500), model.predictor(torch.zeros_like(z))(NOISE, 500)
    torch.testing.assert_close(eps, alone + 3 * (under_z - alone))
    assert not torch.equal(decoded(3.0).images, decoded(1.0).images)
    with pytest.raises(ValueError, match="needs a budget of at least 2 nfe"):
        decoded(3.0, nfe=1)


def test_models_that_always_see_z_refuse_guidance():
    sampler = SamplerConfig("ddim", nfe=20, guidance=2.0)
    for model in (small_diffae(), filled_pdae(small_config())):
        size = model.image_size
        z, x_T = torch.zeros(1, model.latent_dim), torch.zeros(1, 3, size, size)
        with pytest.raises(UserError, match="--guidance 2: expected 1 of a model that has not learned to do without z"):
            model.decode(z, x_T=x_T, sampler=sampler)


def test_inverted_cosine_is_the_inverse_of_the_cosine():
    u = (np.arange(1000) + 0.5) / 1000
    np.testing.assert_allclose(np.cos(alpha_bar("inverted_cosine") * np.pi / 2) ** 2, u, atol=1e-12)


def test_it_keeps_the_protocol_and_shows_views():
    model = small()
    check(model)
    assert len(pictures(model, X)) == 4
    with pytest.raises(UserError, match=r"--drop: expected a number from 0 to 1, found 1\.5"):
        config(drop=1.5)
