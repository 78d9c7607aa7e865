"""`ReprEncoder` does what scikit-learn asks of a transformer."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from saved_models import saved
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_model import Pixels, small_model
from stand_ins import Squares

from baselines.interface import LoadedModel
from baselines.load import load
from baselines.transformer import ReprEncoder
from dbae.data.named import read_images
from dbae.images import to_float
from dbae.support.errors import UserError


def pixels(data):
    return np.stack([data.image(i) for i in range(len(data))])


def test_z_of_an_array_is_the_models(tmp_path):
    path, images = saved(tmp_path, "diffae"), pixels(Pixels(7, 8))
    found = ReprEncoder(path, batch_size=3, device="cpu").fit(images).transform(images)
    expected = load(path).model.encode(to_float(torch.from_numpy(images).permute(0, 3, 1, 2)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("crop", ["centre", "whole"])
def test_files_and_arrays_of_any_size_are_one(tmp_path, crop):
    images = np.random.default_rng(0).integers(0, 256, (4, 30, 20, 3), np.uint8)
    names = [tmp_path / f"{i}.png" for i in range(4)]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(name)
    encoder = ReprEncoder(small_model().eval(), crop=crop, device="cpu").fit(names)
    expected = small_model().eval().encode(read_images(str(tmp_path), size=16, crop=crop))
    text = [str(name) for name in names]
    for given in (names, text, np.array(text), pandas.Series(text, index=[7, 5, 3, 1]), images):
        np.testing.assert_allclose(encoder.transform(given), expected.numpy(), rtol=0, atol=1e-6)
    assert encoder.transform([]).shape == (0, 4)
    with pytest.raises(UserError, match="expected the names of 1 image files, found 4 images"):
        encoder.transform([tmp_path])


def test_clone_and_parameters(tmp_path):
    encoder = ReprEncoder(saved(tmp_path, "vae"), crop="top", device="cpu")
    other = clone(encoder.fit([]))
    assert other.get_params() == encoder.get_params()
    assert not hasattr(other, "model_")
    with pytest.raises(NotFittedError):
        other.transform([])
    assert other.set_params(crop="whole", batch_size=2).crop == "whole"
    assert encoder.crop == "top"
    images = pixels(Pixels(3, 8))
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(images), encoder.transform(images))


def test_a_model_that_is_loaded_already_serves():
    model, images = small_model().eval(), pixels(Pixels(3))
    first = ReprEncoder(LoadedModel.of(model), device="cpu").fit(images).transform(images)
    np.testing.assert_array_equal(first, ReprEncoder(model, device="cpu").fit_transform(images))
    with pytest.raises(UserError, match="expected a model with the attributes and methods"):
        ReprEncoder(object()).fit(images)


def test_in_a_pipeline_it_is_classified(tmp_path):
    data = Squares(80, 8)
    images, labels = pixels(data), data.attributes.binary[:, 0]
    pipeline = make_pipeline(ReprEncoder(saved(tmp_path, "ae"), device="cpu"), StandardScaler(), LogisticRegression())
    right = (cross_val_predict(pipeline, images, labels, cv=2) == labels).mean()
    assert right > max(labels.mean(), 1 - labels.mean()) + 0.1
    pipeline.set_output(transform="pandas").fit(images, labels)
    assert list(pipeline[:-1].transform(images).columns) == ["z0", "z1", "z2", "z3"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.zeros((2, 8, 8, 3)), r"float64 \(2, 8, 8, 3\)"),
        (np.zeros((2, 8, 8), np.uint8), "uint8"),
        ("a.png", "str"),
        (Path("a.png"), "PosixPath"),
        ([np.zeros((8, 8, 3), np.uint8)], "list of ndarray"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "Tensor"),
        (pandas.DataFrame({"file": ["a.png"]}), "DataFrame"),
        ((name for name in ["a.png"]), "generator"),
    ],
)
def test_what_is_neither_images_nor_names_is_refused(given, found):
    with pytest.raises(UserError, match=rf"expected images as uint8 \(n, height, width, 3\) or names .*found {found}"):
        ReprEncoder(small_model(), device="cpu").fit_transform(given)


@pytest.mark.parametrize(
    "option",
    [{"batch_size": 0}, {"batch_size": -1}, {"batch_size": 2.5}, {"batch_size": True}, {"device": 0}]
    + [{name: "center"} for name in ("crop", "exif", "precision")],
)
def test_options_out_of_range_are_refused(option):
    encoder = ReprEncoder(small_model(), device="cpu").fit([]).set_params(**option)
    for use in (encoder.fit, encoder.transform):
        with pytest.raises(UserError, match=f"^{next(iter(option))}: expected .*, found "):
            use([])
