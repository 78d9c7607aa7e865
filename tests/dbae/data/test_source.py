"""The `--data` grammar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, picture, png, write_folder, write_zip

from dbae.data import Subset, open_data
from dbae.data.named import open_images
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
    with pytest.raises(UserError, match=r"expected one meaning, found two.* Write faces: for the kind, or \./faces"):
        parse_source("faces")
    with pytest.raises(UserError, match="expected one meaning"):
        parse_source("faces?n=3")
    assert parse_source("faces:?n=3").kind == "faces"
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


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "plain.zip", {f"{i:02d}.png": png(picture(i)) for i in range(40)})


def test_splits_made_here(plain: Path) -> None:
    def images(source: str) -> set[bytes]:
        data = open_data(f"zip:{plain}?{source}")
        return {data.image(i).tobytes() for i in range(len(data))}

    train, test = images("split=train:0.9"), images("split=test:0.1")
    assert (len(train), len(test), len(train | test)) == (36, 4, 40)
    assert images("split=train:0.9") == train
    assert images("split=train:0.9&seed=1") != train
    assert images("split=train:0.5") < train
    both = open_data(f"zip:{plain}?split=train:0.5,val:0.2,test:0.1")
    assert {name: len(i) for name, i in both.splits.items()} == {
        "all": 32,
        "train": 20,
        "val": 8,
        "test": 4,
    }
    assert {both.image(int(i)).tobytes() for i in both.split("test")} == test
    assert len(np.unique(np.concatenate([both.split(name) for name in ("train", "val", "test")]))) == 32
    whole = open_data(f"zip:{plain}?split=train:0.9,test:0.1")
    again = open_data(f"zip:{plain}?split=train:0.9,test:0.1&seed=1")
    prints = {open_data(f"zip:{plain}").fingerprint, whole.fingerprint, again.fingerprint, both.fingerprint}
    assert len(prints) == 4
    assert len(open_data(f"zip:{plain}?split=train:0.9,test:0.1&n=7")) == 7


def test_a_split_made_here_keeps_people_together(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "people.zip",
        {f"{i:02d}.png": png(picture(i)) for i in range(40)}
        | {"identity.txt": "".join(f"{i:02d}.png {i % 7}\n" for i in range(40)).encode()},
    )
    data = open_data(f"zip:{path}?split=train:0.7,test:0.3")
    assert data.groups is not None
    train, test = data.groups[data.split("train")], data.groups[data.split("test")]
    assert not set(train.tolist()) & set(test.tolist())
    assert len(train) + len(test) == 40
    assert 22 <= len(train) <= 34


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("split=train:0", "expected split=NAME:SHARE,... of train, val, test, each once, .* found 'train:0'"),
        ("split=train:1.1", "found 'train:1.1'"),
        ("split=train:nan", "found 'train:nan'"),
        ("split=dev:0.5", "found 'dev:0.5'"),
        ("split=train:0.5,train:0.5", "found 'train:0.5'"),
        ("split=train:0.9,test", "found 'test'"),
        ("split=train:0.9,test:0.2", "expected shares that add up to 1 at most, found 1.1"),
        ("split=test:0.001", "expected images in test:0.001, found none of 40"),
        ("seed=3", "'seed' is no option of zip, but of a split that is made here"),
        ("split=train", r"no split 'train'; it has: all\. .* add \?split=train:0\.9,test:0\.1 to the source"),
        ("size=100000", "expected at most 4096 for 'size', found 100000. Choose a smaller one"),
        ("n=10000000000000", "expected at most 1000000000000 for 'n'"),
        ("n=" + "9" * 5000, "expected an integer of at least 1 for 'n', found '9{40}'"),
    ],
)
def test_options_that_cannot_be(plain: Path, query: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(f"zip:{plain}?{query}")


def test_a_size_that_cannot_be_is_refused_wherever_it_comes_from(plain: Path) -> None:
    for size in (100_000, 0):
        with pytest.raises(UserError, match=f"for 'size', found '?{size}"):
            open_data(f"zip:{plain}", size=size)


def test_data_with_splits_of_its_own_is_not_split_again(archive: Path) -> None:
    with pytest.raises(UserError, match="has splits of its own: train, val, test, which a new one would mix"):
        open_data(f"zip:{archive}?split=train:0.9")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("faces:?split=x", "no split 'x'; it has: all, train, val"),
        ("faces:?split=train:0.9", "splits of its own"),
    ],
)
def test_an_unknown_split_is_refused_before_faces_are_drawn(
    monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setattr("dbae.data.faces.Faces.__init__", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(UserError, match=message):
        open_data(source)


def test_a_kind_whose_folder_lies_here_means_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBAE_DATA", str(tmp_path))
    write_folder(tmp_path / "lfw", {"a.png": png(picture(0))})
    assert parse_source("lfw").kind == "lfw"  # ./lfw is $DBAE_DATA/lfw
    monkeypatch.setenv("DBAE_DATA", "/elsewhere")
    with pytest.raises(UserError, match=r"Write lfw: for the kind, or \./lfw for what lies here"):
        parse_source("lfw")
    (tmp_path / "faces").mkdir()
    with pytest.raises(UserError, match="expected one meaning"):
        open_images(["faces"], size=16)
