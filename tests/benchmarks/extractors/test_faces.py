"""The extractor that comes with the package: what its file holds, and whether its distances rank sets of faces."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks import train_facefeatures
from benchmarks.extractors.faces import DIM, NAME, WEIGHTS, FaceExtractor, load_facefeatures
from benchmarks.extractors.features import FeatureExtractor, load_extractors
from benchmarks.metrics.frechet import frechet_distance
from benchmarks.metrics.precision_recall import neighbours
from dbae.data.faces import Faces
from dbae.support.errors import UserError
from dbae.support.files import sha256

SHA256 = "b22bfb1282597e6f3dbec742fc4f269724be4702caf3f4ec6028f67c93e84d39"
"""Of the weights that the name "faces" stands for: other weights get another name (`benchmarks.extractors.faces`)."""


@pytest.fixture(scope="module")
def extractor() -> FaceExtractor:
    return load_facefeatures()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """600 faces of 64 pixels of a population that the extractor was not trained on."""
    return Faces(600, 64, 7).batch(range(600))


@pytest.fixture(scope="module")
def features(extractor, pictures):
    return extractor(pictures)


def test_weights_are_those_that_the_name_stands_for():
    assert NAME == "faces"
    assert sha256(WEIGHTS) == SHA256
    assert WEIGHTS.stat().st_size < 2e6


def test_file_says_how_it_was_made():
    with safe_open(WEIGHTS, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["data"] == Faces(20000, 64, 1).fingerprint
    defaults = train_facefeatures.Options()
    assert {name: about[name] for name in ("steps", "batch_size", "lr", "seed")} == {
        name: getattr(defaults, name) for name in ("steps", "batch_size", "lr", "seed")
    }


def test_it_is_a_feature_extractor(extractor, features):
    assert isinstance(extractor, FeatureExtractor)
    assert features.shape == (600, DIM) == (600, extractor.dim)
    assert extractor.fingerprint == SHA256
    assert extractor.head is None


def test_features_are_standardised_over_such_faces(features):
    assert features.mean(dim=0).abs().max() < 0.5
    assert 0.6 < float(features.std(dim=0).mean()) < 1.4


def test_it_predicts_attributes_of_people_it_has_not_seen(extractor, pictures):
    from benchmarks.metrics.prediction import average_precision, pearson

    labels = Faces(600, 64, 7).attributes
    with torch.inference_mode():
        found = extractor.network(pictures.float() / 127.5 - 1).numpy()
    k = len(labels.binary_names)
    assert average_precision(labels.binary, found[:, :k]).mean() > 0.8
    assert pearson(labels.continuous, found[:, k:]).mean() > 0.8


def test_features_do_not_depend_on_the_batch(extractor, pictures, features):
    parts = torch.cat([extractor(part) for part in pictures[:50].split(7)])
    torch.testing.assert_close(parts, features[:50], rtol=1e-4, atol=1e-5)


def test_images_of_32_pixels_are_seen_as_the_same_people(extractor, features):
    features = features[:200]
    small = extractor(Faces(200, 32, 7).batch(range(200)))
    own = (small - features).norm(dim=1)
    others = (small - features.roll(1, 0)).norm(dim=1)
    assert (own < others).float().mean() > 0.97


def worse(kind: str, images: torch.Tensor) -> torch.Tensor:
    if kind == "noise":
        noise = torch.from_numpy(np.random.default_rng(0).normal(0, 20, images.shape))
        return (images + noise).clamp(0, 255).round().to(torch.uint8)
    if kind == "blur":
        small = torch.nn.functional.avg_pool2d(images.float(), 4)
        return torch.nn.functional.interpolate(small, scale_factor=4.0, mode="bilinear").round().to(torch.uint8)
    if kind == "collapse":
        return images[:20].repeat(15, 1, 1, 1)
    return (images * 0.7).to(torch.uint8)


@pytest.mark.parametrize("kind", ["noise", "blur", "collapse", "dark"])
def test_what_is_worse_has_a_larger_distance(extractor, pictures, features, kind):
    floor = frechet_distance(real=features[:300], fake=features[300:])
    found = frechet_distance(real=features[:300], fake=extractor(worse(kind, pictures[300:])))
    assert found > 1.5 * floor


def test_mode_collapse_lowers_recall_and_not_precision(features):
    real, fake = features[:300], features[300:]
    fair = neighbours(real=real, fake=fake)
    jitter = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, (300, DIM))).float()
    collapsed = neighbours(real=real, fake=fake[:20].repeat(15, 1) + jitter)
    assert collapsed.recall < 0.1 < 0.5 < fair.recall
    assert collapsed.precision > fair.precision - 0.2


def test_extractors_of_a_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("DBAE_WEIGHTS_DIR", raising=False)
    assert [e.name for e in load_extractors()] == ["faces"]
    assert "which is no FID" in caplog.text
    assert "pt_inception-2015-12-05-6726825d.pth" in caplog.text
    assert [e.name for e in load_extractors(("faces",))] == ["faces"]
    with pytest.raises(UserError, match="no weights found"):
        load_extractors(("inception",))
    with pytest.raises(UserError, match="no such file"):
        load_extractors(inception_weights=tmp_path / "none.pth")


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"broken\.safetensors: expected the weights"):
        load_facefeatures(path)


def test_training_is_repeatable_and_leaves_the_global_generator_alone(tmp_path):
    dataset = Faces(80, 64, 1)
    options = train_facefeatures.Options(steps=3, batch_size=16)
    state = torch.get_rng_state()
    first, again = (train_facefeatures.train(options, dataset, dataset.attributes) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    other = train_facefeatures.train(dataclasses.replace(options, seed=1), dataset, dataset.attributes)
    assert not torch.equal(other.attributes.weight, first.attributes.weight)


def test_a_trained_file_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(train_facefeatures, "open_data", lambda source, size: Faces(60, size, 1))
    out = tmp_path / "trial.safetensors"
    train_facefeatures.main(train_facefeatures.Options(steps=2, batch_size=8, out=out))
    assert load_facefeatures(out).dim == DIM
    monkeypatch.setattr(train_facefeatures, "open_data", lambda source, size: Faces(60, 32, 1))
    with pytest.raises(UserError, match="64 pixels"):
        train_facefeatures.main(train_facefeatures.Options(steps=2, out=out))
