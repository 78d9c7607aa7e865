"""Images named one by one: what is found, what they are called, and how they are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from image_samples import celeba_members, picture, png, write_folder, write_zip
from PIL import Image

from dbae.data.files.folder import open_folder
from dbae.data.named import open_images, read_batches, read_images
from dbae.support.errors import UserError

SIZE = 16


@pytest.fixture
def folder(tmp_path):
    """Seven images in all the ways they can lie."""
    write_folder(tmp_path / "a", {f"{i}.png": png(picture(i)) for i in range(2)})
    write_zip(tmp_path / "b.zip", {f"in/{i}.png": png(picture(i)) for i in range(2, 4)})
    write_folder(tmp_path, {f"{i}.png": png(picture(i)) for i in range(4, 7)})
    return tmp_path


def test_everything_in_the_order_given(folder):
    named = ["5.png", "b.zip", "a", "[46].png", "b.zip?n=1", "faces:?n=2"]
    data = open_images([s if s.startswith("faces") else str(folder / s) for s in named], size=SIZE)
    expected = [picture(i) for i in (5, 2, 3, 0, 1, 4, 6, 2)]
    assert len(data) == 10
    for i, pixels in enumerate(expected):
        np.testing.assert_array_equal(data.image(i), pixels)
    labels = [data.label(i).removeprefix(f"{folder}/") for i in range(10)]
    assert labels[:5] == ["5.png", "b.zip:in/2.png", "b.zip:in/3.png", "a/0.png", "a/1.png"]
    assert labels[5:] == ["4.png", "6.png", "b.zip:in/2.png", "faces-v1:0", "faces-v1:1"]
    assert data.image(9).shape == (SIZE, SIZE, 3)
    assert len(data.fingerprint) == 64


def test_label_of_a_split_is_that_of_the_file(tmp_path):
    write_zip(tmp_path / "c.zip", celeba_members())
    data = open_images([f"{tmp_path}/c.zip?split=val"], size=SIZE)
    whole = open_images([f"{tmp_path}/c.zip"], size=SIZE)
    at = [whole.label(i) for i in range(len(whole))].index(data.label(0))
    assert at >= 3
    np.testing.assert_array_equal(data.image(0), whole.image(at))


@pytest.mark.parametrize(("width", "height"), [(40, 16), (16, 40), (41, 20), (16, 16), (3, 5)])
def test_crops(tmp_path, width, height):
    pixels = picture(0, width, height)
    (tmp_path / "x.png").write_bytes(png(pixels))
    short = min(width, height)

    def cut(crop):
        return open_images([str(tmp_path / "x.png")], size=SIZE, crop=crop).image(0)

    def resized(array):
        return np.asarray(Image.fromarray(array).resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    left, upper = (width - short) // 2, (height - short) // 2
    np.testing.assert_array_equal(cut("centre"), resized(pixels[upper : upper + short, left : left + short]))
    np.testing.assert_array_equal(cut("top"), resized(pixels[:short, left : left + short]))
    long = max(width, height)
    padded = np.zeros((long, long, 3), np.uint8)
    left, upper = (long - width) // 2, (long - height) // 2
    padded[upper : upper + height, left : left + width] = pixels
    np.testing.assert_array_equal(cut("whole"), resized(padded))


def test_crop_reaches_folders_zips_and_their_parts(tmp_path):
    write_folder(tmp_path / "a", {f"{i}.png": png(picture(i, 16, 24)) for i in range(2)})
    write_zip(tmp_path / "b.zip", {f"{i}.png": png(picture(i, 16, 24)) for i in range(2)})
    for source in ("a", "b.zip", "a?n=1", "a/0.png"):
        data = open_images([str(tmp_path / source)], size=SIZE, crop="top")
        np.testing.assert_array_equal(data.image(0), picture(0, 16, 24)[:16])


def test_conversions_are_those_of_the_reader(tmp_path):
    """Grey, alpha, 16 bits and EXIF: a file named alone gives the pixels that its folder gives."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 256, (20, 30, 4), np.uint8)).save(tmp_path / "alpha.png")
    Image.fromarray(rng.integers(0, 65536, (30, 20), np.uint16)).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(picture(0, 24, 24)).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    whole = open_folder(tmp_path, size=SIZE)
    for i, name in enumerate(whole.image_names):
        np.testing.assert_array_equal(open_images([str(tmp_path / name)], size=SIZE).image(0), whole.image(i))


def test_read_images(folder):
    x = read_images(str(folder / "a"), str(folder / "5.png"), size=SIZE)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x[2].permute(1, 2, 0).numpy(), picture(5) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", r"missing\.jpg: expected an image file, found nothing"),
        ("*.gif", r"\*\.gif: expected images, found no file that matches"),
        ("nowhere", r"nowhere: expected an existing zip, folder or LMDB, or one of the kinds"),
        ("a?size=8", r"expected images of the model's 16 pixels, found size=8"),
    ],
)
def test_nothing_under_a_name(folder, source, message):
    with pytest.raises(UserError, match=message):
        open_images([str(folder / source)], size=SIZE)


def test_nothing_named():
    with pytest.raises(UserError, match="expected images: files"):
        open_images([], size=SIZE)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_reported_or_raised(folder, workers):
    (folder / "5.png").write_bytes(b"no image")
    data = open_images([str(folder / f"{i}.png") for i in (4, 5, 6)], size=SIZE)
    parts = [np.array([0, 1]), np.array([2])]
    first, second = read_batches(data, parts, skip_broken=True, workers=workers)
    assert first.indices.tolist() == [0]
    assert list(first.broken) == [1]
    assert "5.png: expected an image" in first.broken[1]
    assert (second.indices.tolist(), second.broken) == ([2], {})
    read = itertools.chain(first.images, second.images)
    for i, image in zip((4, 6), read, strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), picture(i))
    with pytest.raises(UserError, match=r"5\.png: expected an image"):
        list(read_batches(data, parts, workers=workers))


def test_contents_follow_names_and_pixels(folder):
    named = [str(folder / "5.png"), str(folder / "a"), str(folder / "b.zip"), "faces:?n=1"]
    first = open_images(named, size=SIZE).contents()
    assert open_images(named, size=SIZE).contents() == first
    (folder / "5.png").write_bytes(png(picture(9)))
    second = open_images(named, size=SIZE).contents()
    (folder / "5.png").write_bytes(b"no image")
    third = open_images(named, size=SIZE).contents()
    (folder / "a" / "0.png").unlink()
    (folder / "a" / "0.png").symlink_to("nowhere")  # cannot be read
    fourth = open_images(named, size=SIZE).contents()
    assert len({first, second, third, fourth, open_images(named[1:], size=SIZE).contents()}) == 5
