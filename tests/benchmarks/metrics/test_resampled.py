"""Metrics under weights are those of the images that the weights say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics import prediction
from benchmarks.metrics.bootstrap import image_weights
from benchmarks.metrics.resampled import AveragePrecision, Pearson, SquaredError


@pytest.mark.parametrize("ties", [False, True])
def test_weights_are_repeated_images(ties):
    rng = np.random.default_rng(0)
    labels = (rng.random((150, 4)) < [0.05, 0.2, 0.5, 0.9]).astype(np.int8)
    scores = labels + rng.standard_normal((150, 4))
    scores = np.round(scores, 0 if ties else 12)
    target = labels + rng.standard_normal((150, 4))
    cases = (
        (AveragePrecision(labels, scores), prediction.average_precision, labels),
        (Pearson(target, scores), prediction.pearson, target),
        (SquaredError(target, scores), prediction.mean_squared_error, target),
    )
    for weighted, plain, of in cases:
        np.testing.assert_allclose(weighted(np.ones((1, 150)))[0], plain(of, scores), atol=1e-12)
        (weights,) = image_weights(150, None, 20)
        found = weighted(weights)
        for w, row in zip(weights, found, strict=True):
            images = np.repeat(np.arange(150), w.astype(int))
            np.testing.assert_allclose(row, plain(of[images], scores[images]), atol=1e-12)


def test_a_resample_without_positives_has_no_ap():
    labels = np.array([[1], [0], [0]], np.int8)
    found = AveragePrecision(labels, np.array([[1.0], [2.0], [0.0]]))(np.array([[1, 1, 1], [0, 2, 1]], float))
    assert found[0, 0] == 0.5
    assert np.isnan(found[1, 0])
    nobody = labels * 0  # has 0 in the mean of the published protocol
    assert AveragePrecision(nobody, np.ones((3, 1)))(np.ones((1, 3))) == 0
    assert prediction.average_precision(nobody, np.ones((3, 1))) == 0


def test_r_of_a_resample_in_which_one_side_is_constant_is_not_defined():
    rng = np.random.default_rng(0)
    target, prediction = rng.standard_normal((2, 40, 3)) + 5
    target[:39] = target[0]  # all images but one have the same value
    weights = np.ones((2, 40))
    weights[1, 39] = 0
    found = Pearson(target, prediction)(weights)
    assert np.abs(found[0]).max() <= 1
    assert np.isnan(found[1]).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("metric", [AveragePrecision, Pearson, SquaredError])
def test_arrays_of_other_shapes_are_refused(metric):
    known = np.eye(4)[:, :2]
    for other in (known[:1], known[:, :1], known[:, 0]):
        with pytest.raises(ValueError, match=r"must have the shape \(4, 2\)"):
            metric(known, other)
    for weights in (np.ones(4), np.ones((1, 3)), np.ones((4, 1))):
        with pytest.raises(ValueError, match=r"weights must have the shape \(r, 4\)"):
            metric(known, known)(weights)
