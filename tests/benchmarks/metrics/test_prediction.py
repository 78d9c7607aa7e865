from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.downstream.probe import binary_cross_entropy
from benchmarks.metrics.prediction import average_precision, mean_squared_error, pearson

GOLDEN = Path(__file__).parents[2] / "golden" / "downstream"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics.npz") as arrays:
        return dict(arrays)


@pytest.mark.golden
@pytest.mark.parametrize("case", ["ap", "ap40"])
def test_average_precision_is_the_reference(golden, case):
    found = average_precision(golden[f"{case}/labels"], golden[f"{case}/scores"])
    np.testing.assert_allclose(found, golden[f"{case}/per_attribute"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.mean(), golden[f"{case}/mean"], rtol=0, atol=1e-9)


@pytest.mark.golden
def test_average_precision_of_degenerate_columns(golden):
    names = json.loads((GOLDEN / "metrics.json").read_text())["ap_columns"]
    found = dict(zip(names, average_precision(golden["ap/labels"], golden["ap/scores"]), strict=True))
    prevalence = golden["ap/labels"][:, names.index("constant_score")].mean()
    assert found["no_positive"] == 0
    assert found["all_positive"] == 1
    assert found["perfect"] == 1
    assert found["constant_score"] == pytest.approx(prevalence, abs=1e-12)


def test_average_precision_groups_ties_in_any_order():
    labels = np.array([1, 0, 1, 0, 0, 1], np.int8)[:, None]
    scores = np.array([2, 2, 2, 1, 1, 0.5], np.float32)[:, None]
    expected = 2 / 3 * 2 / 3 + 1 / 3 * 3 / 6
    for order in (np.arange(6), np.array([5, 1, 0, 4, 2, 3])):
        assert average_precision(labels[order], scores[order])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("n", [1, 2, 200, 5000])
@pytest.mark.parametrize("ties", [None, 1, 0])
def test_average_precision_is_that_of_scikit_learn(n, ties):
    """On all scores different (None) and rounded to decimals, which ties many; attributes from rare to certain."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(n)
    labels = (rng.random((n, 9)) < np.linspace(0.01, 1, 9)).astype(np.int8)
    labels[0] = 1
    scores = (rng.standard_normal((n, 9)) + labels).astype(np.float32)
    scores = scores if ties is None else scores.round(ties)
    expected = [average_precision_score(labels[:, i], scores[:, i].astype(np.float64)) for i in range(9)]
    np.testing.assert_allclose(average_precision(labels, scores), expected, rtol=0, atol=1e-15)


def test_average_precision_counts_both_zeros_as_one_score_and_refuses_nan():
    labels, scores = np.array([[1], [0], [1]], np.int8), np.array([[0.0], [-0.0], [0.0]], np.float32)
    assert average_precision(labels, scores)[0] == pytest.approx(2 / 3, abs=1e-15)
    scores[1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        average_precision(labels, scores)
    assert average_precision(np.zeros_like(labels), scores)[0] == 0  # no positive: the scores are not looked at


@pytest.mark.golden
def test_pearson_and_mse_are_the_reference(golden):
    names = json.loads((GOLDEN / "metrics.json").read_text())["reg_columns"]
    target, prediction = golden["reg/target"], golden["reg/pred"]
    found = pearson(target, prediction)
    loose = np.array([name == "near_constant_pred" for name in names])
    np.testing.assert_allclose(found[~loose], golden["reg/pearson"][~loose], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[loose], golden["reg/pearson"][loose], rtol=0, atol=1e-3)
    assert np.isnan(found.mean()) == np.isnan(golden["reg/pearson_mean_raw"])
    regular = [i for i, n in enumerate(names) if n not in ("constant_pred", "constant_target", "near_constant_pred")]
    assert found[regular].mean() == pytest.approx(float(golden["reg/pearson_mean_regular"]), abs=1e-9)

    mse = mean_squared_error(target, prediction)
    np.testing.assert_allclose(mse, golden["reg/mse"], rtol=1e-10)
    assert mse.mean() == pytest.approx(float(golden["reg/mse_mean"]), rel=1e-10)


@pytest.mark.golden
def test_binary_cross_entropy_is_the_reference(golden):
    logits = torch.from_numpy(golden["ap40/scores"])
    labels = torch.from_numpy(golden["ap40/labels"]).float()
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(float(golden["bce/value"]), abs=1e-6)
    labels[::7, 3] = torch.nan
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(float(golden["bce/value_nan_masked"]), abs=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("metric", "known", "predicted", "said"),
    [
        (average_precision, np.array([[-1], [1]]), np.zeros((2, 1)), r"0 or 1, found \[-1  1\]"),
        (average_precision, np.array([[0.5], [1]]), np.zeros((2, 1)), "0 or 1"),
        (average_precision, np.array([[np.nan], [1]]), np.zeros((2, 1)), "0 or 1"),
        (average_precision, np.ones((2, 1)), np.zeros((3, 1)), r"\(2, 1\) .*, found \(3, 1\)"),
        (pearson, np.zeros((3, 2)), np.zeros((3, 1)), r"\(3, 2\) .*, found \(3, 1\)"),
        (pearson, np.zeros((1, 2)), np.zeros((1, 2)), "two images or more, got 1"),
        (mean_squared_error, np.zeros((3, 2)), np.zeros((1, 2)), r"\(3, 2\) .*, found \(1, 2\)"),
    ],
)
def test_refuses_what_it_cannot_compare(metric, known, predicted, said):
    with pytest.raises(ValueError, match=said):
        metric(known, predicted)
