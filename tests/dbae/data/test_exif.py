"""Photographs as telephones store them: turned upright where they are a user's own, counted, and told apart."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from image_samples import picture, png, write_folder, write_lmdb, write_zip
from PIL import Image

from dbae import encode, reconstruct
from dbae.data import open_data
from dbae.data.check import check, format_report
from dbae.data.decode import decode_rgb, is_turned
from dbae.data.named import open_images
from dbae.support.errors import UserError

UPRIGHT = picture(3, 24, 40)
"""Width 24, height 40."""


def photograph(orientation: int, format_: str = "PNG", pixels: np.ndarray = UPRIGHT) -> bytes:
    """A file whose pixels, turned as `orientation` says, are `pixels`."""
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(pixels)
    if back is not None:
        other = Image.Exif()
        other[0x0112] = back
        buffer = io.BytesIO()
        turned.save(buffer, "PNG", exif=other)
        turned = decode_rgb(buffer.getvalue(), "x", upright=True)
    buffer = io.BytesIO()
    turned.save(buffer, format_, exif=exif, **({"quality": 100, "lossless": True} if format_ == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_every_orientation(orientation: int, format_: str) -> None:
    from PIL import ImageOps

    data = photograph(orientation, format_)
    stored = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(decode_rgb(data, "x", upright=True), UPRIGHT)
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(stored)), UPRIGHT)  # Pillow agrees
    np.testing.assert_array_equal(decode_rgb(data, "x"), np.asarray(stored))
    assert is_turned(data) == (orientation != 1)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_what_is_counted_is_what_is_turned(format_: str) -> None:
    data = photograph(6, format_)
    assert is_turned(data)
    assert decode_rgb(data, "x", upright=True).size == (24, 40)
    assert decode_rgb(data, "x").size == (40, 24)


def test_a_tiff_is_turned_by_pillow_in_any_case() -> None:
    data = photograph(6, "TIFF")
    assert not is_turned(data)
    assert decode_rgb(data, "x", upright=True).size == decode_rgb(data, "x").size == (24, 40)


@pytest.mark.parametrize(
    "value", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_malformed_exif_is_none(value: bytes) -> None:
    buffer = io.BytesIO()
    Image.fromarray(UPRIGHT).save(buffer, "PNG", exif=value)
    assert not is_turned(buffer.getvalue())
    np.testing.assert_array_equal(decode_rgb(buffer.getvalue(), "x", upright=True), UPRIGHT)


@pytest.fixture
def members() -> dict[str, bytes]:
    return {"a.png": photograph(6), "b.png": photograph(1), "c.png": photograph(3)}


def test_folders_and_zips_are_upright_by_default(
    tmp_path: Path, members: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    sources = [f"folder:{write_folder(tmp_path / 'p', members)}", f"zip:{write_zip(tmp_path / 'p.zip', members)}"]
    prints = []
    for source in sources:
        upright, stored = open_data(source, size=16), open_data(f"{source}?exif=ignore", size=16)
        np.testing.assert_array_equal(upright.image(0), upright.image(1))
        np.testing.assert_array_equal(upright.image(2), upright.image(1))
        assert (stored.image(0) != upright.image(0)).any()
        np.testing.assert_array_equal(stored.image(0), open_data(source, size=16, exif="ignore").image(0))
        prints.append((upright.fingerprint, stored.fingerprint))
    assert prints[0] == prints[1]
    assert prints[0][0] != prints[0][1]
    with caplog.at_level(logging.INFO):
        assert open_data(sources[0], size=16).fingerprint == prints[0][0]
    assert "2 of 3 images say by EXIF that their pixels are to be turned; they are turned upright" in caplog.text


def test_without_such_photographs_the_fingerprint_is_as_before(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a.png": photograph(1), "b.png": png(picture(1))})
    assert (
        open_data(f"folder:{root}", size=16).fingerprint == open_data(f"folder:{root}?exif=ignore", size=16).fingerprint
    )


def test_published_sets_and_lmdbs_are_read_as_stored(tmp_path: Path, members: dict[str, bytes]) -> None:
    numbered = {f"{i}.png": data for i, data in enumerate(members.values())}
    for source in (
        f"ffhq:{write_folder(tmp_path / 'ffhq', numbered)}",
        f"ffhq:{write_zip(tmp_path / 'f.zip', numbered)}",
    ):
        data = open_data(source, size=16)
        assert (data.image(0) != data.image(1)).any()
        report = format_report(check(source, progress=False))
        assert "turned: 2 images say by EXIF that their pixels are to be turned; they are read as stored" in report
    with pytest.raises(UserError, match="'exif' is no option of ffhq"):
        open_data("ffhq:x?exif=upright")
    with pytest.raises(UserError, match="expected exif=upright or exif=ignore, found 'turn'"):
        open_data("folder:x?exif=turn")
    lmdb = write_lmdb(
        tmp_path / "l.lmdb", {f"None-{i:07d}": d for i, d in enumerate(members.values())} | {"length": b"3"}
    )
    stored, upright = open_data(f"lmdb:{lmdb}", size=16), open_data(f"lmdb:{lmdb}?exif=upright", size=16)
    assert (stored.image(0) != stored.image(1)).any()
    np.testing.assert_array_equal(upright.image(0), upright.image(1))


def test_check_counts_them(tmp_path: Path, members: dict[str, bytes]) -> None:
    root = write_folder(tmp_path / "p", members)
    for workers in (0, 1):
        report = format_report(check(f"folder:{root}?n=2", workers=workers, progress=False))
        assert (
            "turned: 1 images say by EXIF .* they are turned upright".replace(
                " .* ", " that their pixels are to be turned; "
            )
            in report
        )
    assert "turned:" not in format_report(check(f"folder:{root}?n=2", images=False, progress=False))


def test_images_named_one_by_one(tmp_path: Path, members: dict[str, bytes], caplog: pytest.LogCaptureFixture) -> None:
    root = write_folder(tmp_path / "p", members)
    named = [str(root / "a.png"), str(root), "faces:?n=1"]
    upright, stored = open_images(named, size=16), open_images(named, size=16, exif="ignore")
    np.testing.assert_array_equal(upright.image(0), upright.image(2))
    assert (stored.image(0) != stored.image(2)).any()
    with caplog.at_level(logging.INFO):
        stored.report_turned()
        assert caplog.text == ""
        upright.report_turned()
    assert "3 of 5 images say by EXIF" in caplog.text
    assert upright.contents() != stored.contents()
    itself = open_images([f"{root}?exif=upright"], size=16, exif="ignore")
    np.testing.assert_array_equal(itself.image(0), upright.image(1))


def test_the_commands_turn_and_say_so(
    tmp_path: Path, members: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    root = write_folder(tmp_path / "p", members)
    z = {}
    for exif in ("upright", "ignore"):
        with caplog.at_level(logging.INFO):
            encode.run(
                encode.Options(
                    images=(str(root / "a.png"), str(root / "b.png")), out=tmp_path / "z.npz", exif=exif, force=True
                )
            )
        z[exif] = np.load(tmp_path / "z.npz")["z"]
        assert ("1 of 2 images say by EXIF" in caplog.text) == (exif == "upright")
        caplog.clear()
    np.testing.assert_array_equal(z["upright"][0], z["upright"][1])
    assert (z["ignore"][0] != z["ignore"][1]).any()
    assert reconstruct.Options(images=("x",), out=tmp_path).exif == "upright"


def test_heic_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from dbae.data import decode

    monkeypatch.setattr(decode, "_reads_heif", lambda: False)
    with pytest.raises(UserError, match=r"IMG\.HEIC: .* found HEIC, as telephones store it\. Convert it to JPEG"):
        decode_rgb(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "IMG.HEIC")


def test_heic_is_read_where_the_package_is(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    grey = np.full((64, 64, 3), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.heic")
    image = open_data(f"folder:{tmp_path}").image(0)
    assert np.abs(image.astype(int) - 128).max() <= 3
