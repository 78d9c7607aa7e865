"""Differences between rows of the study hold their level with noise of images and of seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from report_results import CONTROL, PROBE, average_precision

from benchmarks.results import RecordFile
from benchmarks.study.differences import Probed, compared, differences, means, pooled, probed
from benchmarks.study.found import points_of
from benchmarks.study.plan import SCALES, planned
from benchmarks.study.register import Run

SEEDS = {"dbae": 3, "vae": 2, "ae": 1}


def drawn(rng, seeds: int, of_seeds: float, of_images: float) -> Probed:
    """A row whose true value is 0."""
    values = rng.normal(0, of_images) + rng.normal(0, of_seeds, seeds)
    return Probed(tuple(values.tolist()), rng.normal(0, of_images, (100, 1)), 2000)


@pytest.mark.parametrize(("first", "others", "seeds"), [(1.0, 1.0, 3), (1.0, 1.0, 1), (0.2, 0.2, 2), (3.0, 0.3, 3)])
def test_the_interval_holds_its_level(first, others, seeds):
    """No smaller than it says, be the rows alike in what seeds do to them or not, and little larger."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1500):
        a, *more = (drawn(rng, n, s, 1.0) for n, s in ((seeds, first), (3, others), (3, others), (3, others)))
        found = compared(a, more[0], pooled([a, *more]))
        hits += found["low"] <= 0 <= found["high"]
    assert 0.935 < hits / 1500 < 0.985


def test_seeds_widen_what_images_leave():
    rng = np.random.default_rng(0)
    a, b = (drawn(rng, 3, 1.0, 0.01) for _ in range(2))
    found = compared(a, b, pooled([a, b]))
    assert found["se_seeds"] > 20 * found["se_images"]
    assert found["high"] - found["low"] > 4 * found["se_seeds"]


@pytest.fixture
def points(tmp_path):
    """Runs of three rows, each with its own scores beside the results."""
    plan, found = planned(tuple(SEEDS), SCALES["cpu"], "faces", Path("runs")), {}
    for number, row in enumerate(plan.rows):
        for seed in range(SEEDS[row.key]):
            images = plan.training(row, seed, 1e-3).images
            run = Run(row.key, seed, 1e-3, images, None, {}, "", None, "", {images: f"{number}{seed}" * 32})
            found |= points_of([run])
            about = {"model": run.name, "method": row.label, "checkpoint_sha256": f"{number}{seed}" * 32}
            averaged(tmp_path, dataclasses.replace(PROBE, **about), 1.0 + number, seed=10 * number + seed)
    averaged(tmp_path, CONTROL, 2.0, seed=99)
    return found


def averaged(folder, row, signal, seed):
    """The row of a probe's seeds beside that of its only one."""
    average_precision(folder, row, signal, seed)
    (single,) = (r for r in RecordFile(folder / "downstream.csv").read() if r.identity == row.identity)
    RecordFile(folder / "downstream.csv").add([dataclasses.replace(single, seed="mean of 0")])


def values(rows, label):
    return [row.value for row in rows if row.method == label and row.seed == "mean of 0"]


def test_rows_stand_against_pca_and_rows_of_several_seeds(tmp_path, points):
    lines = differences(probed(points, tmp_path, PROBE.data_sha256, ("AP", "Pearson_r"), {}))
    assert {line["metric"] for line in lines} == {"AP"}
    pairs = {(line["row"], line["baseline"]): line for line in lines}
    assert {baseline for _, baseline in pairs} == {"DBAE", "VAE", "pca"}
    assert {row for row, baseline in pairs if baseline == "pca"} == {"DBAE", "VAE", "AE"}
    rows = RecordFile(tmp_path / "downstream.csv").read()
    means = [np.mean(values(rows, label)) for label in ("AE", "DBAE")]
    assert pairs["AE", "DBAE"]["difference"] == pytest.approx(means[0] - means[1])
    deviation = pooled([Probed(tuple(v), np.empty((0, 0)), 0) for v in (values(rows, "DBAE"), values(rows, "VAE"))])
    own = [max(np.std(values(rows, "DBAE"), ddof=1), deviation.deviation), deviation.deviation]
    assert pairs["AE", "DBAE"]["se_seeds"] == pytest.approx((own[0] ** 2 / 3 + own[1] ** 2) ** 0.5)
    assert deviation.freedom == 3
    assert pairs["AE", "VAE"]["se_images"] > 0


def test_groups_of_attributes_are_parts_of_the_mean(tmp_path, points):
    rows = probed(points, tmp_path, PROBE.data_sha256, ("AP",), {"first": ["a", "b"], "rest": ["c", "d"], "no": ["e"]})
    assert [(found.metric, found.group) for found in rows] == [("AP", ""), ("AP", "first"), ("AP", "rest")]
    of_group = {(line["row"], line["group"]): line for line in means(rows)}
    whole = RecordFile(tmp_path / "downstream.csv").read()
    single = RecordFile(tmp_path / "downstream_attributes.csv").read()
    for label in ("DBAE", "VAE", "AE"):
        ab = [row.value for row in single if row.method == label and row.attribute in "ab"]
        assert of_group[label, "first"]["value"] == pytest.approx(np.mean(ab))
        assert of_group[label, "first"]["attributes"] == 2
        both = [of_group[label, group]["value"] for group in ("first", "rest")]
        assert np.mean(both) == pytest.approx(np.mean(values(whole, label)))
    lines = {line["group"]: line for line in differences(rows) if (line["row"], line["baseline"]) == ("AE", "DBAE")}
    both = [lines[group]["difference"] for group in ("first", "rest")]
    assert np.mean(both) == pytest.approx(lines[""]["difference"])
    assert both[0] == pytest.approx(of_group["AE", "first"]["value"] - of_group["DBAE", "first"]["value"])


def test_one_seed_each_gives_no_differences(tmp_path, points):
    firsts = {key: point for key, point in points.items() if point.run.seed == 0}
    assert differences(probed(firsts, tmp_path, PROBE.data_sha256, ("AP", "Pearson_r"), {})) == []
