"""Arrays written row by row read back as one .npz, and a damaged one is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbae.support.arrays import array_file, read_npz


def write(path, batches):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 2, 3)).astype(np.float32)
    texts = ["a.png", "", 'übung, "b".jpg', "two\nlines", "trailing ", "byte \udcff", "g"]
    with array_file(path) as arrays:
        arrays.append_texts("none", [])
        for part in np.split(np.arange(7), batches):
            arrays.append("values", values[part])
            arrays.append("count", part)
            arrays.append_texts("texts", [texts[i] for i in part])
    return values, texts


def test_round_trip_and_same_bytes_whatever_the_batches(tmp_path):
    values, texts = write(tmp_path / "a.npz", [1, 1, 4])
    write(tmp_path / "b.npz", [5])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as file:
        assert sorted(file) == ["count", "none", "texts", "values"]
        np.testing.assert_array_equal(file["values"], values)
        np.testing.assert_array_equal(file["count"], np.arange(7))
        assert file["texts"].tolist() == [t.replace("\n", " ") for t in texts]
        assert file["none"].shape == (0,)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]


def test_failure_leaves_what_stood_there(tmp_path):
    (tmp_path / "a.npz").write_text("old")

    def interrupted() -> None:
        with array_file(tmp_path / "a.npz") as arrays:
            arrays.append("values", np.zeros((4, 2)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a.npz").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("rows", [np.zeros((2, 3), np.float32), np.zeros((2, 2))])
def test_rows_of_another_kind_are_refused(tmp_path, rows):
    with array_file(tmp_path / "a.npz") as arrays:
        arrays.append("values", np.zeros((2, 2), np.float32))
        with pytest.raises(ValueError, match="expected rows"):
            arrays.append("values", rows)


WANTED: dict[str, tuple[str, tuple[int | None, ...]]] = {"a": ("float32", (4, None)), "n": ("int64", ())}


def written(path: Path, **arrays: np.ndarray | int) -> Path:
    np.savez(path, **({"a": np.arange(12, dtype=np.float32).reshape(4, 3), "n": np.int64(7)} | arrays))
    return path


def test_arrays_are_read_back(tmp_path: Path) -> None:
    found = read_npz(written(tmp_path / "a.npz"), WANTED)
    assert found is not None
    assert found["a"].tolist() == np.arange(12).reshape(4, 3).tolist()
    assert int(found["n"]) == 7
    assert read_npz(tmp_path / "none.npz") is None


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(11).tobytes())] ^= 1
    path.write_bytes(data)


SPOIL: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flipped,
    "garbage": lambda path: path.write_bytes(b"garbage" * 99),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "narrower": lambda path: written(path, a=np.zeros(4, np.float32)),
    "shorter": lambda path: written(path, a=np.zeros((3, 3), np.float32)),
    "other dtype": lambda path: written(path, a=np.zeros((4, 3))),
    "pickled": lambda path: written(path, a=np.array([{}])),
    "another array": lambda path: np.savez(path, b=1),
}


@pytest.mark.parametrize("how", SPOIL)
def test_damage_is_noticed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    path = written(tmp_path / "a.npz")
    SPOIL[how](path)
    assert read_npz(path, WANTED) is None
    (said,) = caplog.messages
    assert said.startswith(f"{path}: damaged (")
    assert said.endswith("; not used")
    assert "\n" not in said
