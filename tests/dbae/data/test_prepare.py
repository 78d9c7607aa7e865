"""Zips and LMDBs made from raw data: the same data set, the same bytes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, picture, png, write_folder
from published_sets import celeba, lfw

from dbae.data import Faces, ImageDataset, open_data, prepare
from dbae.data.__main__ import main
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
    recipes = {tuple(prepare.chunk_recipes(open_data(source, size=32))) for source in sources}
    assert len(recipes) == 4
    assert tuple(prepare.chunk_recipes(open_data(f"celeba:{root}", size=32))) in recipes


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
    labels = faces.attributes
    assert labels is not None
    faces.attributes = dataclasses.replace(labels, continuous_names=("split", *labels.continuous_names[1:]))
    with pytest.raises(UserError, match="other names than split"):
        label_files(faces, [str(i) for i in range(10)])
    data = open_data(f"folder:{write_folder(tmp_path / 'a', {'0.png': png(np.zeros((8, 8, 3), np.uint8))})}")
    assert label_files(data, ["0"]) == {}
    data.splits = {"all": np.arange(1), "train": np.arange(1), "test": np.arange(1)}
    with pytest.raises(UserError, match="splits all, train, test that overlap or leave images out"):
        label_files(data, ["0"])


@pytest.mark.parametrize("kept_time", [False, True])
def test_an_image_replaced_between_two_runs_is_read_again(
    tmp_path: Path, ending: str, kept_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "raw", {f"{i}.png": png(picture(i)) for i in range(6)} | {"5.png": b"broken"})
    out = tmp_path / f"x{ending}"
    with pytest.raises(UserError, match=r"5\.png"):
        prepare_dataset(open_data(f"folder:{root}", size=16), out, progress=False)
    times = (root / "0.png").stat()
    for name, index in {"5.png": 5, "0.png": 9}.items():
        (root / "new").write_bytes(png(picture(index)))
        if kept_time:  # as rsync -t and archive programs do
            os.utime(root / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
        (root / "new").replace(root / name)
    made: list[int] = []
    encode = prepare._encode
    monkeypatch.setattr(prepare, "_encode", lambda *given: made.append(given[2]) or encode(*given))
    raw = open_data(f"folder:{root}", size=16)
    data = open_data(str(prepare_dataset(raw, out, progress=False)))
    np.testing.assert_array_equal(data.batch(range(6)), raw.batch(range(6)))
    np.testing.assert_array_equal(data.image(0), picture(9))
    assert made == [0, 4]  # the chunk between them is kept


def test_an_image_that_changes_under_the_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "raw", {f"{i}.png": png(picture(i)) for i in range(4)})
    encode = prepare._encode

    def changing(*given: object) -> int:
        count = encode(*given)
        (root / "0.png").write_bytes(png(picture(9, 17, 17)))
        return count

    monkeypatch.setattr(prepare, "_encode", changing)
    out = tmp_path / "x.zip"
    with pytest.raises(UserError, match=r"found some that changed while they were read\. Run the same command"):
        prepare_dataset(open_data(f"folder:{root}", size=16), out, progress=False)
    assert not out.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_chunk_is_made_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    root = write_folder(tmp_path / "raw", {f"{i}.png": png(picture(i)) for i in range(4)} | {"3.png": b"broken"})
    out = tmp_path / "x.zip"
    with pytest.raises(UserError, match=r"3\.png"):
        prepare_dataset(open_data(f"folder:{root}", size=16), out, progress=False)
    (chunk,) = (tmp_path / "x.zip.parts").iterdir()
    whole = bytearray(chunk.read_bytes())
    whole[len(whole) // 2] ^= 255
    chunk.write_bytes({"cut": whole[:-9], "flipped": whole, "empty": b""}[damage])
    (root / "3.png").write_bytes(png(picture(3)))
    raw = open_data(f"folder:{root}", size=16)
    assert_same_images(open_data(str(prepare_dataset(raw, out, progress=False))), raw)
    assert "damaged; it is made again" in caplog.text


def assert_same_images(one: ImageDataset, other: ImageDataset) -> None:
    np.testing.assert_array_equal(one.batch(range(len(one))), other.batch(range(len(other))))


def test_an_lmdb_is_not_written_among_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "raw", celeba_members(4))
    assert main(["prepare", str(root), "--size", "8", "--out", str(root / "x.lmdb")]) == 2
    assert "expected a place outside of the data" in capsys.readouterr().err
