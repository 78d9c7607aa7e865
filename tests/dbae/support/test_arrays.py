"""Arrays written row by row read back as one .npz."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dbae.support.arrays import array_file


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
