"""Folders and zips: the same images, labels, splits and fingerprint; and every way they can be wrong."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_samples import celeba_members, edited, picture, png, write_folder, write_zip

from dbae.data import open_data
from dbae.data.files.folder import open_folder
from dbae.data.files.zip import open_zip
from dbae.support.errors import UserError

Write = Callable[[dict[str, bytes]], str]


def test_images_splits_and_attributes(write: Write) -> None:
    data = open_data(write(celeba_members(6)))
    assert (len(data), data.size, data.name) == (6, 16, "tiny")
    for i in range(6):
        np.testing.assert_array_equal(data.image(i), picture(i))
    assert {name: indices.tolist() for name, indices in data.splits.items()} == {
        "all": [0, 1, 2, 3, 4, 5],
        "train": [0, 1, 2],
        "val": [4],
        "test": [3, 5],
    }
    labels = data.attributes
    assert labels is not None
    assert (labels.binary_names, labels.continuous_names) == (("Smiling", "Young"), ("age_z", "light"))
    assert labels.binary.tolist() == [[i % 2, int(i % 3 > 0)] for i in range(6)]
    assert labels.continuous.tolist() == [[i / 8, -i] for i in range(6)]
    batch = data.batch([3, 1])
    np.testing.assert_array_equal(batch[0].permute(1, 2, 0).numpy(), picture(3))


def test_rows_in_another_order_are_joined_by_name(write: Write) -> None:
    members = celeba_members(6)
    for name in ("list_attr.txt", "list_eval_partition.txt", "attributes_continuous.csv"):
        lines = members[name].decode().splitlines()
        head = {"list_attr.txt": 2, "list_eval_partition.txt": 0, "attributes_continuous.csv": 1}[name]
        members[name] = "\n".join(lines[:head] + lines[head:][::-1]).encode()
    data = open_data(write(members))
    assert data.attributes is not None
    assert data.attributes.binary[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert data.splits["train"].tolist() == [0, 1, 2]


def test_folder_and_zips_have_one_fingerprint(tmp_path: Path) -> None:
    members = celeba_members(4)
    reordered = dict(reversed(members.items()))
    stored = open_zip(write_zip(tmp_path / "a.zip", members))
    deflated = open_zip(write_zip(tmp_path / "b.zip", reordered, zipfile.ZIP_DEFLATED))
    folder = open_folder(write_folder(tmp_path / "c", members))
    assert stored.fingerprint == deflated.fingerprint == folder.fingerprint
    np.testing.assert_array_equal(stored.batch(range(4)), deflated.batch(range(4)))


def test_fingerprint_follows_images_size_labels_and_splits(tmp_path: Path) -> None:
    members = celeba_members(4)
    variants = [
        members,
        members | {"img_align/000001.png": png(picture(99))},
        edited(members, "list_attr.txt", "000001.png -1", "000001.png  1"),
        edited(members, "list_attr.txt", "Young", "Old"),
        edited(members, "attributes_continuous.csv", "0.125", "0.126"),
        edited(
            edited(members, "list_eval_partition.txt", "000001.png 0", "000001.png 1"),
            "attributes_continuous.csv",
            "000001.png,0",
            "000001.png,1",
        ),
    ]
    prints = [open_zip(write_zip(tmp_path / f"{i}.zip", m)).fingerprint for i, m in enumerate(variants)]
    images = [open_zip(tmp_path / f"{i}.zip").image_fingerprint for i in range(len(variants))]
    assert images == [images[0], images[1], *images[:1] * 4]
    assert images[1] != images[0] != open_zip(tmp_path / "0.zip", size=8).image_fingerprint
    prints.append(open_zip(tmp_path / "0.zip", size=8).fingerprint)
    assert len(set(prints)) == len(prints)
    relabelled = edited(members, "attributes_continuous.csv", ",20,", ",20.001,")  # age_z is the target
    assert open_zip(write_zip(tmp_path / "age.zip", relabelled)).fingerprint == prints[0]


def test_sorted_by_path_and_found_in_subfolders(write: Write) -> None:
    names = ["b/2.png", "a/10.PNG", "a/9.png", "0.png"]
    data = open_data(write({name: png(picture(i)) for i, name in enumerate(names)}))
    assert [int(np.flatnonzero([(data.image(i) == picture(j)).all() for j in range(4)])[0]) for i in range(4)] == [
        names.index(name) for name in sorted(names)
    ]
    assert list(data.splits) == ["all"]
    assert data.attributes is None


def test_other_and_hidden_files_are_reported_or_left_out(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    members = {"a.png": png(picture(0)), "notes.md": b"x", ".thumb.png": b"", "__MACOSX/._a.md": b"", ".b/c.png": b""}
    members |= {"List_Attr.txt": b"", "attributes.csv": b"", "IMG.CR2": b"", ".DS_Store": b"", "__MACOSX/._a.png": b""}
    source = write(members)
    with caplog.at_level(logging.WARNING):
        data = open_data(source)
        open_data(source)
    assert len(data) == 1
    assert len(caplog.messages) == 1
    assert data.unused[0] == "2 files whose names resemble those of label files (first: List_Attr.txt)"
    assert data.unused[1] in ("1 hidden (first: .thumb.png)", "2 hidden (first: .b/c.png)")  # a folder: not looked into
    assert data.unused[2] == "2 other files (first: IMG.CR2)"
    assert f"tiny{'.zip' if data.files.locate('').endswith('zip') else ''}: seen and not used: 2 files" in caplog.text


def test_stylegan_labels(write: Write) -> None:
    images = {f"00000/img{i:08d}.png": png(picture(i)) for i in range(3)}
    listing = [[name, i % 2] for i, name in enumerate(images)]
    data = open_data(write(images | {"dataset.json": json.dumps({"labels": listing[::-1]}).encode()}))
    assert data.attributes is not None
    assert data.attributes.binary_names == ("class_0", "class_1")
    assert data.attributes.binary[:, 1].tolist() == [0, 1, 0]
    with pytest.raises(UserError, match=r"dataset\.json: .* 3 images without a row"):
        open_data(write(images | {"dataset.json": b'{"labels": []}'}))
    short = {"dataset.json": json.dumps({"labels": listing[:2]}).encode()}
    with pytest.raises(
        UserError, match=r"dataset\.json: expected exactly one row .* 1 images without a row \(00000/img"
    ):
        open_data(write(images | short))


def test_attribute_file_takes_precedence_over_dataset_json(write: Write) -> None:
    members = celeba_members(4)
    listing = [[f"img_align/{i + 1:06d}.png", [1, 1, 1]] for i in range(4)]
    data = open_data(write(members | {"dataset.json": json.dumps({"labels": listing}).encode()}))
    assert data.attributes is not None
    assert data.attributes.binary_names == ("Smiling", "Young")
    with pytest.raises(UserError, match=r"dataset\.json"):
        open_data(write(members | {"dataset.json": json.dumps({"labels": listing[1:]}).encode()}))


def test_labels_with_names_take_precedence_over_dataset_json(write: Write) -> None:
    images = {f"{i}.png": png(picture(i)) for i in range(3)}
    listing = [[name, [1, 1, 1]] for name in images]
    rows = "file,Bald\n" + "".join(f"{name},1\n" for name in images)
    files = {"labels.csv": rows.encode(), "dataset.json": json.dumps({"labels": listing}).encode()}
    data = open_data(write(images | files))
    assert data.attributes is not None
    assert data.attributes.binary_names == ("Bald",)


def test_label_files_below_a_top_folder(write: Write) -> None:
    data = open_data(write({f"celeba/{name}": content for name, content in celeba_members(4).items()}))
    assert data.attributes is not None
    assert len(data.splits["train"]) == 2


def test_paths_in_label_files_tell_equal_names_apart(write: Write) -> None:
    images = {f"{folder}/1.png": png(picture(i)) for i, folder in enumerate("ab")}
    by_path = {"list_attr.txt": b"2\nSmiling\nb/1.png 1\na/1.png -1\n"}
    data = open_data(write(images | by_path))
    assert data.attributes is not None
    assert data.attributes.binary.tolist() == [[0], [1]]
    with pytest.raises(UserError, match=r"found two images called '1\.png'\. Rename one"):
        open_data(write(images | {"list_attr.txt": b"2\nSmiling\n1.png 1\n2.png -1\n"}))


def test_label_rows_and_images_must_correspond(write: Write) -> None:
    members = celeba_members(4)
    extra = members | {"img_align/000009.png": png(picture(9))}
    with pytest.raises(UserError, match=r"1 images without a row \(000009\.png\).*Add what is missing"):
        open_data(write(extra))


def test_label_rows_without_image(tmp_path: Path) -> None:
    members = celeba_members(4)
    del members["img_align/000002.png"]
    with pytest.raises(UserError, match=r"for each of the 3 images, found 1 rows without an image \(000002\.png\)"):
        open_zip(write_zip(tmp_path / "a.zip", members))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("list_attr.txt", "000002.png", "000001.png", "found two for '000001.png'"),
        ("list_attr.txt", "000004.png  1", "000004.png", "line 6: expected a file name and 2 values"),
        ("list_eval_partition.txt", "000004.png 2", "", "images without a row"),
        ("attributes_continuous.csv", "000004.png,2", "000004.png,1", "found another for img_align/000004.png"),
    ],
)
def test_wrong_label_files_are_named(write: Write, name: str, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        open_data(write(edited(celeba_members(4), name, old, new)))


def test_label_file_twice_or_not_text(write: Write) -> None:
    members = celeba_members(4)
    with pytest.raises(UserError, match=r"expected one file list_attr\*\.txt or CelebAMask-HQ-\S*, found also"):
        open_data(write(members | {"old/list_attr.txt": b""}))


def test_label_file_that_is_not_text(write: Write) -> None:
    with pytest.raises(UserError, match=r"list_attr\.txt: expected UTF-8 text"):
        open_data(write(celeba_members(4) | {"list_attr.txt": b"\xff\xfe4\x00"}))


def test_images_of_several_sizes_need_a_size(write: Write) -> None:
    source = write({"a.png": png(picture(0)), "b.png": png(picture(1, 20, 10))})
    with pytest.raises(UserError, match=r"b\.png: expected square images .* found 20 x 10 after 16 x 16 in a\.png"):
        open_data(source)
    assert open_data(source, size=12).batch([0, 1]).shape == (2, 3, 12, 12)
    assert open_data(source + "?size=8", size=12).image(1).shape == (8, 8, 3)


def test_not_square_needs_a_size(write: Write) -> None:
    with pytest.raises(UserError, match=r"a\.png: .* found 20 x 10\. Say which size"):
        open_data(write({"a.png": png(picture(0, 20, 10))}))


@pytest.mark.parametrize("content", [b"", b"not an image", png(picture(0))[:200]])
def test_broken_images_are_named(write: Write, content: bytes) -> None:
    data = open_data(write({"a.png": png(picture(0)), "sub/broken.png": content}), size=8)
    assert data.image(0).shape == (8, 8, 3)
    with pytest.raises(UserError, match=r"tiny.*[:/]sub/broken\.png: expected .* Replace it"):
        data.image(1)


def test_no_images(write: Write) -> None:
    with pytest.raises(UserError, match=r"expected image files .* found none among 1 files"):
        open_data(write({"notes.txt": b"x"}))


def test_zip_errors(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", celeba_members(4)).read_bytes()
    for name, content in {"cut": whole[:-30], "half": whole[: len(whole) // 2], "text": b"hello", "empty": b""}.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        with pytest.raises(
            UserError, match=rf"{name}\.zip: expected a zip, found {len(content)} bytes .* pack it again"
        ):
            open_zip(tmp_path / f"{name}.zip")
    with pytest.raises(UserError, match=r"none\.zip: expected a zip, found no such file"):
        open_zip(tmp_path / "none.zip")
    with pytest.raises(UserError, match=r"found a folder\. Write folder:"):
        open_zip(tmp_path)


def test_zip_with_damaged_member(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "a.zip", {"a.png": png(picture(0)), "b.png": png(picture(1))}, compression)
        content = bytearray(path.read_bytes())
        content[300] ^= 255
        path.write_bytes(content)
        data = open_zip(path, size=16)
        assert data.image(1).shape == (16, 16, 3)
        with pytest.raises(UserError, match=r"a\.zip:a\.png: .* the zip is damaged"):
            data.image(0)


def test_zip_with_member_twice_or_foreign_compression(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.png", png(picture(0)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", png(picture(1)))
    with pytest.raises(UserError, match=r"twice\.zip: expected distinct members, found 'a\.png' twice"):
        open_zip(tmp_path / "twice.zip")
    with pytest.raises(UserError, match="compression method 14"):
        open_zip(write_zip(tmp_path / "lzma.zip", {"a.png": png(picture(0))}, zipfile.ZIP_LZMA))


def test_zip_is_read_by_threads_and_after_pickling(tmp_path: Path) -> None:
    data = open_zip(write_zip(tmp_path / "a.zip", celeba_members(20)))
    copy = pickle.loads(pickle.dumps(data))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(data.image, list(range(20)) * 5))
    for i, image in enumerate(results):
        np.testing.assert_array_equal(image, copy.image(i % 20))


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none: expected a folder, found nothing"):
        open_folder(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file: expected a folder, found a file"):
        open_folder(tmp_path / "file")
    missing = open_folder(write_folder(tmp_path / "gone", {"a.png": png(picture(0))}), size=8)
    (tmp_path / "gone" / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: expected a readable file, found: No such file"):
        missing.image(0)
