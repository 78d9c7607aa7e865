from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from benchmarks.metrics import factors as fac
from benchmarks.metrics.factors import Codes, on_components


def grid(n: int = 1500, seed: int = 0) -> np.ndarray:
    """Three independent factors of 3, 4 and 5 classes."""
    return np.random.default_rng(seed).integers(0, [3, 4, 5], (n, 3))


def axis_aligned(n: int = 1500, seed: int = 0, noise: float = 0.02) -> Codes:
    """One dimension a factor, and a fourth of noise."""
    factors, rng = grid(n, seed), np.random.default_rng(seed + 100)
    z = np.column_stack([factors[:, [2, 0, 1]], np.zeros(n)]) + noise * rng.standard_normal((n, 4))
    return Codes(z.astype(np.float32), factors)


def rotated(codes: Codes) -> Codes:
    """Every factor in every dimension."""
    q = np.linalg.qr(np.random.default_rng(7).standard_normal((4, 4)))[0].astype(np.float32)
    return Codes(codes.z @ q, codes.factors)


def test_axis_aligned_codes_score_near_one():
    train, test = axis_aligned(400), axis_aligned(400, seed=1)
    assert fac.mutual_information_gap(axis_aligned()) > 0.95  # 20 bins: few images look informative by chance
    assert fac.factor_vae_score(train, test, train_votes=600, test_votes=300) == 1
    found = fac.dci(train, test)
    assert min(found.disentanglement, found.completeness, found.informativeness) > 0.98
    assert fac.separated_attribute_predictability(train, test) > 0.3  # linear classifiers see the outer classes only


def test_rotation_lowers_every_score_but_informativeness():
    train, test = axis_aligned(500), axis_aligned(500, seed=1)
    mixed, mixed_test = rotated(train), rotated(test)
    assert fac.mutual_information_gap(mixed) < 0.3
    assert fac.separated_attribute_predictability(mixed, mixed_test) < 0.2
    assert fac.factor_vae_score(mixed, mixed_test, train_votes=600, test_votes=300) < 0.95
    found = fac.dci(mixed, mixed_test)
    assert found.disentanglement < 0.6
    assert found.completeness < 0.6
    assert found.informativeness > 0.7


def test_processes_change_no_number_of_dci():
    train, test = axis_aligned(200, noise=0.5), axis_aligned(200, seed=1, noise=0.5)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(fac.dci(train, test))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    assert 0 < found[0].disentanglement < 1


def test_mig_of_known_information():
    """Two copies of a factor leave no gap; a code that carries half of a factor's entropy has a gap of a half."""
    factor = np.tile(np.arange(4), 100)
    noise = np.zeros(400)
    twice = Codes(np.column_stack([factor, factor]).astype(float), factor[:, None])
    assert fac.mutual_information_gap(twice) == pytest.approx(0, abs=1e-12)
    half = Codes(np.column_stack([factor // 2, noise]).astype(float), factor[:, None])
    assert fac.mutual_information_gap(half) == pytest.approx(0.5, rel=1e-9)
    alone = Codes(factor[:, None].astype(float), factor[:, None])
    assert fac.mutual_information_gap(alone) == pytest.approx(1, rel=1e-9)


def test_importance_matrices():
    identity = np.eye(3)
    assert fac.disentanglement(identity) == pytest.approx(1, abs=1e-8)
    assert fac.completeness(identity) == pytest.approx(1, abs=1e-8)
    uniform = np.ones((4, 3))
    assert fac.disentanglement(uniform) == pytest.approx(0, abs=1e-8)
    assert fac.completeness(uniform) == pytest.approx(0, abs=1e-8)
    # Two dimensions share each factor: still disentangled, less complete (entropy log 2 of log 4).
    shared = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert fac.disentanglement(shared) == pytest.approx(1, abs=1e-8)
    assert fac.completeness(shared) == pytest.approx(0.5, abs=1e-8)


def noise(n: int, seed: int) -> Codes:
    """Ten dimensions that know nothing of ten factors."""
    rng = np.random.default_rng(seed)
    return Codes(rng.standard_normal((n, 10)).astype(np.float32), rng.integers(0, 50, (n, 10)))


def test_factor_vae_score_is_chance_for_noise():
    """Votes counted on the images that made the majority would give .2 here."""
    scores = [fac.factor_vae_score(noise(400, seed), noise(400, seed + 50), train_votes=3000) for seed in range(4)]
    assert np.mean(scores) == pytest.approx(1 / 10, abs=0.02)
    codes = noise(400, 0)
    again = fac.factor_vae_score(codes, noise(400, 50), train_votes=3000)
    assert again == scores[0]
    dead = Codes(np.zeros_like(codes.z), codes.factors)
    assert fac.factor_vae_score(dead, dead) == 0


def test_collapse_does_not_raise_sap():
    """Two dimensions that carry the same factor leave no gap; dead dimensions beside one are at chance."""
    train, test = axis_aligned(300), axis_aligned(300, seed=1)

    def only(codes: Codes, dimension: int) -> Codes:
        return Codes(np.where(np.arange(4) == dimension, codes.z, np.float32(0.25)), codes.factors)

    collapsed = fac.separated_attribute_predictability(only(train, 3), only(test, 3))  # 3: the one of noise
    assert collapsed < 0.1
    one = fac.separated_attribute_predictability(only(train, 0), only(test, 0))
    assert one < fac.separated_attribute_predictability(train, test)


def test_refuses_constant_factors():
    with pytest.raises(ValueError, match=r"\[1\]"):
        Codes(np.zeros((4, 2)), np.array([[0, 1], [1, 1], [0, 1], [1, 1]]))


@pytest.mark.parity
@pytest.mark.parametrize(("d", "kept"), [(50, 36), (4, 4), (1, 1)])
def test_components_are_those_of_scikit_learn(d, kept):
    rng = np.random.default_rng(0)
    z = (rng.standard_normal((300, d)) * np.arange(1, d + 1) + 5).astype(np.float32)
    factors = np.arange(300)[:, None] % 3
    train, test = on_components(Codes(z[:200], factors[:200]), Codes(z[200:], factors[200:]))
    pca = PCA(kept, svd_solver="full").fit(z[:200].astype(np.float64))
    for found, codes in ((train, z[:200]), (test, z[200:])):
        wanted = pca.transform(codes.astype(np.float64))
        assert found.z.shape == wanted.shape
        np.testing.assert_allclose(np.abs(found.z), np.abs(wanted), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(test.factors, factors[200:])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_codes_that_are_not_finite(bad):
    codes = noise(10, 0)
    with pytest.raises(ValueError, match="finite"):
        Codes(np.where(codes.z == codes.z[0, 0], np.float32(bad), codes.z), codes.factors)


@pytest.mark.usefixtures("unchecked")
def test_refuses_factors_that_are_no_classes():
    codes = noise(10, 0)
    with pytest.raises(ValueError, match="integers, found float64"):
        Codes(codes.z, codes.factors / 2)


def test_votes_for_the_last_class_of_a_byte():
    codes = axis_aligned(200)
    scores = [
        fac.factor_vae_score(own, own, train_votes=300, test_votes=100)
        for own in (Codes(codes.z, 255 - codes.factors), Codes(codes.z, (255 - codes.factors).astype(np.uint8)))
    ]
    assert scores[0] == scores[1] == 1
