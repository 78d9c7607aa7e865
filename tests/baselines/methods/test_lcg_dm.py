"""LCG-DM: DiffAE under the code of a frozen VAE."""

from __future__ import annotations

import pytest
import torch
from systems import fresh, gradients, losses_of_training, plain_images, stirred, tiny

from baselines.conformance import check
from baselines.interface import LoadedModel
from baselines.methods import diffae, vae
from baselines.methods.diffae import DiffAE
from baselines.methods.lcg_dm import LCGDM, METHOD, LCGDMConfig, LCGDMOptions
from baselines.methods.vae import VAE, config_of
from baselines.methods.vae.ae import AE
from baselines.options import in_sizes
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
NOISE = X.flip(0)


def small_vae(family: vae.Family = "beta_tcvae", kind: type[VAE] = VAE) -> VAE:
    return stirred(fresh(kind, config_of(family, tiny()), 5))


def on(model: VAE, method: str = "beta-TCVAE") -> LCGDM:
    """A fresh one on a VAE."""
    loaded = LoadedModel.of(model, method=method)
    config = in_sizes(LCGDMConfig, tiny())
    return LCGDMOptions("vae.safetensors").built(METHOD, config, 0, "small", lambda _: loaded).model


def test_z_is_the_mean_of_the_vae_and_stays_it():
    theirs = small_vae()
    model = on(theirs)
    losses_of_training(model, METHOD.loss, steps=2)
    assert torch.equal(model.encode(X), theirs.encode(X))
    assert not any(module.training for module in model.train().encoder.modules())
    assert {name.split(".")[0] for name in gradients(model, METHOD.loss, X)} == {"network"}
    check(stirred(model))


def test_under_the_same_code_it_is_diffae():
    """Of a DiffAE whose encoder ends in the first half of the VAE's."""
    model = stirred(on(small_vae()))
    theirs = stirred(fresh(DiffAE, tiny()))
    theirs.network.load_state_dict(model.network.state_dict())
    halves = {"out.3.weight": 4, "out.3.bias": 4}
    theirs.encoder.load_state_dict({k: v[: halves.get(k, len(v))] for k, v in model.encoder.state_dict().items()})
    losses = [METHOD.loss(m, X, torch.Generator().manual_seed(1)).loss for m in (model, theirs)]
    torch.testing.assert_close(losses[0], losses[1])
    assert METHOD.loss is diffae.loss


def test_loss_falls_and_z_is_used():
    model = on(small_vae())
    losses = losses_of_training(model, METHOD.loss, steps=15)
    assert losses[-1] < losses[0] - 0.1
    z = model.encode(X)
    images = [model.decode(code, x_T=NOISE, sampler=SamplerConfig("ddim", nfe=4)).images for code in (z, z.flip(0))]
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_what_it_cannot_build_on_is_refused():
    with pytest.raises(UserError, match="--method lcg_dm: name the checkpoint of a VAE"):
        LCGDMOptions().built(METHOD, in_sizes(LCGDMConfig, tiny()), 0, "small", lambda _: LoadedModel.of(small_vae()))
    with pytest.raises(UserError, match=r"vae\.safetensors: expected a VAE of 8 px with a posterior, .* found AE of 8"):
        on(small_vae("ae", AE), "AE")
