"""Drawn faces on disk."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dbae.data import faces, kept
from dbae.data.faces import Faces
from dbae.support.errors import UserError


def test_the_cache_is_drawn_once_and_read_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Faces(40, 16).batch(range(40))
    first = Faces(40, 16, cache=tmp_path)
    np.testing.assert_array_equal(first.batch(range(40)).numpy(), plain.numpy())
    assert len(list(tmp_path.iterdir())) == 1

    def refuse(*_: object) -> None:
        raise AssertionError("drew again")

    monkeypatch.setattr(faces, "draw", refuse)
    again = Faces(40, 16, cache=tmp_path)
    np.testing.assert_array_equal(again.batch([39, 0]).numpy(), plain[[39, 0]].numpy())
    np.testing.assert_array_equal(again.image(7), plain[7].permute(1, 2, 0).numpy())
    carried = pickle.dumps(again)
    assert len(carried) < 1000
    np.testing.assert_array_equal(pickle.loads(carried).batch([5]).numpy(), plain[[5]].numpy())


def test_the_default_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "images"))
    Faces(3, 16, cache=True)
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_without_a_writable_default_folder_images_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "file" / "cache"))
    data = Faces(5, 16, cache=True)
    np.testing.assert_array_equal(data.batch([4, 0]).numpy(), Faces(5, 16).batch([4, 0]).numpy())
    assert "DBAE_CACHE" in caplog.text
    with pytest.raises(UserError, match="could not be written"):
        Faces(5, 16, cache=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    "damage",
    ["truncated", "empty", "other shape", "other type", "not numpy", "one byte", "header", "no checksum", "longer"],
)
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    Faces(20, 16, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    others = {"other shape": np.zeros((20, 8, 8, 3), np.uint8), "other type": np.zeros((20, 16, 16, 3), np.int8)}
    if damage in others:
        with open(path, "wb") as file:
            np.save(file, others[damage])
        path.write_bytes(path.read_bytes() + kept._CHECKSUM.pack(kept._MARK, zlib.crc32(path.read_bytes())))
    else:
        flipped = bytearray(whole)
        flipped[5000] ^= 1
        cases = {"truncated": whole[:-1], "empty": b"", "not numpy": b"x" * len(whole), "one byte": bytes(flipped)}
        cases |= {"header": whole[:10] + b"~" + whole[11:], "no checksum": whole[:-12], "longer": whole + b"0"}
        path.write_bytes(cases[damage])
    np.testing.assert_array_equal(Faces(20, 16, cache=tmp_path).image(4), Faces(20, 16).image(4))
    assert path.read_bytes() == whole
    assert path.name in caplog.text


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(faces, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Faces(20, 16, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "draw", lambda *_: pytest.fail("drawn"))
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(UserError, match=r"expected 89\.4 GiB of free disk for the images, found 1\.0"):
        Faces(2000, 4000, cache=tmp_path)
    with pytest.raises(UserError, match="at most 2,000,000 faces, whose labels fit into memory, found n=10,000,"):
        Faces(10**10, 16)
