"""Directions of attributes, and images that are changed along them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import saved
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from small_model import small_card, small_model
from stand_ins import FakeLoaded, Squares, TinyModel

from baselines.editing import manipulate
from baselines.interface import Statistics
from baselines.load import load
from benchmarks.figures import directions
from benchmarks.figures.directions import CELEBA, Direction
from benchmarks.figures.manipulate import Manipulate
from dbae.checkpoints import own as checkpoint
from dbae.data.named import read_images
from dbae.images import to_float, to_uint8
from dbae.latents import LatentCache
from dbae.samplers import OwnSampler, SamplerConfig
from dbae.support.errors import UserError

FOUR = OwnSampler(nfe=4)


@pytest.fixture
def cache(tmp_path):
    return LatentCache(tmp_path / "cache", torch.device("cpu"))


def standardised(model, data, part, train):
    """z of images `part`, standardised as images `train` have it."""
    with torch.no_grad():
        z, known = (model.encode(to_float(data.batch(indices))).double() for indices in (part, train))
    return ((z - known.mean(0)) / known.std(0, correction=0)).numpy()


def test_a_trained_direction_is_that_of_scikit_learn(cache):
    data, loaded = Squares(300), FakeLoaded(TinyModel())
    found = directions.train(loaded, data, "Red", cache)
    train, test = data.splits["train"], data.splits["test"]
    labels = data.attributes.binary[:, 0]
    expected = LogisticRegression(max_iter=1000).fit(standardised(loaded.model, data, train, train), labels[train])
    np.testing.assert_allclose(found.weight, expected.coef_[0], rtol=0, atol=1e-3)
    scores = expected.decision_function(standardised(loaded.model, data, test, train))
    ap = average_precision_score(labels[test], scores)
    assert f"from 180 images of squares; AP {ap:.3f} (by chance {labels[test].mean():.3f}) on 60 others" in found.about
    assert ap > labels[test].mean() + 0.1


def test_a_direction_of_numbers_is_that_of_ridge_regression(cache):
    data, loaded = Squares(300), FakeLoaded(TinyModel())
    found = directions.train(loaded, data, "light", cache, limit=100)
    train = data.splits["train"][:100]
    light = data.attributes.continuous[train, 2]
    expected = Ridge().fit(standardised(loaded.model, data, train, train), (light - light.mean()) / light.std()).coef_
    np.testing.assert_allclose(found.weight, expected, rtol=0, atol=1e-3)
    assert "light: from 100 images of squares; r 0." in found.about


def test_attributes_that_cannot_be_learned_are_named(cache):
    data, loaded = Squares(60), FakeLoaded(TinyModel())
    with pytest.raises(UserError, match="--attribute Young: expected one of squares, which has Red, Bright, green"):
        directions.train(loaded, data, "Young", cache)
    data.attributes.binary[data.splits["test"]] = 0
    assert "AP n/a, for none has it, on 12 others" in directions.train(loaded, data, "Red", cache).about
    data.attributes.continuous[data.splits["test"]] = 1
    assert "r n/a, for all are one, on 12 others" in directions.train(loaded, data, "light", cache).about
    data.attributes.binary[:] = 1
    with pytest.raises(UserError, match="Red: expected different labels among the 36 training images"):
        directions.train(loaded, data, "Red", cache)


def test_a_direction_is_kept_for_its_model_alone(tmp_path):
    kept = Direction(torch.randn(4), torch.randn(4), torch.rand(4), "Red", "Red: from 3 images.")
    loaded = FakeLoaded(TinyModel())
    directions.save(kept, tmp_path / "d.npz", loaded.sha256)
    found = directions.load(tmp_path / "d.npz", loaded)
    assert (found.attribute, found.about) == ("Red", "Red: from 3 images.")
    assert all(torch.equal(getattr(found, name), getattr(kept, name)) for name in ("weight", "mean", "std"))
    with pytest.raises(UserError, match="expected a direction in the z of tiny, found one of checkpoint abababababab"):
        directions.load(tmp_path / "d.npz", FakeLoaded(TinyModel(), sha256="cd" * 32))
    with pytest.raises(UserError, match="expected what --save-direction wrote, found none"):
        directions.load(tmp_path / "e.npz", loaded)


def test_published_classifiers_give_their_rows(tmp_path):
    weight, bias, mean, std = torch.randn(40, 4), torch.zeros(40), torch.randn(1, 4), torch.rand(1, 4)
    model = {"classifier.weight": weight, "classifier.bias": bias}
    ema = {f"ema_{key}": value * 0 for key, value in model.items()}
    torch.save({"state_dict": {"conds_mean": mean, "conds_std": std, **model, **ema}}, tmp_path / "last.ckpt")
    torch.save({"weight": weight, "bias": bias}, tmp_path / "best.pt")
    loaded = FakeLoaded(TinyModel())
    found = directions.of_classifier(str(tmp_path / "last.ckpt"), "Smiling", loaded)
    assert CELEBA[31] == "Smiling"
    assert torch.equal(found.weight, weight[31])
    assert torch.equal(found.mean, mean[0])
    assert torch.equal(found.std, std[0])
    assert found.about == "Smiling: of the classifier last.ckpt, standardised."
    found = directions.of_classifier(str(tmp_path / "best.pt"), "Young", loaded)
    assert torch.equal(found.weight, weight[39])
    assert torch.equal(found.std, torch.ones(4))
    assert found.about == "Young: of the classifier best.pt, not standardised."
    beside = FakeLoaded(TinyModel(), statistics=Statistics(mean[0], std[0]))
    assert torch.equal(directions.of_classifier(str(tmp_path / "best.pt"), "Male", beside).std, std[0])
    for attribute, model in (("age", loaded), ("Male", FakeLoaded(TinyModel(latent_dim=5)))):
        with pytest.raises(UserError, match="expected a classifier of CelebA's 40 attributes over the"):
            directions.of_classifier(str(tmp_path / "best.pt"), attribute, model)


def test_a_direction_replaces_directions_alone(tmp_path):
    kept = Direction(torch.randn(4), torch.randn(4), torch.rand(4), "Red", "Red: from 3 images.")
    directions.require_free(tmp_path / "d.npz")
    directions.save(kept, tmp_path / "d.npz", "ab" * 32)
    directions.require_free(tmp_path / "d.npz")
    np.savez(tmp_path / "z.npz", z=np.ones(3))
    (tmp_path / "text.npz").write_text("mine")
    for name, message in (("z.npz", "found another"), ("text.npz", "found another"), ("d.pt", "ends in .npz")):
        figure = Manipulate(out=tmp_path / "a.png", save_direction=tmp_path / name, ckpt="none.pt")
        with pytest.raises(UserError, match=f"--save-direction .*{name}: expected .*{message}"):
            figure.sheets(load)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": (0.0, float("nan"))}, "--strengths: expected finite numbers, found 0.0, nan"),
        ({"strengths": ()}, "--strengths: expected finite numbers, found none"),
        ({"limit": -1}, "--limit: expected 2 or more, found -1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        Manipulate(out=tmp_path / "a.png", **options)


@pytest.fixture
def labelled(tmp_path):
    """A folder of forty labelled images."""
    data = Squares(40)
    (tmp_path / "data").mkdir()
    for i in range(len(data)):
        Image.fromarray(data.image(i)).save(tmp_path / "data" / f"{i:02d}.png")
    with open(tmp_path / "data" / "labels.csv", "w", newline="") as file:
        rows = [(f"{i:02d}.png", int(red)) for i, red in enumerate(data.attributes.binary[:, 0])]
        csv.writer(file).writerows([("file", "Red"), *rows])
    return tmp_path


def drawn(labelled, key, **options):
    images = (str(labelled / "data" / "00.png"), str(labelled / "data" / "01.png"))
    options = {"attribute": ("Red",), "data": f"folder:{labelled / 'data'}", "strengths": (-1.0, 0.0, 1.0)} | options
    path = saved(labelled, key)
    common = {"out": labelled / "a.png", "ckpt": str(path), "image": images, "sampler": FOUR, "device": "cpu"}
    (sheet,) = Manipulate(**common, encode_steps=4, **options).sheets(load)
    return sheet, load(path).model


def test_a_model_of_noise_keeps_its_x_T(labelled):
    sheet, model = drawn(labelled, "diffae", save_direction=labelled / "red.npz")
    assert [list(block.rows) for block in sheet.blocks] == [["x_T kept"]] * 2
    assert sheet.blocks[1].headings == ["01.png", "Red -1", "Red 0", "Red +1"]
    found = directions.load(labelled / "red.npz", load(labelled / "diffae.safetensors"))
    x = to_float(Squares(40).batch([0, 1]))
    z = model.encode(x)
    x_T = model.infer_endpoint(x, z, steps=4)[0]
    for place, strength in enumerate((-1.0, 0.0, 1.0)):
        changed = manipulate(z, found.weight, strength, mean=found.mean, std=found.std)
        expected = to_uint8(model.decode(changed, x_T=x_T, sampler=SamplerConfig("ddim", nfe=4)).images)
        for block, image in zip(sheet.blocks, expected, strict=True):
            shown = block.rows["x_T kept"][place + 1]
            assert np.abs(shown.numpy().astype(int) - image.numpy()).max() <= 1
    with pytest.raises(UserError, match=r"--attribute Young: expected Red, which .*red.npz is a direction of"):
        drawn(labelled, "diffae", direction=str(labelled / "red.npz"), attribute=("Young",))
    again, _ = drawn(labelled, "diffae", direction=str(labelled / "red.npz"))
    assert torch.equal(again.blocks[0].rows["x_T kept"][-1], sheet.blocks[0].rows["x_T kept"][-1])


def test_a_model_without_x_T_has_one_row(labelled):
    sheet, _ = drawn(labelled, "vae")
    assert [list(block.rows) for block in sheet.blocks] == [["image"]] * 2
    assert sheet.notes[0].startswith("Red: from 32 images of data; AP ")


def test_a_plain_diffusion_model_is_refused(labelled):
    with pytest.raises(UserError, match="its z is x_T itself"):
        drawn(labelled, "ddim")


def test_a_bridge_shows_x_T_kept_and_x_T_of_the_changed_z(labelled):
    model = small_model()
    path = labelled / "dbae.safetensors"
    checkpoint.save(path, small_card(model, images_seen=1), ema=model.state_dict())
    loaded = load(path)
    kept = Direction(torch.arange(4.0), torch.ones(4), torch.full((4,), 0.5), "Red", "Red: told.")
    directions.save(kept, labelled / "red.npz", loaded.sha256)
    images = (str(labelled / "data" / "00.png"),)
    common = {"out": labelled / "a.png", "ckpt": str(path), "image": images, "sampler": FOUR, "device": "cpu"}
    (sheet,) = Manipulate(**common, direction=str(labelled / "red.npz"), strengths=(2.0,)).sheets(load)
    x = read_images(*images, size=16)
    z = loaded.model.encode(x)
    changed = manipulate(z, kept.weight, 2.0, mean=kept.mean, std=kept.std)
    with torch.no_grad():
        ends = {"x_T kept": loaded.model.endpoint(z), "x_T of z'": loaded.model.endpoint(changed)}
    assert list(sheet.blocks[0].rows) == list(ends)
    for label, x_T in ends.items():
        expected = to_uint8(loaded.model.decode(changed, x_T=x_T, sampler=SamplerConfig("ddbm_euler", nfe=4)).images)
        assert np.abs(sheet.blocks[0].rows[label][1].numpy().astype(int) - expected[0].numpy()).max() <= 1
    assert (sheet.blocks[0].rows["x_T kept"][1] != sheet.blocks[0].rows["x_T of z'"][1]).any()
