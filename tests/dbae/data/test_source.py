"""The `--data` grammar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, picture, png, write_folder, write_zip

from dbae.data import Subset, open_data
from dbae.data.source import Source, parse_source
from dbae.support.errors import UserError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "tiny.zip", celeba_members(6))


def test_parts() -> None:
    assert parse_source("zip:/a/b.zip?size=32&split=train&n=5") == Source("zip", "/a/b.zip", 32, "train", 5)
    assert parse_source("faces") == Source("faces", "")
    assert parse_source("faces:?n=2000&size=32&seed=1") == Source("faces", "", 32, None, 2000, 1)
    assert parse_source("faces?n=7") == Source("faces", "", n=7)


def test_bare_paths(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "what?n=9", {"a.png": png(picture(0))})
    assert parse_source(str(archive)) == Source("zip", str(archive))
    assert parse_source(f"{archive}?n=2") == Source("zip", str(archive), n=2)
    assert parse_source(str(folder)) == Source("folder", str(folder))
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "faces", {"a.png": png(picture(0))})
    assert parse_source("faces").kind == "faces"
    assert parse_source("./faces").kind == "folder"


def test_split_and_n(archive: Path) -> None:
    whole = open_data(str(archive))
    test = open_data(f"zip:{archive}?split=test")
    assert isinstance(test, Subset)
    assert (test.origin.tolist(), len(test), test.name, test.size) == ([3, 5], 2, "tiny", 16)
    np.testing.assert_array_equal(test.image(1), whole.image(5))
    assert {name: indices.tolist() for name, indices in test.splits.items()} == {"all": [0, 1], "test": [0, 1]}
    assert whole.attributes is not None
    assert test.attributes is not None
    np.testing.assert_array_equal(test.attributes.binary, whole.attributes.binary[[3, 5]])
    np.testing.assert_array_equal(test.attributes.continuous, whole.attributes.continuous[[3, 5]])
    with pytest.raises(UserError, match="no split 'train'; it has: all, test"):
        test.split("train")
    first = open_data(f"zip:{archive}?n=4")
    assert {name: len(indices) for name, indices in first.splits.items()} == {"all": 4, "train": 3, "test": 1}
    assert open_data(f"zip:{archive}?split=test&n=1").image(0).tolist() == whole.image(3).tolist()
    prints = {d.fingerprint for d in (whole, test, first)}
    assert len(prints) == 3
    assert open_data(f"zip:{archive}?n=6").fingerprint == whole.fingerprint


def test_size_of_the_string_wins(archive: Path) -> None:
    assert open_data(f"zip:{archive}?size=8", size=12).size == 8
    assert open_data(f"zip:{archive}", size=12).image(0).shape == (12, 12, 3)


def test_root_defaults_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "folder", {"a.png": png(picture(0))})
    monkeypatch.delenv("DBAE_DATA", raising=False)
    with pytest.raises(UserError, match=r"folder: expected a path .* Write folder:PATH, or set DBAE_DATA"):
        open_data("folder:")
    monkeypatch.setenv("DBAE_DATA", str(tmp_path))
    assert len(open_data("folder")) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lmbd:/a", "unknown kind of data 'lmbd'. Kinds: faces, folder, zip"),
        ("", "expected an existing zip, folder or LMDB"),
        ("/no/such/path", "expected an existing zip, folder or LMDB, or one of the kinds faces, folder, zip"),
        ("folder:a?colour=1", "'colour' is no option of folder. Options: size, split, n"),
        ("folder:a?seed=1", "'seed' is no option of folder"),
        ("faces:?sizes=1", "Options: size, split, n, seed"),
        ("faces:?size", "expected an integer of at least 1 for 'size', found ''"),
        ("faces:?size=0", "expected an integer of at least 1 for 'size', found '0'"),
        ("faces:?n=-3", "expected an integer of at least 1 for 'n', found '-3'"),
        ("faces:?n=1e3", "found '1e3'"),
        ("faces:?n=1&n=2", "'n' once, found it twice"),
        ("faces:?&", "expected name=value after"),
    ],
)
def test_errors(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_source(source)


def test_too_many_images_and_unknown_splits_are_refused(archive: Path) -> None:
    with pytest.raises(UserError, match="expected 7 images, found 6"):
        open_data(f"zip:{archive}?n=7")
    with pytest.raises(UserError, match="no split 'dev'; it has: all, train, val, test"):
        open_data(f"zip:{archive}?split=dev")


def test_drawn_faces() -> None:
    faces = open_data("faces:?n=12&seed=3", size=16)
    assert (len(faces), faces.size, faces.image(0).shape) == (12, 16, (16, 16, 3))
    again = open_data("faces:?n=12&seed=3&split=train", size=16)
    assert len(again) == len(faces.split("train"))
    np.testing.assert_array_equal(again.image(0), faces.image(int(faces.split("train")[0])))


def test_drawn_faces_are_kept_in_the_given_folder(tmp_path: Path) -> None:
    kept = open_data(f"faces:{tmp_path / 'cache'}?n=5&size=16")
    np.testing.assert_array_equal(kept.batch([0, 4]), open_data("faces:?n=5&size=16").batch([0, 4]))
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("source", "portable"),
    [
        ("zip:/home/me/faces.zip?size=32", "zip:faces.zip?size=32"),
        ("faces:/tmp/cache?n=50&seed=1", "faces:?n=50&seed=1"),
        ("celeba:/data/celeba", "celeba:celeba"),
    ],
)
def test_portable_names_leave_out_folders(source, portable):
    assert parse_source(source).portable == portable
