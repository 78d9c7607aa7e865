"""A metric against images seen, from rows of several snapshots."""

import dataclasses

import pytest
from result_rows import row

from benchmarks.learning_curve import Options, draw, learning_curve
from benchmarks.results import Record, RecordFile
from dbae.support.errors import UserError

ROW = row(protocol="standard", model="m", dataset="faces-v1", n=10, data_sha256="0" * 64, seed="0")


def snapshot(images: int, seed: str, value: float, stderr: float | None = None) -> Record:
    train_data = f"faces-v1 ({images} images seen)"
    return dataclasses.replace(ROW, train_data=train_data, seed=seed, value=value, stderr=stderr)


def test_the_mean_over_seeds_replaces_single_seeds_and_snapshots_are_in_order():
    rows = [snapshot(200, "0", 0.7), snapshot(100, "mean of 0 1", 0.6, 0.01), snapshot(100, "0", 0.59), ROW]
    assert learning_curve(rows) == [(100, 0.6, 0.01), (200, 0.7, 0.0)]


def test_two_numbers_of_one_snapshot_are_no_curve():
    """Two seeds of a training have one name unless they are given others, and may have seen as many images."""
    other = dataclasses.replace(snapshot(100, "0", 0.2), checkpoint_sha256="1" * 64)
    with pytest.raises(UserError, match="m: expected the snapshots of one training, found two of 100 images"):
        learning_curve([snapshot(100, "0", 0.6), snapshot(200, "0", 0.7), other])
    seeds = [snapshot(100, f"mean of {seeds}", 0.6) for seeds in ("0 1", "0 1 2")]
    with pytest.raises(UserError, match="those of the seeds 'mean of 0 1' and 'mean of 0 1 2'"):
        learning_curve(seeds)


def test_versions_of_a_task_are_no_one_curve(tmp_path):
    path = tmp_path / "downstream.csv"
    RecordFile(path).add([snapshot(100, "0", 0.1), dataclasses.replace(snapshot(200, "0", 0.2), task_version=9)])
    with pytest.raises(UserError, match="expected rows of one task_version"):
        draw(Options(path, metrics=("AP",)))


def test_draws_a_figure_beside_the_results(tmp_path):
    path = tmp_path / "downstream.csv"
    RecordFile(path).add([snapshot(100, "0", 0.6), snapshot(200, "0", 0.7)])
    draw(Options(path, metrics=("AP",)))
    assert (tmp_path / "downstream_learning_curve.png").read_bytes()[:4] == b"\x89PNG"


def test_every_model_has_a_curve_of_its_own(tmp_path, monkeypatch):
    path, drawn = tmp_path / "downstream.csv", []
    other = dataclasses.replace(snapshot(100, "0", 0.2), model="other")
    RecordFile(path).add([snapshot(100, "0", 0.6), snapshot(200, "0", 0.7), other])
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar", lambda axes, *data, label, **_: drawn.append((label, *data[:2]))
    )
    draw(Options(path, metrics=("AP",)))
    assert drawn == [("m", [0.1, 0.2], (0.6, 0.7)), ("other", [0.1], (0.2,))]


def test_several_data_sets_are_no_one_curve(tmp_path, monkeypatch):
    path, drawn = tmp_path / "downstream.csv", []
    first = [snapshot(100, "0", 0.1), dataclasses.replace(ROW, model="pca", weights="control", value=0.2)]
    second = [dataclasses.replace(one, data_sha256="1" * 64, value=0.7) for one in first]
    RecordFile(path).add(first + second)
    with pytest.raises(UserError, match=r"expected rows of one data_sha256, found 0000.*, 1111.* Choose with --where"):
        draw(Options(path, metrics=("AP",)))
    monkeypatch.setattr("matplotlib.axes.Axes.axhline", lambda axes, value, label, **_: drawn.append((label, value)))
    draw(Options(path, metrics=("AP",), where=(f"data_sha256={'1' * 64}",)))
    assert drawn == [("pca", 0.7)]


def test_two_trainings_of_one_name_have_a_curve_each_and_controls_of_two_lengths_a_line_each(tmp_path, monkeypatch):
    path, drawn = tmp_path / "downstream.csv", []
    other = dataclasses.replace(snapshot(100, "0", 0.2), method="VAE")
    pca = [dataclasses.replace(ROW, model="pca", weights="control", latent_dim=n, value=n / 100) for n in (16, 32)]
    RecordFile(path).add([snapshot(100, "0", 0.6), other, *pca])
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar", lambda axes, *data, label, **_: drawn.append((label, *data[:2]))
    )
    monkeypatch.setattr("matplotlib.axes.Axes.axhline", lambda axes, value, label, **_: drawn.append((label, value)))
    draw(Options(path, metrics=("AP",)))
    assert [(data[0], data[-1]) for data in drawn[:2]] == [(drawn[0][0], (0.6,)), (drawn[1][0], (0.2,))]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[2:] == [("pca of 16", 0.16), ("pca of 32", 0.32)]


def test_says_when_there_is_no_snapshot(tmp_path):
    path = tmp_path / "downstream.csv"
    RecordFile(path).add([ROW])
    with pytest.raises(UserError, match="no snapshot has rows of AP"):
        draw(Options(path, metrics=("AP",)))


def test_says_when_there_is_no_file(tmp_path):
    with pytest.raises(UserError, match="no such results file"):
        draw(Options(tmp_path / "none.csv"))
