"""Every method has a distribution of z to generate from: one that is learned, or one that comes with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from saved_models import saved

from baselines.load import load, load_prior
from baselines.methods import METHODS
from benchmarks.generation.command import GenerationOptions, prior_of
from dbae.noise import PerImageNoise
from dbae.prior import LatentPrior, LatentSampling
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.train_prior import Args, train

INFERRED = {"ddim", "sb_vae"}
"""Methods whose z is found by an inversion, and is N(0, I)."""


def trained(path: Path, out: Path) -> Path:
    small = dict(preset="small", hidden=8, layers=2, codes=64, batch_size=16, device="cpu")
    return train(Args(data="faces:?n=8", out=out, ckpt=str(path), **small), load, "baselines.train_prior")


@pytest.mark.parametrize("method", [key for key in METHODS if key not in INFERRED])
def test_every_method_generates_from_a_learned_prior(tmp_path, method):
    path = saved(tmp_path, method)
    loaded = load(path)
    if not loaded.model.endpoints:
        with pytest.raises(UserError, match="expected a model that decodes z"):
            trained(path, tmp_path / "prior")
        return
    prior_path = trained(path, tmp_path / "prior")
    prior = prior_of(loaded, GenerationOptions(prior=str(prior_path), mode=("prior",)))
    assert isinstance(prior, LatentPrior)
    prior.sampling = LatentSampling(2)
    z = prior.sample(PerImageNoise(0, range(2)), 2).z
    assert z.shape == (2, loaded.model.latent_dim)
    sampler = loaded.model.samplers[0]
    settings = SamplerConfig(sampler, nfe=1 if sampler == "one_step" else 4)
    made = loaded.model.decode(z, sampler=settings, noise=PerImageNoise(0, range(2)))
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("method", sorted(INFERRED))
def test_noise_needs_no_prior(tmp_path, method):
    path = saved(tmp_path, method)
    with pytest.raises(UserError, match="z is the noise that it makes an image of"):
        trained(path, tmp_path / "prior")
    prior = load(path).prior
    assert prior is not None
    assert prior.sample(PerImageNoise(0, range(2)), 2).z.shape == (2, prior.latent_dim)


def test_methods_that_are_generative_have_n01_too(tmp_path, caplog):
    """And keep it beside a prior of another model."""
    other = trained(saved(tmp_path, "diffae"), tmp_path / "prior")
    for method in ("vae", "beta_vae", "beta_tcvae", "info_vae", "infodiffusion", "sami"):
        loaded = load(saved(tmp_path, method))
        z = loaded.prior.sample(PerImageNoise(0, range(500)), 500).z
        assert float(z.std()) == pytest.approx(1, abs=0.05)
        assert prior_of(loaded, GenerationOptions(prior=str(other), mode=("prior",))) is loaded.prior
        assert f"{loaded.name}: --prior {other} is of another autoencoder" in caplog.text
    with pytest.raises(UserError, match="the prior of another autoencoder"):
        load_prior(other, of=load(saved(tmp_path, "drl")))
