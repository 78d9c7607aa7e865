"""Image bytes -> 8-bit RGB. What is converted, and what is refused:

| found                               | becomes                                                              |
|-------------------------------------|----------------------------------------------------------------------|
| grayscale, 1-bit, palette           | RGB (equal channels; palette looked up)                              |
| alpha or a transparent colour       | composed over black                                                  |
| CMYK, YCbCr, HSV, LAB               | RGB by Pillow's conversion, without a colour profile                 |
| 16-bit grayscale                    | value >> 8                                                           |
| 12-bit grayscale (TIFF)             | value >> 4                                                           |
| 16-bit RGB                          | high byte of each channel (done by Pillow while decoding)            |
| 16 bits of which at most 12 are used| UserError: it would come out black                                   |
| several frames                      | the first                                                            |
| EXIF orientation                    | turned upright if the caller asks for it, else the pixels as stored   |
| TIFF's or HEIC's own orientation    | applied by Pillow or libheif whatever the caller asks for            |
| HEIC                                | read where the package pillow-heif is installed, else UserError       |
| empty, cut short, corrupt, no image | UserError                                                            |
| 32-bit float or integer             | UserError: the range is not known                                    |
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from dbae.support.errors import UserError

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".tga"}
    | {".jp2", ".avif", ".heic", ".heif"}
)
"""Extensions (lower case) of the files that readers take for images."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the stored pixels upright; 1 and whatever else is found are upright."""

_MARKS = (b"xif", b"XIf", b"XIF", b"tiff:Orientation", b"ftypavi")
"""One of them is in every file that can say so: "Exif", "eXIf", "EXIF", XMP's; AVIF says it in ways of its own."""

_DEEP = re.compile("16|65535")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SHALLOW = 1 << 12
"""Values below this fill no more than 12 bits, whose high byte out of 16 is black to the eye."""


def decode_rgb(data: bytes, where: str, *, upright: bool = False) -> Image.Image:
    """Decode an image file completely to mode RGB, 8 bits a channel (conversions: module docstring).

    Args:
        data: the bytes of the file.
        where: how messages name the file.
        upright: turn the image as its EXIF orientation says.

    Raises:
        UserError: the bytes are not a complete image that can be shown as 8-bit RGB.
    """
    with _explained(data, where):
        image = _opened(data, where)
        deep = any(_DEEP.search(str(tile.args)) for tile in getattr(image, "tile", []))
        turn = _TURNS.get(_orientation(image)) if upright else None
        image.load()
        rgb = _to_rgb(image, where, deep)
        return rgb if turn is None else rgb.transpose(turn)


def stored_size(data: bytes, where: str) -> tuple[int, int]:
    """(width, height) from the file's header, without decoding pixels. Raises UserError like `decode_rgb`."""
    with _explained(data, where):
        return _opened(data, where).size


def is_turned(data: bytes) -> bool:
    """Whether an image's EXIF orientation says that its stored pixels are not upright. Reads the header alone.

    False for what cannot be read, since decoding says that.
    """
    if not any(mark in data for mark in _MARKS):
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _orientation(image) in _TURNS
    except Exception:  # on bad bytes, Pillow's plugins raise anything
        return False


def _opened(data: bytes, where: str) -> Image.Image:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and not _reads_heif():
        raise UserError(
            f"{where}: expected an image that Pillow reads, found HEIC, as telephones store it. Convert it to JPEG or "
            "PNG, or run: pip install 'dbae-bench[heif]'."
        )
    return Image.open(io.BytesIO(data))


@functools.cache
def _reads_heif() -> bool:
    """Teach Pillow HEIC, where the package for that is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _orientation(image: Image.Image) -> int:
    """What EXIF or XMP say; 1 where they say nothing, or what cannot be read."""
    if image.format == "TIFF":  # its orientation is the format's own: Pillow turns it while loading
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # malformed EXIF raises anything from SyntaxError to struct.error, and is none
        return 1


def _to_rgb(image: Image.Image, where: str, deep: bool) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # PNG and PGM store at most 16 bits, so mode "I" (32-bit in memory) holds 16-bit values there.
        return _from_deep_gray(image, where)
    if image.mode in ("I", "F"):
        raise UserError(
            f"{where}: expected 8 or 16 bits a channel, found 32-bit values (mode {image.mode}) of unknown range. "
            "Save it as an 8-bit PNG."
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # which would copy
    if deep and int(np.asarray(rgb).max()) <= _SHALLOW >> 8:  # high bytes, or values that Pillow has rounded
        _require_visible(_SHALLOW - 1 if np.asarray(rgb).any() else 0, where)
    return rgb


def _from_deep_gray(image: Image.Image, where: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    stored = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))
    if tuple(np.atleast_1d(stored)) == (12,):
        values <<= 4
    else:
        _require_visible(int(values.max()), where)
    return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")


def _require_visible(greatest: int, where: str) -> None:
    """An image of zeros is black; one whose 16-bit values are all small was meant to be seen."""
    if 0 < greatest < _SHALLOW:
        raise UserError(
            f"{where}: expected values that fill 16 bits a channel, found none above {greatest}: 12 bits or fewer, "
            "which would come out black. Save it as an 8-bit PNG of the brightness that is meant."
        )


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
