"""The solvers reach the optimum, as scikit-learn's do, whatever the codes are like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.downstream import solver
from benchmarks.metrics.prediction import average_precision


def correlated(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Codes whose correlation matrix has a condition number of thousands, on scales that differ ten-thousand-fold."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) @ (rng.standard_normal((d, d)) * np.geomspace(1, 0.03, d)[:, None])
    return torch.from_numpy((mixed * np.geomspace(1e-2, 1e2, d)[rng.permutation(d)] + 5).astype(np.float32))


def labels_of(z: torch.Tensor, k: int, seed: int = 1) -> np.ndarray:
    """From common to rare, partly linear in z."""
    rng = np.random.default_rng(seed)
    mean, scale = solver.standardisation(z)
    x = ((z.double() - mean) * scale).numpy()
    score = x @ rng.standard_normal((x.shape[1], k))
    score = score / score.std(axis=0) + rng.standard_normal(score.shape)
    return (score > np.quantile(score, np.linspace(0.4, 0.97, k), axis=0).diagonal()).astype(np.int8)


def in_standardised_z(z: torch.Tensor, axes: solver.Axes, weights: torch.Tensor) -> np.ndarray:
    """Coefficients (k, d) of standardised z, from those of the axes."""
    _, scale = solver.standardisation(z)
    return (axes.map / scale[:, None] @ weights[:-1]).T.numpy()


def standardised(z: torch.Tensor, like: torch.Tensor) -> np.ndarray:
    mean, scale = solver.standardisation(like)
    return ((z.double() - mean) * scale).numpy()


@pytest.mark.parity
@pytest.mark.parametrize(("n", "d"), [(600, 12), (60, 12), (40, 60)])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_logistic_regression_is_scikit_learns(n, d, strength):
    from sklearn.linear_model import LogisticRegression

    z = correlated(n + 400, d)
    labels = labels_of(z, 5)
    train, test = z[:n], z[n:]
    axes = solver.axes(train)
    fits = solver.logistic(axes(train), labels[:n], (strength,), tolerance=1e-9)
    assert float(fits.gradients.max()) <= 1e-9
    ours = average_precision(labels[n:], fits.predictions(axes(test), 0))
    coefficients = in_standardised_z(train, axes, fits.weights[0])
    x, shown = standardised(train, train), standardised(test, train)
    for j, y in enumerate(labels[:n].T):
        reference = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000).fit(x, y)
        np.testing.assert_allclose(coefficients[j], reference.coef_[0], rtol=2e-3, atol=2e-4 * abs(coefficients).max())
        theirs = average_precision(labels[n:, [j]], reference.decision_function(shown)[:, None])[0]
        assert ours[j] == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parity
def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    for n, d in ((500, 12), (30, 50)):
        z = correlated(n, d)
        targets = np.random.default_rng(3).standard_normal((n, 3)) + z[:, :3].double().numpy()
        axes = solver.axes(z)
        for penalty in (1e-3, 1.0):
            fits = solver.ridge(axes(z), targets, (penalty,))
            reference = Ridge(alpha=penalty * n, solver="svd").fit(standardised(z, z), targets)
            np.testing.assert_allclose(
                fits.predictions(axes(z), 0), reference.predict(standardised(z, z)), rtol=1e-7, atol=1e-7
            )
            assert float(fits.gradients.max()) < 1e-10


def test_the_gradient_that_is_reported_is_that_of_the_objective():
    z = correlated(200, 6)
    labels, x = labels_of(z, 3), solver.axes(z)(z)
    fits = solver.logistic(x, labels, (0.1, 10.0), tolerance=1e-4)
    for s, c in enumerate((0.1, 10.0)):
        weights = fits.weights[s].clone().requires_grad_()
        f = x @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(f, torch.from_numpy(labels).double())
        (3 * loss + weights[:-1].square().sum() / (2 * c * len(z))).backward()  # the mean is over 3 attributes, too
        torch.testing.assert_close(weights.grad.norm(dim=0), fits.gradients[s], rtol=1e-6, atol=1e-12)
    assert 0 < float(fits.gradients.max()) <= 1e-4


def test_one_class_has_no_optimum_and_a_finite_answer():
    z = correlated(50, 4)
    labels = labels_of(z, 3)
    labels[:, 1], labels[:, 2] = 0, 1
    fits = solver.logistic(solver.axes(z)(z), labels)
    assert torch.isfinite(fits.weights).all()
    assert (fits.weights[:, :-1, 1:] == 0).all()
    assert (
        float(fits.weights[0, -1, 1]) == pytest.approx(-float(fits.weights[0, -1, 2])) == pytest.approx(-4.6, abs=0.1)
    )


def test_separable_classes_converge():
    z = correlated(40, 30)
    labels = (np.random.default_rng(0).random((40, 6)) < 0.3).astype(np.int8)
    x = solver.axes(z)(z)
    fits = solver.logistic(x, labels)
    assert float(fits.gradients.max()) <= solver.TOLERANCE
    np.testing.assert_array_equal(fits.predictions(x, len(solver.STRENGTHS) - 1) > 0, labels > 0)


def test_every_attribute_takes_the_strength_that_is_chosen_for_it():
    z = correlated(100, 5)
    fits = solver.logistic(solver.axes(z)(z), labels_of(z, 3))
    weights, gradients = fits.chosen(np.array([0, 8, 4]))
    for attribute, strength in enumerate((0, 8, 4)):
        torch.testing.assert_close(weights[:, attribute], fits.weights[strength, :, attribute], rtol=0, atol=0)
        assert gradients[attribute] == fits.gradients[strength, attribute]


def test_dimensions_that_are_rounding_noise_are_left_out():
    """They would be divided by their noise, and test codes that do vary there would explode."""
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.standard_normal((300, 5)).astype(np.float32))
    z[:, 1] = 7.0
    z[:, 2] *= 1e-7
    z[:, 3:] *= 0.01
    z[:, 3] = 1e4 + z[:, 3] * 0.1
    axes = solver.axes(z)
    assert axes.rank == 2
    test = torch.from_numpy(rng.standard_normal((300, 5)).astype(np.float32))
    test[:, 4] *= 0.01
    assert float(axes(test).abs().max()) < 10
    _, scale = solver.standardisation(z)
    assert (scale == 0).tolist() == [False, True, True, True, False]


def test_rank_is_that_of_the_codes():
    z = correlated(400, 6)
    assert solver.axes(z).rank == 6
    assert solver.axes(torch.cat([z, 2 * z[:, :2] - 1], dim=1)).rank == 6  # copies
    assert solver.axes(z[:4]).rank == 3
    dead = solver.axes(torch.ones(10, 3))
    assert dead.rank == 0
    fits = solver.logistic(dead(torch.ones(10, 3)), np.tile([0, 1], 5)[:, None])
    np.testing.assert_allclose(fits.predictions(dead(torch.ones(4, 3)), 0), 0, atol=1e-12)


def test_axes_keep_the_geometry_of_standardised_codes():
    z = correlated(400, 6)
    x, reference = solver.axes(z)(z), standardised(z, z)
    np.testing.assert_allclose(x @ x.T, reference @ reference.T, rtol=1e-9, atol=1e-8)
    gram = x.T @ x
    np.testing.assert_allclose(gram - torch.diag(gram.diagonal()), 0, atol=1e-8)
