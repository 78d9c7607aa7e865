"""Image bytes -> 8-bit RGB. What is converted, and what is refused:

| found                               | becomes                                                              |
|-------------------------------------|----------------------------------------------------------------------|
| grayscale, 1-bit, palette           | RGB (equal channels; palette looked up)                              |
| alpha or a transparent colour       | composed over black                                                  |
| CMYK, YCbCr, HSV, LAB               | RGB by Pillow's conversion, without a colour profile                 |
| 16-bit grayscale                    | value >> 8                                                           |
| 16-bit RGB                          | high byte of each channel (done by Pillow while decoding)            |
| several frames                      | the first                                                            |
| EXIF orientation                    | not applied: the pixels as stored, as in the reference data pipelines |
| empty, cut short, corrupt, no image | UserError                                                            |
| 32-bit float or integer             | UserError: the range is not known                                    |
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from dbae.support.errors import UserError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Extensions (lower case) of the files that readers take for images."""


def decode_rgb(data: bytes, where: str) -> Image.Image:
    """Decode an image file completely to mode RGB, 8 bits a channel (conversions: module docstring).

    Args:
        data: the bytes of the file.
        where: how messages name the file.

    Raises:
        UserError: the bytes are not a complete image that can be shown as 8-bit RGB.
    """
    with _explained(data, where):
        image = Image.open(io.BytesIO(data))
        image.load()
        return _to_rgb(image, where)


def stored_size(data: bytes, where: str) -> tuple[int, int]:
    """(width, height) from the file's header, without decoding pixels. Raises UserError like `decode_rgb`."""
    with _explained(data, where):
        return Image.open(io.BytesIO(data)).size


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # PNG and PGM store at most 16 bits, so mode "I" (32-bit in memory) holds 16-bit values there.
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(
            f"{where}: expected 8 or 16 bits a channel, found 32-bit values (mode {image.mode}) of unknown range. "
            "Save it as an 8-bit PNG."
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")


@contextlib.contextmanager
def _explained(data: bytes, where: str) -> Iterator[None]:
    """Turn what Pillow raises on bad bytes into one UserError."""
    remedy = "Replace it with a whole copy, or remove it together with its rows in the label files."
    if not data:
        raise UserError(f"{where}: expected an image, found a file of 0 bytes. {remedy}")
    try:
        yield
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{where}: expected an image ({', '.join(sorted(EXTENSIONS))}), found {len(data)} bytes that start with "
            f"{data[:8]!r}, which Pillow does not recognise. {remedy}"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{where}: refused, {error}. Save it smaller.") from error
    except Exception as error:  # on bad bytes, Pillow's plugins raise anything from SyntaxError to struct.error
        raise UserError(
            f"{where}: expected a complete image, found {len(data)} bytes that end early or are corrupt "
            f"({error}). {remedy}"
        ) from error
