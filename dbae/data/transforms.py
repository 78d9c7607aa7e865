"""From a decoded image of any shape to the S x S image a model reads.

Every resize to S is Pillow's BILINEAR, which widens its triangle filter when it shrinks (antialiasing): the resize
of torchvision on PIL images, thus of the DBAE, DiffAE and DiTi programs.

    square   largest centred square, then resize to S                        folders, zips and LMDBs
    celeba   rows 57..184, columns 25..152 (128 x 128), then resize to S      aligned CelebA, 178 x 218
    lfw      resize the shorter side to int(1.1 S), centre crop S             LFW funneled, 250 x 250
    centred  resize the shorter side to S, centre crop S; originals larger    FFHQ, CelebA-HQ, LSUN
             than 256 become 256 x 256 first, by LANCZOS

The published FFHQ, CelebA-HQ and LSUN numbers were measured on LMDBs of 256 pixels made by LANCZOS; `centred` takes
the same two steps from the originals, so that what is left of the difference is the LMDBs' lossy compression.

Sources: yue-zhongqi/diti ca4ed6c, dataset/celeba64.py and eval/attribute_regression.py; phizaz/diffae 00c57d3,
dataset.py and data_resize_*.py. Steps that would change nothing are skipped. Images smaller than S are enlarged by
the same filter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from PIL import Image

CELEBA_SIZE = (178, 218)  # width, height
CELEBA_BOX = (25, 57, 153, 185)  # left, upper, right, lower
PUBLISHED_SIZE = 256
"""Side of the images in the LMDBs of FFHQ, CelebA-HQ and LSUN."""


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
    return _centre_crop(_shorter_side(image, int(1.1 * size)), size)


def centred(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to `size`, then the centred square; through 256 x 256 when the original is larger than that."""
    if size <= PUBLISHED_SIZE < min(image.size):
        image = _centre_crop(_shorter_side(image, PUBLISHED_SIZE, Image.Resampling.LANCZOS), PUBLISHED_SIZE)
    return _centre_crop(_shorter_side(image, size), size)


def _shorter_side(
    image: Image.Image, short: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Image.Image:
    """Resized so that the shorter side is `short`; the longer one is rounded down, as torchvision does."""
    width, height = image.size
    if width <= height:
        return _resize(image, short, int(short * height / width), resample)
    return _resize(image, int(short * width / height), short, resample)


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    left, upper = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, upper, left + size, upper + size))


def _resize(
    image: Image.Image, width: int, height: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resample)


SQUARE = Transform("square-bilinear-1", square)
CELEBA = Transform("celeba-bilinear-1", celeba)
LFW = Transform("lfw-bilinear-1", lfw)
CENTRED = Transform("centred-lanczos256-bilinear-1", centred)
