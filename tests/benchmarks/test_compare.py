"""Comparing results files: what is paired, what is refused, what counts as noise and as a regression."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import compare
from benchmarks.results.pair import pair, without_single_seeds
from benchmarks.results.record import Record, RecordFile
from dbae.support import cli

ROW = Record(
    task="downstream",
    protocol="standard",
    task_version=1,
    model="a",
    method="DBAE",
    dataset="faces",
    split="test",
    metric="AP",
    value=0.5,
    stderr=0.01,
    better="higher",
    n=100,
    latent_dim=32,
    seed="0",
    weights="trained",
    checkpoint_sha256="aa",
    data_sha256="dd",
)
SSIM = replace(ROW, task="reconstruction", metric="SSIM")
"""Its standard error is over images."""
PCA = replace(ROW, model="pca", weights="control", checkpoint_sha256="", value=0.3)


def written(path, *records):
    RecordFile(path).add(records)
    return str(path)


def run(*arguments):
    """Exit status of the command."""
    try:
        return cli.run(compare.main, compare.Options, module="benchmarks.compare", description="", arguments=arguments)
    except SystemExit as end:
        return end.code


def test_models_of_another_name_are_paired_where_each_file_has_one():
    other = replace(ROW, model="b", checkpoint_sha256="bb", latent_dim=64)
    found = pair([ROW, PCA], [PCA, other])
    assert [(p.before, p.after) for p in found.pairs] == [(ROW, other), (PCA, PCA)]


def test_several_models_are_paired_by_name_and_never_guessed():
    b, c = replace(ROW, model="b"), replace(ROW, model="c")
    found = pair([ROW, b], [replace(b, value=0.7), replace(ROW, checkpoint_sha256="zz"), c])
    assert [(p.before.model, p.after.model) for p in found.pairs] == [("a", "a"), ("b", "b")]
    assert found.only_after == [c]
    assert pair([ROW], [b, c]).pairs == []


def test_a_sampler_is_paired_with_itself_first_and_with_another_only_if_alone():
    euler, heun = replace(ROW, sampler="ddbm_euler", nfe_requested=10), replace(ROW, sampler="heun", nfe_requested=10)
    ddim = replace(ROW, model="b", sampler="ddim", nfe_requested=10)
    assert [p.after for p in pair([heun, euler], [euler, heun]).pairs] == [heun, euler]
    assert [p.after for p in pair([euler], [ddim]).pairs] == [ddim]
    assert pair([euler, heun], [ddim]).pairs == []
    assert pair([euler], [replace(ddim, nfe_requested=20)]).pairs == []


def test_single_seeds_give_way_to_their_mean():
    mean = replace(ROW, seed="mean of 0 1")
    assert without_single_seeds([ROW, replace(ROW, seed="1"), mean, PCA]) == [mean, PCA]


def test_numbers_about_the_probe_are_not_compared(tmp_path, capsys):
    gradient = replace(ROW, metric="probe_AP_gradient", value=1e-9, better="lower", stderr=None)
    before = written(tmp_path / "a.csv", ROW, gradient)
    after = written(tmp_path / "b.csv", ROW, replace(gradient, value=2e-9))
    assert run(before, after) == 0
    assert "1 numbers compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed", [{"protocol": "paper"}, {"n": 50}, {"task_version": 2}, {"data_sha256": "ee"}], ids=str
)
def test_other_conditions_are_refused_unless_forced(tmp_path, capsys, changed):
    a = written(tmp_path / "a.csv", ROW)
    b = written(tmp_path / "b.csv", replace(ROW, **changed))
    assert run(a, b) == 2
    assert next(iter(changed)) in capsys.readouterr().err
    assert run(a, b, "--force") == 0
    assert "FORCED" in capsys.readouterr().out


def test_a_second_protocol_in_one_file_is_no_conflict(tmp_path):
    a = written(tmp_path / "a.csv", ROW, replace(ROW, protocol="paper"))
    assert run(a, written(tmp_path / "b.csv", ROW)) == 0


@pytest.mark.parametrize(
    ("value", "stderr", "tolerance", "status"),
    [
        (0.40, 0.01, "0", 1),  # worse beyond two standard errors
        (0.40, 0.01, "0.2", 0),  # tolerated
        (0.48, 0.01, "0", 0),  # within noise: 2 sqrt(2) 0.01 = 0.028
        (0.60, 0.01, "0", 0),  # better
        (float("nan"), 0.01, "0", 1),
    ],
)
def test_status_says_whether_something_got_worse(tmp_path, value, stderr, tolerance, status):
    a = written(tmp_path / "a.csv", SSIM)
    b = written(tmp_path / "b.csv", replace(SSIM, value=value, stderr=stderr))
    assert run(a, b, "--tolerance", tolerance) == status


def test_lower_is_better_where_the_record_says_so(tmp_path):
    mse = replace(SSIM, metric="MSE", better="lower")
    a = written(tmp_path / "a.csv", mse)
    assert run(a, written(tmp_path / "b.csv", replace(mse, value=0.6))) == 1
    assert run(a, written(tmp_path / "c.csv", replace(mse, value=0.4))) == 0


def test_attributes_beside_the_files_give_a_paired_interval(tmp_path, capsys):
    """Attributes differ widely, their differences little: standard errors would call the same change noise."""
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.1, 0.9, 20)
    for name, gain in (("a", 0.0), ("b", -0.02)):
        values = hard + gain + rng.normal(0, 0.001, 20)
        row = replace(ROW, value=float(values.mean()), stderr=0.05)
        written(tmp_path / f"{name}.csv", row)
        written(
            tmp_path / f"{name}_attributes.csv",
            *(replace(row, attribute=f"x{i}", value=float(v), stderr=None) for i, v in enumerate(values)),
        )
    files = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    assert run(*files) == 0  # all attributes are of the same images, which others might order differently
    assert "no verdict; over attributes; no images at hand" in capsys.readouterr().out
    assert run(*files, "--resample", "attributes", "--out", str(tmp_path / "c.csv")) == 1
    assert "REGRESSION; over attributes" in capsys.readouterr().out
    with open(tmp_path / "c.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert -0.021 < float(line["low"]) < float(line["difference"]) < float(line["high"]) < -0.019


def test_images_beside_the_files_are_paired_by_index(tmp_path):
    values = np.linspace(0, 1, 10)
    for name, order in (("a", np.arange(10)), ("b", np.arange(10)[::-1])):
        row = replace(ROW, metric="SSIM", value=float(values.mean()), stderr=0.1)
        written(tmp_path / f"{name}.csv", row)
        (tmp_path / f"{name}_images").mkdir()
        columns = json.dumps({"model": "a", "metric": "SSIM"})
        np.savez(tmp_path / f"{name}_images" / "x.npz", SSIM=values[order], index=order, columns=columns)
    out = tmp_path / "c.csv"
    assert run(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(out)) == 0
    with open(out, newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["low"]) == float(line["high"]) == 0  # unpaired order would give an interval around 0


def test_models_of_one_file_against_a_baseline(tmp_path, capsys):
    path = written(tmp_path / "a.csv", ROW, PCA)
    assert run(path, "--baseline", "pca") == 0
    assert "+0.2000" in capsys.readouterr().out
    assert run(path, "--baseline", "nobody") == 2


def test_files_without_a_common_number_are_refused(tmp_path, capsys):
    a = written(tmp_path / "a.csv", ROW)
    assert run(a, written(tmp_path / "b.csv", replace(ROW, task="generation"))) == 2
    assert "generation on faces" in capsys.readouterr().err
    assert run(a, str(tmp_path / "absent.csv")) == 2
