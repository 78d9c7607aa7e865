"""Unusual image files are converted as documented; broken ones are named."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_samples import picture
from PIL import Image

from dbae.data.decode import decode_rgb, stored_size
from dbae.support.errors import UserError


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    image = decode_rgb(data, "x")
    assert image.mode == "RGB"
    return np.asarray(image)


def decoded_or_message(data: bytes) -> np.ndarray | str:
    try:
        return decoded(data)
    except UserError as error:
        return str(error)


GRAY = picture(0)[..., 0]


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_untouched(format: str) -> None:
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(picture(1)), format)), picture(1))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_grayscale_has_equal_channels(format: str) -> None:
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(GRAY), format)), np.stack([GRAY] * 3, -1))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grayscale_keeps_the_high_byte(format: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8), dtype=np.uint16)
    out = decoded(encoded(Image.fromarray(deep), format))
    np.testing.assert_array_equal(out, np.stack([(deep >> 8).astype(np.uint8)] * 3, -1))


def test_one_bit_becomes_black_and_white() -> None:
    bits = GRAY > 127
    out = decoded(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(out, np.stack([np.where(bits, 255, 0)] * 3, -1))


def test_palette_is_looked_up() -> None:
    paletted = Image.fromarray(picture(2)).quantize(64)
    np.testing.assert_array_equal(decoded(encoded(paletted, "PNG")), np.asarray(paletted.convert("RGB")))


def test_alpha_is_composed_over_black() -> None:
    rgba = np.dstack([picture(3), np.where(GRAY > 127, 255, 0).astype(np.uint8)])
    out = decoded(encoded(Image.fromarray(rgba), "PNG"))
    np.testing.assert_array_equal(out, np.where((GRAY > 127)[..., None], picture(3), 0))


def test_transparent_gray_and_palette_are_composed_over_black() -> None:
    gray_alpha = Image.merge("LA", [Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 0)])
    assert not decoded(encoded(gray_alpha, "PNG")).any()
    paletted = Image.new("P", (4, 4), 1)
    paletted.putpalette([255, 0, 0, 0, 255, 0])
    assert not decoded(encoded(paletted, "PNG", transparency=1)).any()


def test_cmyk_is_converted() -> None:
    cmyk = Image.fromarray(picture(4)).convert("CMYK")
    np.testing.assert_array_equal(decoded(encoded(cmyk, "TIFF")), np.asarray(cmyk.convert("RGB")))
    assert decoded(encoded(cmyk, "JPEG")).shape == (16, 16, 3)


def test_first_frame_and_stored_orientation() -> None:
    frames = [Image.fromarray(picture(i)) for i in (5, 6)]
    animated = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decoded(animated), picture(5))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees when shown
    rotated = encoded(Image.fromarray(picture(7, 8, 4)), "PNG", exif=exif)
    np.testing.assert_array_equal(decoded(rotated), picture(7, 8, 4))


def test_32_bit_values_are_refused() -> None:
    floats = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(UserError, match=r"^deep\.tif: expected 8 or 16 bits a channel, found 32-bit values \(mode F\)"):
        decode_rgb(floats, "deep.tif")


def test_empty_and_foreign_files_are_named() -> None:
    with pytest.raises(UserError, match=r"^a\.png: expected an image, found a file of 0 bytes\. Replace it"):
        decode_rgb(b"", "a.png")
    with pytest.raises(UserError, match=r"^a\.png: expected an image \(.*found 12 bytes that start with b'<html>"):
        stored_size(b"<html></html"[:12], "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_a_file_cut_anywhere_is_refused(format: str) -> None:
    whole = encoded(Image.fromarray(picture(8)), format)
    pixels = decoded(whole)
    for length in range(0, len(whole) - 1, 7):
        out = decoded_or_message(whole[:length])
        if isinstance(out, str):
            assert out.startswith("x: expected")
        else:  # only bytes after the pixels may be missing
            assert length > 0.9 * len(whole)
            np.testing.assert_array_equal(out, pixels)


def test_flipped_bytes_never_escape_as_another_error() -> None:
    generator = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "WEBP", "GIF"):
        whole = np.frombuffer(encoded(Image.fromarray(picture(9)), format), np.uint8)
        for _ in range(40):
            broken = whole.copy()
            broken[generator.integers(0, len(whole), 8)] = generator.integers(0, 256, 8)
            out = decoded_or_message(broken.tobytes())
            assert not isinstance(out, str) or out.startswith("x: ")


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """The smallest TIFF of 12-bit grey values, two in three bytes; its width is even."""
    pairs = values.reshape(-1, 2).tolist()
    data = b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in pairs)
    height, width = values.shape
    entries = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data)}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    fields = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, v) for tag, v in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4) + data


def test_12_bits_are_not_black() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8), np.uint16)
    np.testing.assert_array_equal(decoded(tiff_of_12_bits(values))[..., 0], values >> 4)
    pgm = b"P5 8 6 4095\n" + values.astype(">u2").tobytes()  # says how far its values go: Pillow scales them
    assert np.abs(decoded(pgm)[..., 1].astype(int) - (values >> 4)).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bits_of_which_12_are_used_are_refused(format: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8), np.uint16)
    with pytest.raises(UserError, match=r"^x: expected values that fill 16 bits a channel, found none above 39"):
        decode_rgb(encoded(Image.fromarray(values), format), "x")
    decoded(encoded(Image.fromarray(values * 16), format))
    assert decoded(encoded(Image.fromarray(values * 0), format)).max() == 0


def test_12_bits_in_16_bit_colour_are_refused() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, 3), np.uint16)
    ppm = b"P6 8 6 65535\n"
    with pytest.raises(UserError, match="12 bits or fewer, which would come out black"):
        decode_rgb(ppm + values.astype(">u2").tobytes(), "x")
    bright = decoded(ppm + (values * 16).astype(">u2").tobytes()).astype(int)
    assert np.abs(bright - (values >> 4)).max() <= 1  # Pillow rounds where PNG takes the high byte
