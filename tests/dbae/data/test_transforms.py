"""Transforms against the reference programs' pixels: exact, since the resize is Pillow's in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dbae.data.transforms import CELEBA, CENTRED, LFW, SQUARE, Transform
from dbae.images import to_float

GOLDEN = Path(__file__).parents[2] / "golden" / "downstream" / "transforms.npz"
DIFFAE = Path(__file__).parents[2] / "golden" / "diffae" / "transforms.npz"
SOURCES = {"celeba": (60, (218, 178, 3)), "lfw": (61, (250, 250, 3)), "ffhq": (63, (256, 256, 3))}


def transformed(source: str, transform: Transform, size: int) -> np.ndarray:
    seed, shape = SOURCES[source]
    pixels = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    return np.asarray(transform.apply(Image.fromarray(pixels), size))


@pytest.mark.golden
@pytest.mark.parametrize(
    ("source", "transform", "size", "key", "stride"),
    [
        ("celeba", CELEBA, 64, "celeba64/x_0", 1),
        ("celeba", CELEBA, 128, "celeba128/x_0", 4),
        ("lfw", LFW, 64, "lfw64/x", 1),
        ("lfw", LFW, 128, "lfw128/x", 4),
        ("ffhq", SQUARE, 128, "ffhq128/x_s4", 4),
        ("ffhq", CENTRED, 128, "ffhq128/x_s4", 4),
    ],
)
def test_transform_matches_the_reference(source: str, transform: Transform, size: int, key: str, stride: int) -> None:
    pixels = transformed(source, transform, size)
    x = to_float(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])[0].numpy()
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(x[:, ::stride, ::stride], golden[key], rtol=0, atol=1e-6)
        stats = [x.mean(dtype=np.float64), x.std(dtype=np.float64), np.linalg.norm(x.astype(np.float64))]
        np.testing.assert_allclose(stats[0], golden[f"{key.split('/')[0]}/stats"][0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(stats[2], golden[f"{key.split('/')[0]}/stats"][2], rtol=1e-6)


@pytest.mark.golden
def test_celeba_pixels_are_exact() -> None:
    with np.load(GOLDEN) as golden:
        np.testing.assert_array_equal(transformed("celeba", CELEBA, 64), golden["celeba64/gt_uint8"])


def diffae_source(name: str) -> Image.Image:
    if name == "noise256":
        return Image.fromarray(np.random.RandomState(602).randint(0, 256, (256, 256, 3)).astype(np.uint8))
    if name == "noise":
        return Image.fromarray(np.random.RandomState(601).randint(0, 256, (218, 178, 3)).astype(np.uint8))
    y, x = np.mgrid[:218, :178]
    return Image.fromarray((np.stack([y, x, y + 2 * x], -1) % 256).astype(np.uint8))


@pytest.mark.golden
@pytest.mark.parametrize(
    ("source", "transform", "size", "key", "stride"),
    [
        ("noise", CELEBA, 64, "d2c64_noise_u8", 1),
        ("grad", CELEBA, 64, "d2c64_grad_u8", 1),
        ("noise", CENTRED, 64, "center64_noise_u8", 1),
        ("grad", CENTRED, 64, "center64_grad_u8", 1),
        ("noise256", CENTRED, 128, "resize128_noise256_u8_s4", 4),
    ],
)
def test_transform_matches_diffae(source: str, transform: Transform, size: int, key: str, stride: int) -> None:
    pixels = np.asarray(transform.apply(diffae_source(source), size)).transpose(2, 0, 1)
    with np.load(DIFFAE) as golden:
        np.testing.assert_array_equal(pixels[:, ::stride, ::stride], golden[key])


def test_originals_become_the_published_256_pixels_first() -> None:
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8))
    stored = original.resize((256, 341), Image.Resampling.LANCZOS).crop((0, 42, 256, 298))
    np.testing.assert_array_equal(CENTRED.apply(original, 256), stored)
    expected = stored.resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(CENTRED.apply(original, 64), expected)
    large = original.resize((280, 373), Image.Resampling.BILINEAR).crop((0, 46, 280, 326))
    np.testing.assert_array_equal(CENTRED.apply(original, 280), large)  # round(46.5) is 46, as in torchvision


def test_celeba_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="178 x 218, found 64 x 64"):
        CELEBA.apply(Image.new("RGB", (64, 64)), 64)


@pytest.mark.parametrize(("width", "height"), [(20, 10), (10, 20), (11, 10), (10, 10)])
def test_square_takes_the_centre(width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = np.asarray(SQUARE.apply(Image.fromarray(pixels), 10))
    top, left = (height - 10) // 2, (width - 10) // 2
    np.testing.assert_array_equal(out, pixels[top : top + 10, left : left + 10])


@pytest.mark.parametrize("transform", [SQUARE, LFW, CENTRED])
@pytest.mark.parametrize("box", [(3, 5), (40, 31), (64, 64)])
def test_any_image_becomes_the_asked_size(transform: Transform, box: tuple[int, int]) -> None:
    assert transform.apply(Image.new("RGB", box), 16).size == (16, 16)
