"""Comparing results files: what is paired, what is refused, what counts as noise and as a regression."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from result_rows import row

from benchmarks import compare
from benchmarks.metrics.prediction import average_precision
from benchmarks.results import Record, RecordFile
from benchmarks.results.evidence import forget
from benchmarks.results.images import ImageValues, values_path, write_values
from benchmarks.results.noise import Noise, write_noise
from benchmarks.results.pair import pair, without_single_seeds
from benchmarks.results.scores import ImageScores, write_scores
from dbae.support import cli

ROOT = Path(__file__).parents[2]
ROW = row(
    protocol="standard",
    model="a",
    method="DBAE",
    dataset="faces",
    stderr=0.01,
    n=100,
    latent_dim=32,
    seed="0",
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


def test_controls_of_another_length_are_no_pair():
    short, long = replace(PCA, latent_dim=8), replace(PCA, latent_dim=48, value=0.1)
    found = pair([replace(ROW, latent_dim=8), short], [replace(ROW, latent_dim=48), long])
    assert [p.before.model for p in found.pairs] == ["a"]
    assert found.ambiguous == [short, long]
    assert len(pair([long], [replace(ROW, latent_dim=8)], anybody=True).pairs) == 1


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


@pytest.mark.parametrize("tolerance", ["nan", "-0.1"])
def test_a_tolerance_that_lets_anything_pass_is_refused(tmp_path, capsys, tolerance):
    a, b = written(tmp_path / "a.csv", SSIM), written(tmp_path / "b.csv", replace(SSIM, value=0.1))
    assert run(a, b, f"--tolerance={tolerance}") == 2
    assert "--tolerance: expected 0 or more" in capsys.readouterr().err


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


def scored(path, gain: float, *, n: int = 400, k: int = 10, groups=None, row: Record = ROW) -> str:
    """A results file with a mean AP, its attributes, and scores of its images that see the labels better by `gain`."""
    rng = np.random.default_rng(0)
    labels = (rng.random((n, k)) < np.linspace(0.1, 0.5, k)).astype(np.int8)
    predictions = labels * (1 + gain) + rng.standard_normal((n, k))
    names = tuple("abcdefghij"[:k])
    scores = ImageScores(np.arange(n), predictions, labels, names, groups)
    values = average_precision(labels, predictions)
    row = replace(row, value=float(values.mean()))
    write_scores(path, row, scores)
    single = [replace(row, attribute=name, value=float(v)) for name, v in zip(names, values, strict=True)]
    written(path.with_name(f"{path.stem}_attributes.csv"), *single)
    return written(path, row)


def compared(tmp_path, *arguments) -> dict[str, str]:
    """The only line that comparing writes."""
    run(*arguments, "--out", str(tmp_path / "out.csv"))
    with open(tmp_path / "out.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    return line


def test_scores_beside_the_files_give_an_interval_over_images(tmp_path):
    a, b, c = (scored(tmp_path / f"{name}.csv", gain) for name, gain in (("a", 0), ("b", 0.4), ("c", 0.004)))
    line = compared(tmp_path, a, b)
    assert (line["over"], line["verdict"]) == ("images", "better")
    assert 0 < float(line["low"]) < float(line["difference"]) < float(line["high"])
    assert run(b, a) == 1
    assert run(a, c) == 0
    assert compared(tmp_path, a, a)["verdict"] == "equal"
    other = compared(tmp_path, a, b, "--resample", "attributes")
    assert (other["over"], other["verdict"]) == ("attributes", "better; over attributes")
    both = compared(tmp_path, a, b, "--resample", "both")
    assert both["over"] == "both"
    assert float(both["high"]) - float(both["low"]) > float(line["high"]) - float(line["low"])


def test_few_attributes_give_no_interval_over_attributes_and_no_verdict(tmp_path):
    """Of two attributes the interval would be a point, and certainty; over images there is one as ever."""
    a, b = (scored(tmp_path / f"{name}.csv", gain, k=2) for name, gain in (("a", 0), ("b", 0.4)))
    for resample, over in (("attributes", "attributes"), ("both", "images or attributes")):
        line = compared(tmp_path, a, b, "--resample", resample)
        assert (line["low"], line["high"], line["p"]) == ("", "", "")
        assert "no verdict" in line["verdict"]
        assert f"fewer than 8 {over}" in line["verdict"]
    assert compared(tmp_path, a, b)["verdict"] == "better"


def test_people_are_resampled_where_the_data_knows_them(tmp_path):
    lines = []
    for groups in (None, np.arange(400) // 40):
        a, b = (scored(tmp_path / f"{name}.csv", gain, groups=groups) for name, gain in (("a", 0), ("b", 0.4)))
        lines.append(compared(tmp_path, a, b))
    assert [line["over"] for line in lines] == ["images", "people"]
    assert lines[1]["verdict"] == "better; over people"
    assert lines[0]["low"] != lines[1]["low"]


def test_scores_that_are_not_those_of_the_row_are_no_evidence(tmp_path):
    a, b = scored(tmp_path / "a.csv", 0), scored(tmp_path / "b.csv", 0.4)
    changed = replace(RecordFile(b).read()[0], value=0.9)
    RecordFile(b).add([changed])
    assert compared(tmp_path, a, b)["verdict"] == "no verdict; noise unknown"


def test_errors_of_seeds_give_no_verdict(tmp_path, capsys):
    mean = replace(ROW, seed="mean of 0 1 2", stderr=0.0001)
    a = written(tmp_path / "a.csv", mean)
    assert run(a, written(tmp_path / "b.csv", replace(mean, value=0.3))) == 0
    assert "no verdict; seeds only" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["FD-faces", "FID_50k", "Recall"])
def test_a_distance_without_noise_is_never_a_regression_and_with_noise_may_be(tmp_path, metric):
    fd = replace(ROW, task="generation", metric=metric, better="lower", stderr=None, value=10.0)
    worse = replace(fd, value=11.0)
    a, b = written(tmp_path / "a.csv", fd), written(tmp_path / "b.csv", worse)
    assert run(a, b) == 0
    assert compared(tmp_path, a, b)["verdict"] == "no verdict; noise unknown"
    rng = np.random.default_rng(0)
    for path, one in ((a, fd), (b, worse)):
        write_noise(Path(path), one, Noise("same", 500, parts=(rng.standard_normal(500), rng.standard_normal(500))))
    assert run(a, b) == 1
    assert float(compared(tmp_path, a, b)["low"]) > 0.7


def test_counts_of_an_architecture_have_no_noise(tmp_path):
    size = replace(ROW, task="cost", protocol="architecture", metric="parameters_M", better="lower", stderr=None)
    a = written(tmp_path / "a.csv", size)
    assert run(a, written(tmp_path / "b.csv", replace(size, value=0.5001))) == 1


def psnr(path, values) -> str:
    row = replace(SSIM, metric="PSNR", value=float(np.mean(values)), stderr=None)
    write_values(
        values_path(path, {"metric": "PSNR"}),
        ImageValues({"PSNR": np.array(values, float)}, 1),
        np.arange(len(values)),
        {"metric": "PSNR"},
    )
    RecordFile(path).add([replace(row, nfe=1, encode_nfe=0)])
    return str(path)


@pytest.mark.parametrize("how", ["noise", "cut", "bit", "empty"])
def test_damaged_values_of_images_are_said_and_left_out(tmp_path, caplog, how):
    a, b = (psnr(tmp_path / f"{name}.csv", np.arange(20.0) + shift) for name, shift in (("a", 0), ("b", 1)))
    assert compared(tmp_path, a, b)["verdict"] == "better"
    forget()
    [path] = (tmp_path / "b_images").glob("*.npz")
    whole = path.read_bytes()
    bit = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    path.write_bytes({"noise": b"noise" * 50, "cut": whole[:90], "bit": bit, "empty": b""}[how])
    assert "no verdict" in compared(tmp_path, a, b)["verdict"]
    assert f"{path}: damaged" in caplog.text


def test_infinite_values_are_equal_and_said(tmp_path):
    a = psnr(tmp_path / "a.csv", [20, 21, np.inf, 24, 25])
    assert run(a, a) == 0
    assert compared(tmp_path, a, a)["verdict"] == "equal; infinite for 1 and 1 of 5 images"
    several = [20, 21, np.inf, 24, 25, 22, 23, 20, 21, 25]
    d = psnr(tmp_path / "d.csv", several)
    b = psnr(tmp_path / "b.csv", np.array(several) - [1, 0.9, 0, 1.1, 0.9, 1, 1, 0.8, 1.2, 0.9])
    assert compared(tmp_path, d, d)["verdict"] == "equal; infinite for 1 and 1 of 10 images"
    line = compared(tmp_path, d, b)  # the others tell which is better
    assert float(line["difference"]) == pytest.approx(-0.88)
    assert line["verdict"] == "REGRESSION; infinite for 1 and 1 of 10 images"
    c = psnr(tmp_path / "c.csv", [20, 21, 22, 24, 25])
    assert run(a, c) == 0
    assert compared(tmp_path, a, c)["verdict"] == "no verdict; infinite for 1 and 0 of 5 images"


def test_versions_of_a_task_do_not_mix_within_a_file_either(tmp_path, capsys):
    path = written(tmp_path / "a.csv", ROW, replace(PCA, task_version=2))
    assert run(path) == 2
    assert "expected numbers of one task_version, found 1 in" in capsys.readouterr().err
    assert run(path, written(tmp_path / "b.csv", ROW), "--where", "task_version=1") == 0
    of_two_protocols = [replace(row, protocol="factors", task_version=2) for row in (ROW, PCA)]
    assert run(written(tmp_path / "c.csv", ROW, PCA, *of_two_protocols)) == 0


def test_every_untrained_encoder_serves_its_own_method(tmp_path, capsys):
    bare = replace(PCA, model="untrained", method="DBAE", checkpoint_sha256="4588aa", value=0.2)
    other = replace(bare, method="DiffAE", checkpoint_sha256="4cc3aa", value=0.1)
    diffae = replace(ROW, model="b", method="DiffAE", checkpoint_sha256="bb", value=0.4)
    path = written(tmp_path / "a.csv", ROW, diffae, bare, other, replace(PCA, method=""))
    assert run(path, "--baseline", "untrained") == 0
    out = capsys.readouterr().out
    pairs = [f"before: untrained {bare}; after: {model}\n" for bare, model in
             (("DBAE 4588", "a"), ("DiffAE 4cc3", "b"), ("DBAE 4588", "pca"), ("DiffAE 4cc3", "pca"))]  # fmt: skip
    assert [out.count(pair) for pair in pairs] == [1, 1, 1, 1]
    assert "+0.3000" in out
    assert "4 numbers compared" in out
    assert run(path, "--baseline", "untrained diffae", "--models", "b") == 0
    assert "1 numbers compared" in capsys.readouterr().out
    assert run(path, "--baseline", "untrained", "--models", "nobody") == 2


def test_files_without_a_common_seed_are_told_so(tmp_path, capsys):
    one = written(tmp_path / "one.csv", ROW)
    mean = written(tmp_path / "mean.csv", replace(ROW, seed="mean of 0 1 2"))
    assert run(one, mean) == 2
    assert "Both are about downstream on faces, and differ in: seed (0 : mean of 0 1 2). " in capsys.readouterr().err


def test_numbers_of_labels_and_times_are_told_apart(tmp_path, capsys):
    """A file of before there were such rows has partners for those of all labels alone."""
    curve = [replace(ROW, n_train=n, value=n / 1000) for n in (100, 500)]
    times = [replace(ROW, z=f"mean at t={t}", value=t / 1000) for t in (100, 500)]
    old, new = (
        written(tmp_path / "old.csv", ROW),
        written(tmp_path / "new.csv", replace(ROW, value=0.6), *curve, *times),
    )
    assert run(old, new) == 0
    out = capsys.readouterr().out
    assert "1 numbers compared" in out
    assert "+0.1000" in out
    again = written(tmp_path / "again.csv", *(replace(row, value=row.value + 0.01) for row in (*curve, *times)))
    assert run(new, again, "--out", str(tmp_path / "c.csv")) == 0
    out = capsys.readouterr().out
    assert "4 numbers compared" in out
    assert [out.count(name) for name in ("AP of 100 labels", "AP of 500 labels", "AP t=100", "AP t=500")] == [
        1,
        1,
        1,
        1,
    ]
    with open(tmp_path / "c.csv") as file:
        assert sorted(row["n_train"] for row in csv.DictReader(file)) == ["", "", "100", "500"]
    assert run(new, again, "--where", "n_train=100") == 0
    assert "1 numbers compared" in capsys.readouterr().out
    few = written(tmp_path / "few.csv", curve[0])
    assert run(old, few) == 2
    assert "differ in: n_train (None : 100)" in capsys.readouterr().err


def test_what_cannot_be_compared_is_listed(tmp_path, capsys):
    few = replace(ROW, sampler="x", nfe_requested=10)
    others = [replace(few, model="b", sampler=name, checkpoint_sha256="bb") for name in ("y", "z")]
    path = written(tmp_path / "a.csv", few, replace(few, metric="MSE"), *others)
    assert run(path) == 0
    out = capsys.readouterr().out
    assert "3 numbers ambiguous" in out
    assert "they differ in sampler (x : y, z); name one of each: --where sampler=x sampler=y\n" in out
    assert "1 numbers only in a: MSE standard test x NFE 10" in out


@pytest.mark.parametrize("models", [0, 1], ids=["alone", "beside a model that both have"])
def test_of_ambiguous_numbers_it_is_said_what_to_choose(tmp_path, capsys, models):
    """DBAE decodes x_T from z; DiffAE's is drawn, or inferred."""
    dbae = replace(SSIM, model="dbae", x_T="decoded", sampler="dbim", nfe_requested=20, nfe=20, encode_nfe=0)
    diffae = replace(dbae, model="b", method="DiffAE", sampler="ddim", checkpoint_sha256="bb", value=0.9)
    how = [("random", 0.0, 0), ("random", 1.0, 0), ("inferred", 0.0, 20)]
    others = [replace(diffae, x_T=x_T, eta=eta, encode_nfe=inferred) for x_T, eta, inferred in how]
    shared = [replace(PCA, task="reconstruction")] * models
    a, b = written(tmp_path / "a.csv", dbae, *shared), written(tmp_path / "b.csv", *others, *shared)
    assert run(a, b) == 2
    message = capsys.readouterr().err
    assert "they differ in x_T (decoded : inferred, random), eta (none : 0.0, 1.0); name one of each" in message
    where = shlex.split(message.partition("--where ")[2].rstrip(".\n"))
    assert where == ["x_T=decoded", "x_T=inferred", "eta=", "eta=0.0"]
    assert run(a, b, "--where", *where) == 0
    assert "1 numbers compared" in capsys.readouterr().out


def test_as_many_numbers_are_listed_as_there_are(tmp_path, capsys):
    """Seven have no partner, of six names; those of two models have one name."""
    alone = [replace(ROW, metric=f"M{i}") for i in range(5)]
    others = [replace(ROW, metric="other", model=name, checkpoint_sha256=name) for name in ("a", "b")]
    before, after = written(tmp_path / "a.csv", ROW, *others, *alone), written(tmp_path / "b.csv", ROW)
    assert run(before, after) == 0
    out = capsys.readouterr().out
    assert f"7 numbers only in {before}: M0 standard test seed 0, M1 " in out
    assert "M3 standard test seed 0 and 3 more\n" in out
    assert run(before, after, "--where", "metric=other", "metric=AP") == 0
    assert "2 numbers only in" in (out := capsys.readouterr().out)
    assert ": other standard test seed 0 (2 times)\n" in out


def test_controls_alone_are_no_comparison_of_models(tmp_path, capsys):
    """Or a check that --tolerance makes would pass without a model having been looked at."""
    two = [replace(ROW, model=name, checkpoint_sha256=name) for name in ("a", "b")]
    old = written(tmp_path / "old.csv", *two, PCA)
    new = written(tmp_path / "new.csv", replace(ROW, model="c", checkpoint_sha256="c"), PCA)
    assert run(old, new, "--tolerance", "0.005") == 2
    found = capsys.readouterr()
    assert "1 numbers compared" in found.out
    assert "no model was compared" in found.err


def test_a_row_without_a_seed_is_compared_with_any(tmp_path, capsys):
    prevalence = replace(PCA, model="prevalence", seed="", latent_dim=None)
    assert run(written(tmp_path / "a.csv", ROW, prevalence)) == 0
    assert "1 numbers compared" in capsys.readouterr().out


def test_the_number_of_verdicts_is_said_and_holm_corrects_for_it(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [replace(SSIM, nfe_requested=i, value=0.5, stderr=0.01) for i in range(40)]
    shifts = np.append(rng.normal(0, 0.0141, 39), 0.5)  # noise, and one that differs
    a = written(tmp_path / "a.csv", *rows)
    b = written(tmp_path / "b.csv", *(replace(r, value=r.value + d) for r, d in zip(rows, shifts, strict=True)))
    assert run(a, b) == 1  # some noise is called a regression, as it has to be
    assert "40 with a verdict, 0 without (2.0 verdicts of better or worse are expected" in capsys.readouterr().out
    assert run(a, b, "--holm") == 0
    out = capsys.readouterr().out
    assert out.count("better") == 2  # the line, and the sentence about the correction
    assert "corrected by Holm" in out
    assert "within noise; by Holm" in out  # where the interval beside it leaves out 0


def test_where_keeps_rows_with_these_cells(tmp_path, capsys):
    path = written(tmp_path / "a.csv", ROW, PCA, replace(ROW, metric="AUC"), replace(PCA, metric="AUC"))
    assert run(path, "--where", "metric=AP") == 0
    assert "1 numbers compared" in capsys.readouterr().out
    assert run(path, "--where", "metric=AP", "metric=AUC") == 0  # either
    assert "2 numbers compared" in capsys.readouterr().out
    for where, message in {"colour=red": "COLUMN=VALUE", "n=many": "a value as", "metric=MSE": "no row of"}.items():
        assert run(path, "--where", where) == 2
        assert message in capsys.readouterr().err


def test_where_takes_cells_as_they_stand_in_the_file(tmp_path, capsys):
    with_noise = [replace(row, boot_noise=True, churn=0.0) for row in (ROW, PCA)]
    path = written(tmp_path / "a.csv", ROW, PCA, *with_noise)
    for where in (["boot_noise=true"], ["boot_noise="], ["churn=0.0"], ["churn="], ["churn=0", "boot_noise=true"]):
        assert run(path, "--where", *where) == 0
        assert "1 numbers compared" in capsys.readouterr().out


def test_results_are_not_written_over(tmp_path, capsys):
    path = written(tmp_path / "a.csv", ROW, PCA)
    before = Path(path).read_bytes()
    assert run(path, "--out", path) == 2
    assert "expected a new file, found results" in capsys.readouterr().err
    assert Path(path).read_bytes() == before
    for _ in range(2):  # an older comparison is
        assert run(path, "--out", str(tmp_path / "c.csv")) == 0


def test_the_committed_results_are_compared_as_the_help_says(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = str(Path("results") / "utkface" / "downstream.csv")
    assert run(path, "--baseline", "untrained", "--where", "protocol=standard") == 0
    out = capsys.readouterr().out
    for method in ("DBAE", "DiffAE"):
        assert f"untrained {method} " in out
    for model in ("diffae-utkface32", "200000", "pca", "random", "prevalence"):
        assert model in out
    example = re.search(rf"compare ({re.escape(path)} .*--models .*)", compare.__doc__ or "")
    assert example
    assert run(*shlex.split(example[1])) == 0
    assert "200000 images seen" in capsys.readouterr().out
