"""Protocol standard: what is chosen on validation, what is measured, and what has no number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.downstream import solver
from benchmarks.downstream.probe import Split
from benchmarks.downstream.standard import choose, measured, run_standard
from benchmarks.metrics.prediction import average_precision
from dbae.latents import Latents


def problem(n: int = 200, d: int = 6, *, seed: int = 0, kind: str = "classification") -> Split:
    """Latents whose first coordinates carry the targets, with some noise."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d)).astype(np.float32)
    score = z[:, :3].astype(np.float64) * [1, 1, -1] + 0.3 * rng.standard_normal((n, 3))
    return Split(Latents(z[:, None, None]), (score > 0.5).astype(np.int8) if kind == "classification" else score)


def splits(kind: str, n: int = 200) -> tuple[Split, Split, Split]:
    train, val, test = (problem(n, seed=seed, kind=kind) for seed in range(3))
    return train, val, test


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("probe", ["linear", "mlp", "knn"])
def test_probes_learn_and_repeat(kind, probe):
    train, val, test = splits(kind)
    (outcome,) = run_standard(train, val, test, kind=kind, probe=probe, seed=3)
    (again,) = run_standard(train, val, test, kind=kind, probe=probe, seed=3)
    first = next(iter(outcome.scores.values()))
    assert first.shape == (3,)
    assert first.min() > 0.75
    np.testing.assert_array_equal(outcome.predictions, again.predictions)
    assert outcome.selected_on == "val"
    assert outcome.rank == 6
    (other,) = run_standard(train, val, test, kind=kind, probe=probe, seed=4)
    assert np.array_equal(outcome.predictions, other.predictions) == (probe != "mlp")


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_scale_offset_and_mixing_of_z_change_nothing(kind):
    """A linear map at its optimum does not see the scale that z has; 15 epochs of Adam do."""
    train, val, test = splits(kind)

    def scaled(split: Split) -> Split:
        factors = np.array([1e-2, 1, 1e2, 1, 5, 1], np.float32)
        return Split(Latents(split.latents.array * factors - np.float32(3)), split.targets)

    (plain,) = run_standard(train, val, test, kind=kind, probe="linear", seed=0)
    (other,) = run_standard(scaled(train), scaled(val), scaled(test), kind=kind, probe="linear", seed=0)
    np.testing.assert_allclose(other.predictions, plain.predictions, rtol=0, atol=2e-3)


def test_each_attribute_has_the_strength_that_is_best_on_validation():
    train, val, test = splits("classification", 60)
    train.targets[:, 0] = np.random.default_rng(9).integers(0, 2, 60)  # nothing to learn
    (outcome,) = run_standard(train, val, test, kind="classification", probe="linear", seed=0)
    z, held_out, shown = (split.latents.mean() for split in (train, val, test))
    axes = solver.axes(z)
    fits = solver.logistic(axes(z), train.targets)
    table = np.stack([average_precision(val.targets, fits.predictions(axes(held_out), s)) for s in range(9)])
    best = table.argmax(axis=0)
    assert len(set(best)) > 1  # else the test would not see a strength for all
    wanted = np.stack([fits.predictions(axes(shown), s)[:, k] for k, s in enumerate(best.tolist())], axis=1)
    np.testing.assert_allclose(outcome.predictions, wanted, atol=1e-12)
    np.testing.assert_allclose(outcome.scores["AP"], average_precision(test.targets, wanted), atol=1e-12)


def test_of_equals_the_most_regular_is_chosen_and_one_class_takes_the_default():
    targets = np.array([[1, 1], [0, 1], [0, 1]], np.int8)
    same = np.array([[2.0, 0], [1, 0], [0, 0]])
    assert choose("classification", targets, [same, 2 * same, -same], 2).tolist() == [0, 2]
    values = np.array([[1.0], [2.0]])
    assert choose("regression", values, [values + 1, values, values], 0).tolist() == [1]


def test_regression_of_noise_is_no_worse_than_the_mean():
    """15 epochs of Adam had 1.14 to 1.27 here."""
    rng = np.random.default_rng(0)

    def noise(n: int) -> Split:
        return Split(Latents(rng.standard_normal((n, 1, 1, 32)).astype(np.float32)), rng.standard_normal((n, 20)))

    train, val, test = noise(200), noise(100), noise(1000)
    (outcome,) = run_standard(train, val, test, kind="regression", probe="linear", seed=0)
    of_mean = np.square(test.targets - train.targets.mean(axis=0)).mean()
    assert outcome.scores["MSE"].mean() == pytest.approx(of_mean, rel=0.02)


@pytest.mark.parametrize("probe", ["linear", "mlp", "knn"])
def test_fewer_images_than_dimensions_and_single_classes(probe):
    rng = np.random.default_rng(1)

    def few(n: int, positives: bool) -> Split:
        targets = np.zeros((n, 3), np.int8)
        targets[:, 0] = rng.integers(0, 2, n)
        targets[:, 1] = 1
        targets[: n // 4, 2] = positives
        return Split(Latents(rng.standard_normal((n, 1, 1, 40)).astype(np.float32)), targets)

    train, val, test = few(24, True), few(6, False), few(30, True)
    (outcome,) = run_standard(train, val, test, kind="classification", probe=probe, seed=0)
    assert np.isfinite(outcome.predictions).all()
    assert np.isfinite(outcome.scores["AP"]).all()
    assert outcome.scores["AP"][1] == 1
    assert outcome.rank == 23
    if probe == "linear":
        assert outcome.gradient.max() <= solver.TOLERANCE


def test_codes_that_do_not_vary_predict_the_mean():
    for kind, chance in (("classification", "AP"), ("regression", "Pearson_r")):
        train, val, test = (Split(Latents(np.ones_like(s.latents.array)), s.targets) for s in splits(kind))
        (outcome,) = run_standard(train, val, test, kind=kind, probe="linear", seed=0)
        wanted = test.targets.mean(axis=0) if kind == "classification" else np.zeros(3)
        np.testing.assert_allclose(outcome.scores[chance], wanted, atol=1e-12)
        assert outcome.rank == 0


def test_r_of_a_constant_prediction_is_zero_and_of_a_constant_target_unknown():
    targets = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    found = measured("regression", targets, np.full((3, 2), 5.0))
    np.testing.assert_array_equal(found["Pearson_r"], [0, np.nan])


def test_training_rows_are_those_of_the_training_images():
    train, val, test = splits("classification", 40)
    (outcome,) = run_standard(train, val, test, kind="classification", probe="linear", seed=0)
    (itself,) = run_standard(train, val, train, kind="classification", probe="linear", seed=0)
    np.testing.assert_allclose(outcome.train, itself.scores["AP"], atol=1e-12)
    torch.testing.assert_close(outcome.gradient, itself.gradient)
