"""From a decoded image of any shape to the S x S image a model reads.

Every resize is Pillow's BILINEAR, which widens its triangle filter when it shrinks (antialiasing): the resize
of torchvision on PIL images, thus of the DBAE, DiffAE and DiTi programs.

    square   largest centred square, then resize to S                        folders and zips; FFHQ, LSUN
    celeba   rows 57..184, columns 25..152 (128 x 128), then resize to S      aligned CelebA, 178 x 218
    lfw      resize the shorter side to int(1.1 S), centre crop S             LFW funneled, 250 x 250

Source: yue-zhongqi/diti ca4ed6c, dataset/celeba64.py and eval/attribute_regression.py. Steps that would change
nothing are skipped. Images smaller than S are enlarged by the same filter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from PIL import Image

CELEBA_SIZE = (178, 218)
CELEBA_BOX = (25, 57, 153, 185)  # left, upper, right, lower


@dataclasses.dataclass(frozen=True)
class Transform:
    """A transform and its version, which is part of a data set's fingerprint.

    Attributes:
        version: changes whenever `apply` could give other pixels.
        apply: (RGB image, S) -> S x S RGB image.
    """

    version: str
    apply: Callable[[Image.Image, int], Image.Image]


def square(image: Image.Image, size: int) -> Image.Image:
    """Largest centred square, resized to `size`; an odd margin leaves the extra pixel right or below."""
    width, height = image.size
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    if (width, height) != (side, side):
        image = image.crop((left, upper, left + side, upper + side))
    return _resize(image, size, size)


def celeba(image: Image.Image, size: int) -> Image.Image:
    """The 128 x 128 face of an aligned CelebA image, resized to `size`.

    Raises:
        ValueError: the image is not 178 x 218.
    """
    if image.size != CELEBA_SIZE:
        raise ValueError(f"expected an aligned CelebA image of 178 x 218, found {image.size[0]} x {image.size[1]}")
    return _resize(image.crop(CELEBA_BOX), size, size)


def lfw(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to int(1.1 size), then the centred `size` x `size` crop."""
    width, height = image.size
    short = int(1.1 * size)
    if width <= height:
        image = _resize(image, short, int(short * height / width))
    else:
        image = _resize(image, int(short * width / height), short)
    left, upper = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, upper, left + size, upper + size))


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


SQUARE = Transform("square-bilinear-1", square)
CELEBA = Transform("celeba-bilinear-1", celeba)
LFW = Transform("lfw-bilinear-1", lfw)
