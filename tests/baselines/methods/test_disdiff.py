"""DisDiff: a gradient field for every part of z, and the loss that tells the parts apart."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from systems import fresh, gradients, losses_of_training, plain_images, stirred, tiny, tiny_config

from baselines.conformance import check
from baselines.diffusion import Process
from baselines.methods import disdiff
from baselines.methods.ddim import DDIM, DDIMConfig
from baselines.methods.disdiff import DisDiff, DisDiffConfig
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
TIMES = torch.tensor([0, 10, 400, 999])


def config(**options: object) -> DisDiffConfig:
    return dataclasses.replace(tiny_config("disdiff"), parts=2, latent_dim=4, **options)  # type: ignore[arg-type]


def small(**options: object) -> DisDiff:
    return stirred(fresh(DisDiff, config(**options)))


class Released(Process):
    """The process of latent diffusion models, which the authors build on."""

    betas = np.linspace(0.0015**0.5, 0.0155**0.5, 1000) ** 2  # type: ignore[assignment]


@pytest.mark.golden
def test_coefficients_are_the_released_ones():
    golden = json.loads((GOLDEN / "systems" / "losses.json").read_text())["disdiff_coefs"]
    process = Released("linear", tuple(range(1000)))
    for name, table in zip(("shift_coef_at", "ddim_coef_at"), disdiff.coefficients(process), strict=True):
        for t, value in golden[name].items():
            assert table[int(t)] == pytest.approx(value, rel=1e-5, abs=1e-9)


@torch.no_grad()
def test_every_part_has_a_field_of_its_own():
    model = small()
    z = model.encode(X)
    eps, G = model.decoder.fields(X, TIMES, z)
    assert G.shape == (4, 2, 3, 8, 8)
    other = torch.cat([z[:, :2], z[:, 2:].flip(0)], 1)
    _, moved = model.decoder.fields(X, TIMES, other)
    torch.testing.assert_close(moved[:, 0], G[:, 0])
    assert (moved[:, 1] - G[:, 1]).abs().amax((1, 2, 3)).min() > 1e-4
    twice, total = model.decoder(X, TIMES, z)
    assert torch.equal(twice, eps)
    torch.testing.assert_close(total, G.sum(1))
    same = torch.cat([z[:, :2], z[:, :2]], 1)  # parts that hold the same are told apart by their embedding
    _, G = model.decoder.fields(X, TIMES, same)
    assert (G[:, 0] - G[:, 1]).abs().max() > 1e-4
    identities = model.decoder.identities()
    torch.testing.assert_close(identities @ identities.T, torch.eye(2))


def test_disentangling_loss_is_the_printed_one():
    """Image by image; its gradient is in x^c alone, not in the encoder."""
    model = small()
    without, with_part = X, (0.8 * X.flip(2)).requires_grad_()
    z, c = model.encode(X.flip(0)), torch.tensor([0, 1, 1, 0])
    found = disdiff.disentangling(model, without, with_part, z, c)
    for i in range(4):
        a, b = model.encode(without)[i].view(2, 2), model.encode(with_part.detach())[i].view(2, 2)
        near = (a - z[i].view(2, 2)).norm(dim=1) - (b - z[i].view(2, 2)).norm(dim=1)
        moved = (a - b).norm(dim=1)
        expected = -near.log_softmax(0)[c[i]] - moved.log_softmax(0)[c[i]]
        expected = expected * (without[i] - with_part[i]).square().mean()
        torch.testing.assert_close(found[i], expected.detach(), check_stride=False)
    found.sum().backward()
    assert with_part.grad is not None
    assert with_part.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def test_loss_has_both_terms():
    """An L1 error of noise, and with a weight what tells parts apart."""
    bare, model = small(weight=0.0), small(weight=2.0)
    first, second = (disdiff.loss(m, X, torch.Generator().manual_seed(1)) for m in (bare, model))
    assert torch.equal(first.mse, second.mse)
    assert (first.loss <= first.mse.sqrt()).all()
    assert (second.loss > first.loss).all()
    names = {name.split(".")[0] for name in gradients(model, disdiff.loss, X)}
    assert names == {"encoder", "decoder"}


def test_loss_falls_on_a_frozen_model_and_z_is_used():
    plain = stirred(fresh(DDIM, DDIMConfig(8, tiny().unet)))
    model = DisDiff.on_pretrained(plain, config(), 3, name="small")
    before = {key: value.clone() for key, value in plain.network.state_dict().items()}
    assert not model.decoder.fields(X, TIMES, model.encode(X))[1].any()  # a fresh one shifts nothing
    losses = losses_of_training(model, disdiff.loss, steps=15)
    assert losses[-1] < losses[0] - 0.02
    assert all(torch.equal(model.decoder.state_dict()[key], value) for key, value in before.items())
    z, sampler = model.encode(X), SamplerConfig("ddim", nfe=3)
    images = [model.decode(code, x_T=X, sampler=sampler).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().amax((1, 2, 3)).min() > 1e-4


def test_it_is_a_model_that_benchmarks_can_use():
    check(small(), nfe=2)


def test_what_is_impossible_is_refused():
    for options, message in (
        ({"parts": 3}, "--latent-dim: expected a multiple of 3, the number of parts, found 4"),
        ({"parts": 0}, "--parts: expected 1 to 16, found 0"),
        ({"weight": -1.0}, "--weight: expected 0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(config(), **options)
