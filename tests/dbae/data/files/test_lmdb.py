"""LMDBs of DiffAE's layout."""

from __future__ import annotations

import builtins
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_samples import picture, png, write_lmdb

from dbae.data import iterate, open_data
from dbae.data.source import parse_source
from dbae.support.errors import UserError


def members(n: int, prefix: str = "16", digits: int = 5, side: int = 16) -> dict[str, bytes]:
    images = {f"{prefix}-{i:0{digits}d}": png(picture(i, side, side)) for i in range(n)}
    return images | {"length": str(n).encode()}


@pytest.mark.parametrize(("prefix", "digits"), [("16", 5), ("16", 7), ("None", 7)])
def test_images_in_numeric_order(tmp_path: Path, prefix: str, digits: int) -> None:
    path = write_lmdb(tmp_path / "tiny.lmdb", members(12, prefix, digits))
    data = open_data(str(path))
    assert parse_source(str(path)).kind == "lmdb"
    assert (len(data), data.size, data.name, list(data.splits)) == (12, 16, "tiny", ["all"])
    np.testing.assert_array_equal(data.batch(range(12)).permute(0, 2, 3, 1), [picture(i) for i in range(12)])


def test_label_files_beside_the_data_name_images_by_key(tmp_path: Path) -> None:
    labels = {
        "list_attr.txt": b"2\nBald\n16-00001 1\n16-00000 -1\n",
        "list_eval_partition.txt": b"16-00000 2\n16-00001 0\n",
        "identity.txt": b"16-00000 9\n16-00001 4\n",
    }
    data = open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', members(2) | labels)}")
    assert data.attributes is not None
    assert data.attributes.binary.tolist() == [[0], [1]]
    assert data.split("train").tolist() == [1]
    assert data.groups is not None
    assert data.groups.tolist() == [9, 4]


@pytest.mark.parametrize(("size", "read"), [(None, 16), (8, 8), (9, 16), (16, 16), (40, 16)])
def test_the_smallest_stored_side_that_is_enough(tmp_path: Path, size: int | None, read: int) -> None:
    both = members(3, "8", side=8) | members(3, "16", side=16)
    data = open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', both)}", size=size)
    assert data.image_names[0] == f"{read}-00000"
    assert data.size == (size or 16)


def test_without_length_every_key_is_an_image(tmp_path: Path) -> None:
    keys = {f"{7919 * i % 101:040x}": png(picture(i)) for i in range(5)}
    data = open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', keys)}")
    order = sorted(range(5), key=lambda i: 7919 * i % 101)
    np.testing.assert_array_equal(data.batch(range(5)).permute(0, 2, 3, 1), [picture(i) for i in order])


def test_threads_processes_and_copies_read_the_same(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "a.lmdb", members(40))
    data, again = open_data(f"lmdb:{path}"), open_data(f"lmdb:{path}")  # twice in one process, which lmdb forbids
    expected = data.batch(range(40))
    with ThreadPoolExecutor(8) as pool:
        for index, image in enumerate(pool.map(again.image, range(40))):
            np.testing.assert_array_equal(image, expected[index].permute(1, 2, 0))
    read = [images for _, images in iterate(data, np.arange(40), 7, workers=2)]
    np.testing.assert_array_equal(np.concatenate(read), expected)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint == data.fingerprint
    np.testing.assert_array_equal(copy.image(39), data.image(39))


def test_a_replaced_lmdb_is_read_anew(tmp_path: Path) -> None:
    first = open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', members(2))}").fingerprint
    (tmp_path / "a.lmdb").rename(tmp_path / "old")
    assert open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', members(3))}").fingerprint != first


def test_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "a.lmdb", members(2))
    (path / "lock.mdb").unlink()
    open_data(f"lmdb:{path}").image(0)
    assert os.listdir(path) == ["data.mdb"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (members(3) | {"length": b"5"}, r"expected 5 images, as key 'length' says, found no key '16-00004'"),
        (members(3) | {"length": b"many"}, "expected a number under 'length', found b'many'"),
        ({"length": b"3", "a": b""}, "expected keys like '256-00000', found none"),
    ],
)
def test_incomplete_lmdbs(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', content)}")


def test_a_gap_and_a_damaged_image_are_named(tmp_path: Path) -> None:
    content = members(3) | {"16-00002": b"GIF9"}
    del content["16-00001"]
    data = open_data(f"lmdb:{write_lmdb(tmp_path / 'a.lmdb', content)}", size=16)
    with pytest.raises(UserError, match=r"a\.lmdb:16-00001: expected an image, found no such key"):
        data.image(1)
    with pytest.raises(UserError, match=r"a\.lmdb:16-00002: expected an image"):
        data.image(2)


def test_what_is_no_lmdb(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected the folder of an LMDB, found no data\.mdb"):
        open_data(f"lmdb:{tmp_path}")
    pytest.importorskip("lmdb")
    (tmp_path / "data.mdb").write_bytes(b"x" * 10000)
    with pytest.raises(UserError, match="expected an LMDB, found a damaged one"):
        open_data(f"lmdb:{tmp_path}")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.mdb").write_bytes(b"")
    ordinary = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "lmdb":
            raise ModuleNotFoundError(name)
        return ordinary(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"needs the package lmdb, .* pip install 'dbae-bench\[lmdb\]'"):
        open_data(f"lmdb:{tmp_path}")
