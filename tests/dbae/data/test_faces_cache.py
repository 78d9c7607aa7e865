"""Drawn faces on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dbae.data import faces
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


@pytest.mark.parametrize("damage", ["truncated", "empty", "other shape", "not numpy"])
def test_a_damaged_cache_is_drawn_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    Faces(20, 16, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "other shape":
        with open(path, "wb") as file:
            np.save(file, np.zeros((20, 8, 8, 3), np.uint8))
    else:
        path.write_bytes({"truncated": whole[:-1], "empty": b"", "not numpy": b"x" * len(whole)}[damage])
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
