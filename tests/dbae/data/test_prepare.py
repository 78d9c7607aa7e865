"""Zips and LMDBs made from raw data: the same data set, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, png, write_folder
from published_sets import celeba, lfw

from dbae.data import Faces, ImageDataset, open_data, prepare
from dbae.data.labels.write import label_files
from dbae.data.prepare import prepare_dataset
from dbae.support.errors import UserError

SOURCES: dict[str, Callable[[], dict[str, bytes]]] = {"celeba": celeba, "lfw": lfw, "folder": celeba_members}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CHUNK", 2)


@pytest.fixture(params=[".zip", ".lmdb"])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param == ".lmdb":
        pytest.importorskip("lmdb")
    return request.param


def contents(path: Path) -> dict[str, bytes]:
    """Every byte of a zip or LMDB folder."""
    files = [path] if path.is_file() else list(path.iterdir())
    return {file.name if path.is_dir() else "": file.read_bytes() for file in files}


def assert_same(one: ImageDataset, other: ImageDataset) -> None:
    np.testing.assert_array_equal(one.batch(range(len(one))), other.batch(range(len(other))))
    assert {k: v.tolist() for k, v in one.splits.items()} == {k: v.tolist() for k, v in other.splits.items()}
    assert one.attributes is not None
    assert other.attributes is not None
    assert one.attributes.binary_names == other.attributes.binary_names
    assert one.attributes.continuous_names == other.attributes.continuous_names
    np.testing.assert_array_equal(one.attributes.binary, other.attributes.binary)
    np.testing.assert_array_equal(one.attributes.continuous, other.attributes.continuous)
    assert (one.groups is None) == (other.groups is None)
    if one.groups is not None and other.groups is not None:
        np.testing.assert_array_equal(one.groups, other.groups)


@pytest.mark.parametrize("kind", list(SOURCES))
def test_nothing_is_lost(tmp_path: Path, kind: str, ending: str) -> None:
    raw = open_data(f"{kind}:{write_folder(tmp_path / 'raw', SOURCES[kind]())}", size=32)
    out = prepare_dataset(raw, tmp_path / f"small{ending}", progress=False)
    made = open_data(str(out))
    assert (made.size, made.name) == (32, "small")
    assert_same(made, raw)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", out.name]


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, ending: str) -> None:
    raw = open_data(f"celeba:{write_folder(tmp_path / 'raw', celeba(7))}", size=32)
    made = [prepare_dataset(raw, tmp_path / str(w) / f"x{ending}", workers=w, progress=False) for w in (0, 1, 2)]
    assert contents(made[0]) == contents(made[1]) == contents(made[2])


def test_an_interrupted_run_goes_on(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = open_data(f"celeba:{write_folder(tmp_path / 'raw', celeba(7))}", size=32)
    whole = prepare_dataset(raw, tmp_path / "a" / f"x{ending}", progress=False)
    encode, made = prepare._png, []

    def interrupted(pixels: np.ndarray) -> bytes:
        made.append(pixels)
        if len(made) == 4:
            raise KeyboardInterrupt
        return encode(pixels)

    monkeypatch.setattr(prepare, "_png", interrupted)
    out = tmp_path / "b" / f"x{ending}"
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(raw, out, progress=False)
    assert not out.exists()
    made.clear()
    monkeypatch.setattr(prepare, "_png", lambda pixels: made.append(pixels) or encode(pixels))
    assert contents(prepare_dataset(raw, out, progress=False)) == contents(whole)
    assert len(made) == 5  # the first chunk of two was kept
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_another_size_or_part_does_not_take_up_old_chunks(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "raw", celeba(4))
    sources = [f"celeba:{root}?size=32", f"celeba:{root}?size=16", f"celeba:{root}?split=train", f"celeba:{root}?n=2"]
    recipes = {prepare.recipe(open_data(source, size=32)) for source in sources}
    assert len(recipes) == 4
    assert prepare.recipe(open_data(f"celeba:{root}", size=32)) in recipes


def test_a_split_alone(tmp_path: Path) -> None:
    raw = open_data(f"celeba:{write_folder(tmp_path / 'raw', celeba())}?split=train", size=16)
    made = open_data(str(prepare_dataset(raw, tmp_path / "train.zip", progress=False)))
    assert_same(made, raw)
    assert list(made.splits) == ["all", "train"]


def test_an_unreadable_image_is_named_and_can_be_replaced(tmp_path: Path) -> None:
    members = celeba(5)
    name = "Img/img_align_celeba/000004.jpg"
    root = write_folder(tmp_path / "raw", members | {name: b"broken"})
    out = tmp_path / "x.zip"
    with pytest.raises(UserError, match=r"000004\.jpg: expected an image"):
        prepare_dataset(open_data(f"celeba:{root}", size=16), out, progress=False)
    assert not out.exists()
    (root / name).write_bytes(members[name])
    raw = open_data(f"celeba:{root}", size=16)
    assert_same(open_data(str(prepare_dataset(raw, out, progress=False))), raw)


def test_what_cannot_be_prepared(tmp_path: Path) -> None:
    raw = open_data(f"celeba:{write_folder(tmp_path / 'raw', celeba(3))}", size=16)
    with pytest.raises(UserError, match=r"expected a name that ends in \.zip or \.lmdb, found '\.tar'"):
        prepare_dataset(raw, tmp_path / "x.tar")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(UserError, match="expected nothing there, found an earlier result"):
        prepare_dataset(raw, tmp_path / "x.zip")
    with pytest.raises(UserError, match="expected image files to prepare, found images that are made"):
        prepare_dataset(Faces(4, 16), tmp_path / "y.zip")


def test_labels_that_no_file_can_say(tmp_path: Path) -> None:
    faces = Faces(10, 16)
    with pytest.raises(UserError, match="other names than age"):
        label_files(faces, [str(i) for i in range(10)])
    data = open_data(f"folder:{write_folder(tmp_path / 'a', {'0.png': png(np.zeros((8, 8, 3), np.uint8))})}")
    assert label_files(data, ["0"]) == {}
    data.splits = {"all": np.arange(1), "train": np.arange(1), "test": np.arange(1)}
    with pytest.raises(UserError, match="splits all, train, test that overlap or leave images out"):
        label_files(data, ["0"])
