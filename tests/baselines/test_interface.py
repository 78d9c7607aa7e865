"""What is known of a model that no file holds, and that a file is read once."""

import hashlib
from types import SimpleNamespace

import pytest
import safetensors
import torch
from stand_ins import TinyModel

from baselines import load as loading
from baselines.interface import LoadedModel, weights_digest
from baselines.load import load


class Shifted(TinyModel):
    """The same weights, other code."""

    def posterior(self, x):
        mean, sigma = super().posterior(x)
        return mean + 1, sigma


class NoModule:
    """Satisfies the protocol, and is no torch module."""

    samplers, endpoints, encode_nfe, name, image_size, latent_dim = (), (), 0, "plain", 8, 2

    def __init__(self, factor):
        self.factor = factor

    def posterior(self, x):
        return self.factor * x.flatten(1)[:, :2] + 1, None

    def encode(self, x, *, noise=None):
        return self.posterior(x)[0]

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        return SimpleNamespace(images=torch.zeros(len(z), 3, 8, 8), nfe=1)


def test_an_object_is_told_apart_by_weights_and_by_what_it_computes():
    mine = LoadedModel.of(TinyModel(1))
    assert mine.sha256 == LoadedModel.of(TinyModel(1)).sha256
    assert len({mine.sha256, LoadedModel.of(TinyModel(2)).sha256, LoadedModel.of(Shifted(1)).sha256}) == 3
    assert weights_digest(TinyModel(1)) == weights_digest(Shifted(1))
    assert mine.name == "tiny"
    assert mine.path is mine.untrained is mine.prior is None
    with pytest.raises(ValueError, match="no file"):
        _ = mine.file


class Decodes(NoModule):
    """Decodes z to noise around `scale` times its mean."""

    samplers, endpoints = ("ddim",), ("random",)

    def __init__(self, factor=1.0, scale=1.0, noisy=False, fails=False):
        super().__init__(factor)
        self.scale, self.noisy, self.fails = scale, noisy, fails

    def posterior(self, x):
        return self.factor * x.flatten(1)[:, :2], None

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        if self.fails:
            raise RuntimeError("no")
        x = self.scale * z.mean() * torch.ones(len(z), 3, 8, 8) + noise.normal((len(z), 3, 8, 8))
        return SimpleNamespace(images=x + torch.randn(1) if self.noisy else x, nfe=sampler.nfe)


def test_an_object_of_other_scale_or_with_another_decoder_is_another():
    kinds = [Decodes(), Decodes(scale=3.0), Decodes(scale=0.0), Decodes(2.0, scale=0.0), Decodes(noisy=True)]
    assert len({LoadedModel.of(kind).sha256 for kind in kinds}) == 5
    before = torch.random.get_rng_state()
    for kind in kinds:
        assert LoadedModel.of(kind).sha256 == LoadedModel.of(kind).sha256
    assert torch.equal(before, torch.random.get_rng_state())
    assert LoadedModel.of(Decodes(fails=True)).sha256 == LoadedModel.of(Decodes(noisy=True)).sha256


def test_an_object_need_be_no_module():
    one, other = LoadedModel.of(NoModule(1.0), name="one"), LoadedModel.of(NoModule(2.0), name="one")
    assert one.name == "one"
    assert one.sha256 != other.sha256


def test_an_object_that_inverts_is_not_run():
    class Costly(NoModule):
        encode_nfe = 100

        def posterior(self, x):
            raise AssertionError("evaluated")

    assert LoadedModel.of(Costly(1.0)).sha256 == hashlib.sha256(b"plain").hexdigest()


def test_a_file_is_parsed_once_and_hashed_once(monkeypatch):
    opened = []
    monkeypatch.setattr(
        "dbae.checkpoints.own.safe_open", lambda path, **k: (opened.append(path), safetensors.safe_open(path, **k))[1]
    )
    monkeypatch.setattr(loading, "sha256", lambda path: (opened.append("hash"), "ab" * 32)[1])
    loaded = load("builtin:dbae")
    assert opened == [loaded.file, "hash"]
