"""Scores of single images: what the file has, and that half precision changes no metric that counts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from result_rows import row

from benchmarks.metrics.prediction import average_precision, mean_squared_error, pearson
from benchmarks.results.scores import ImageScores, read_scores, scores_path, write_scores

ROW = row(protocol="standard", task_version=2, model="a", dataset="faces", n=2000, seed="0", data_sha256="dd")


def binary(n: int = 2000) -> ImageScores:
    """Logits of rare and common attributes, far from zero and of very different scales."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 4)) < [0.02, 0.1, 0.3, 0.9]).astype(np.int8)
    logits = (targets + rng.standard_normal((n, 4))) * [1e-3, 1, 30, 1] + [-100, 0, 7, 1000]
    return ImageScores(np.arange(n) * 3, logits, targets, ("a", "b", "c", "d"), np.arange(n) // 2)


def test_average_precision_from_the_file_is_that_of_the_logits(tmp_path):
    scores = binary()
    write_scores(tmp_path / "d.csv", ROW, scores)
    found = read_scores(tmp_path / "d.csv", ROW)
    wanted = average_precision(scores.targets, scores.predictions)
    np.testing.assert_allclose(average_precision(found.targets, found.predictions), wanted, rtol=0, atol=1e-3)
    with np.load(scores_path(tmp_path / "d.csv", ROW)) as file:
        stored = average_precision(file["targets"].astype(np.int8), file["scores"])
    np.testing.assert_allclose(stored, wanted, rtol=0, atol=1e-3)


def test_the_file_is_what_it_says(tmp_path):
    path = write_scores(tmp_path / "d.csv", ROW, binary())
    assert path.parent == tmp_path / "d_images"
    with np.load(path) as file:
        kinds = {name: (file[name].dtype, file[name].shape) for name in ("indices", "scores", "targets", "groups")}
        assert kinds == {
            "indices": (np.int64, (2000,)),
            "scores": (np.float16, (2000, 4)),
            "targets": (np.uint8, (2000, 4)),
            "groups": (np.int64, (2000,)),
        }
        assert file["names"].tolist() == ["a", "b", "c", "d"]
        assert json.loads(str(file["identity"])) == ROW.identity_cells


def test_scores_of_few_images_make_no_ties(tmp_path):
    rng = np.random.default_rng(3)
    targets = (rng.random((30, 3)) < 0.3).astype(np.int8)
    logits = rng.standard_normal((30, 3)) + 1e-4 * np.arange(30)[:, None]
    logits[1::2] = logits[::2] + 1e-5  # in float16 each would be level with its neighbour
    write_scores(tmp_path / "d.csv", ROW, ImageScores(np.arange(30), logits, targets, ("a", "b", "c")))
    found = read_scores(tmp_path / "d.csv", ROW)
    wanted = average_precision(targets, logits)
    np.testing.assert_allclose(average_precision(found.targets, found.predictions), wanted, rtol=0, atol=1e-12)


def test_regression_keeps_r_and_squared_errors(tmp_path):
    rng = np.random.default_rng(1)
    targets = rng.standard_normal((500, 3)) * [0.1, 1, 50]
    predictions = targets + rng.standard_normal((500, 3)) * [0.05, 1, 10] + 3
    predictions[:, 1] = 7.0  # a constant prediction
    scores = ImageScores(np.arange(500), predictions, targets, ("a", "b", "c"))
    write_scores(tmp_path / "d.csv", ROW, scores)
    found = read_scores(tmp_path / "d.csv", ROW)
    assert found.groups is None
    assert found.targets.dtype == np.float32
    np.testing.assert_array_equal(found.predictions[:, 1], 7.0)
    wanted = mean_squared_error(targets, predictions)
    np.testing.assert_allclose(mean_squared_error(targets, found.predictions), wanted, rtol=1e-3)
    keep = [0, 2]
    np.testing.assert_allclose(
        pearson(targets[:, keep], found.predictions[:, keep]),
        pearson(targets[:, keep], predictions[:, keep]),
        atol=1e-5,
    )


def test_times_in_seconds_keep_their_digits(tmp_path):
    rng = np.random.default_rng(2)
    targets = 1.7e9 + 20 * rng.standard_normal((100, 1))
    predictions = targets + 10 * rng.standard_normal((100, 1))
    write_scores(tmp_path / "d.csv", ROW, ImageScores(np.arange(100), predictions, targets, ("seconds",)))
    found = read_scores(tmp_path / "d.csv", ROW)
    np.testing.assert_array_equal(found.targets, targets)
    np.testing.assert_allclose(pearson(found.targets, found.predictions), pearson(targets, predictions), atol=1e-3)


@pytest.mark.parametrize("change", [{"seed": "1"}, {"protocol": "paper"}, {"model": "b"}, {"metric": "Pearson_r"}])
def test_every_row_has_a_file_of_its_own(tmp_path, change):
    other = dataclasses.replace(ROW, **change)
    assert scores_path(tmp_path / "d.csv", ROW) != scores_path(tmp_path / "d.csv", other)
    assert read_scores(tmp_path / "d.csv", other) is None
