"""Probes on few labels: which images have them, that no other label counts, and the rows and the figure of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.downstream.command import DownstreamOptions, run
from benchmarks.downstream.curves import ALL, draw_labels, label_curves
from benchmarks.downstream.few import folds, labelled, run_few
from benchmarks.downstream.probe import Split
from benchmarks.downstream.report import Table, format_table
from benchmarks.downstream.standard import STRENGTHS
from benchmarks.metrics.prediction import average_precision
from benchmarks.results import Record, RecordFile
from dbae.latents import Latents
from dbae.support.errors import UserError


def measure(options: DownstreamOptions, dataset: Squares | None = None) -> list[Record]:
    run(options, lambda source: FakeLoaded(TinyModel()), lambda source, size: dataset or Squares())
    return RecordFile(options.out).read()


def options_in(folder: Path, **options: object) -> DownstreamOptions:
    plain = DownstreamOptions(
        ckpt=("a",), data=("squares",), out=folder / "d.csv", protocol=("standard",), device="cpu"
    )
    return dataclasses.replace(plain, **options)


@pytest.fixture
def options(tmp_path: Path) -> DownstreamOptions:
    return options_in(tmp_path, seeds=(0,), labels=(30,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[DownstreamOptions, list[Table], list[Record]]:
    """A run that is over. Not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    options = options_in(folder, labels=(10, 30), seeds=(0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(folder / "cache"))
        tables = run(options, lambda source: FakeLoaded(TinyModel()), lambda source, size: Squares())
    return options, tables, RecordFile(options.out).read()


def test_more_labels_of_a_seed_contain_fewer():
    few, many, other = labelled(60, 10, seed=1), labelled(60, 30, seed=1), labelled(60, 10, seed=2)
    assert (len(set(few)), len(set(many))) == (10, 30)
    assert set(few) < set(many) < set(range(60))
    assert set(few) != set(other)
    assert set(labelled(60, 60, seed=1)) == set(range(60))


def test_nobody_is_in_two_folds():
    people = np.repeat(np.arange(20) * 7, 3)
    found = folds(people, seed=0)
    assert all(len(set(found[people == who])) == 1 for who in people)
    assert np.bincount(found).tolist() == [12] * 5
    assert not np.array_equal(found, folds(people, seed=1))


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_strength_is_that_of_cross_validation(kind):
    """Against scikit-learn: the same folds, strengths and criterion, each map fitted anew."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((140, 6)).astype(np.float32) * [1, 2, 3, 4, 5, 6]
    y = z @ rng.standard_normal((6, 3)) + 8 * rng.standard_normal((140, 3))
    y = (y > 0).astype(np.int8) if kind == "classification" else y
    few, shown = slice(0, 40), slice(40, 140)
    train, test = (
        Split(Latents(z[part, None, None].astype(np.float32)), y[part], people=None) for part in (few, shown)
    )
    (found,) = run_few(train, test, kind=kind, seed=3)

    def fitted(strength: float, x: np.ndarray, targets: np.ndarray) -> object:
        last = Ridge(alpha=strength * len(x)) if kind == "regression" else LogisticRegression(C=strength, tol=1e-8)
        return make_pipeline(StandardScaler(), last).fit(x, targets)

    def predict(map_: object, x: np.ndarray, *, intercept: bool = True) -> np.ndarray:
        if kind == "regression":
            return map_.predict(x)
        return map_.decision_function(x) - (0 if intercept else map_[-1].intercept_[0])

    fold = folds(np.arange(40), seed=3)
    for j in range(3):
        scores = []
        for strength in STRENGTHS[kind]:
            left_out = np.zeros(40)
            for i in range(5):
                map_ = fitted(strength, z[few][fold != i], y[few][fold != i, j])
                left_out[fold == i] = predict(map_, z[few][fold == i], intercept=False)
            error = -np.mean((left_out - y[few][:, j]) ** 2)
            score = average_precision(y[few][:, [j]], left_out[:, None])[0] if kind == "classification" else error
            scores.append(score)
        best = STRENGTHS[kind][int(np.argmax(np.round(scores, 12)))]
        np.testing.assert_allclose(
            found.predictions[:, j], predict(fitted(best, z[few], y[few][:, j]), z[shown]), rtol=1e-3, atol=1e-3
        )


def test_rows_of_few_labels_stand_beside_those_of_all(finished):
    rows = finished[2]
    means = [r for r in rows if r.metric == "AP"]
    assert {(r.model, r.n_train, r.seed) for r in means if r.model != "prevalence"} == {
        (model, n, seed)
        for model in ("tiny", "untrained", "pca", "random")
        for n in (None, 10, 30)
        for seed in ("0", "1", "mean of 0 1")
    }
    assert {(r.n_train, r.seed) for r in means if r.model == "prevalence"} == {(None, "")} | {
        (n, seed) for n in (10, 30) for seed in ("0", "1", "mean of 0 1")
    }
    spread = next(r for r in means if (r.model, r.n_train, r.seed) == ("tiny", 10, "mean of 0 1"))
    draws = [r.value for r in means if (r.model, r.n_train) == ("tiny", 10) and not r.seed.startswith("mean")]
    assert spread.stderr == pytest.approx(np.std(draws, ddof=1) / 2**0.5)
    assert {r.protocol for r in rows} == {"standard"}
    assert not [r for r in rows if r.n_train and r.metric.endswith("_drawn")]


def test_rows_of_all_labels_are_those_of_a_run_without_few(options):
    rows, before = measure(options), options.out.read_bytes()
    measure(options)
    assert options.out.read_bytes() == before
    options = dataclasses.replace(options, labels=(), out=options.out.with_name("alone.csv"))
    assert [(r.identity, r.value) for r in measure(options)] == [
        (r.identity, r.value) for r in rows if r.n_train is None
    ]
    assert draw_labels(options.out) is None


def test_no_other_label_counts(options):
    """Of training, validation and unlabelled images; the test labels stay, and constants are not made."""
    changed = Squares()
    known = changed.splits["train"][labelled(60, 30, 0)]
    others = np.setdiff1d(np.concatenate([changed.splits["train"], changed.splits["val"]]), known)
    changed.attributes.binary[others] = changed.attributes.binary[others[::-1]]
    changed.attributes.continuous[others] *= -3
    found = [measure(options), measure(dataclasses.replace(options, out=options.out.with_name("e.csv")), changed)]
    few, everything = (
        [[r.value for r in rows if bool(r.n_train) is some and not np.isnan(r.value)] for rows in found]
        for some in (True, False)
    )
    assert few[0] == few[1]
    assert everything[0] != everything[1]


def test_an_attribute_that_the_labels_lack_is_predicted_as_a_constant(options):
    squares = Squares()
    rare = labelled(60, 60, 0)
    squares.attributes.binary[:, 1] = 0
    squares.attributes.binary[squares.splits["test"][:5], 1] = 1
    hidden = np.setdiff1d(rare, labelled(60, 30, 0))
    squares.attributes.binary[squares.splits["train"][hidden[:6]], 1] = 1
    measure(options, squares)
    rows = RecordFile(options.out.with_name("d_attributes.csv")).read()
    (found,) = [r.value for r in rows if (r.model, r.n_train, r.attribute, r.metric) == ("tiny", 30, "Bright", "AP")]
    assert found == 0.25


def test_figure_and_table_have_all_models_at_all_numbers(finished):
    options, tables, _ = finished
    assert [", 30 labelled images," in format_table(table) for table in tables] == [False, False, True]
    found = label_curves(options.out)
    assert set(found) == {("squares", "AP"), ("squares", "Pearson_r")}
    panel = {model.model: points for model, points in found["squares", "AP"].items()}
    assert set(panel) == {"tiny", "untrained", "pca", "random", "prevalence"}
    assert {tuple(p.x for p in points) for points in panel.values()} == {(10, 30, ALL)}
    for name in ("tiny", "pca"):
        assert all(p.low <= p.value <= p.high <= 1 and len(p.seeds) == 2 for p in panel[name])
        assert all(p.value == pytest.approx(np.mean(p.seeds)) for p in panel[name])
    assert np.isnan(panel["prevalence"][0].low)
    assert draw_labels(options.out).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": (61,)}, r"--labels 61: expected at most the 60 training images of squares"),
        ({"labels": (9,)}, r"--labels 9: expected 10 or more"),
        ({"labels": (20, 20)}, r"--labels: expected different numbers"),
        ({"protocol": ("paper",)}, r"--labels: protocol paper .* add --protocol standard"),
    ],
)
def test_numbers_of_labels_that_cannot_be_are_named(options, changes, message):
    with pytest.raises(UserError, match=message):
        measure(dataclasses.replace(options, **changes))
    assert not options.out.exists()
