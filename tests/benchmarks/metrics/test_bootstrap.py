from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.metrics.bootstrap import (
    FEWEST,
    holding,
    holm,
    image_weights,
    of_counts,
    of_error,
    of_resamples,
    of_two_ways,
    paired_bootstrap,
)


def test_pairs_remove_what_both_models_share():
    hard = np.random.default_rng(0).uniform(0.1, 0.9, 40)
    found = paired_bootstrap(hard + 0.02, hard)
    assert found.difference == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.high == pytest.approx(0.02)
    assert found.p < 1e-100


def test_interval_has_the_width_of_the_normal_one():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(400), rng.standard_normal(400)
    found = paired_bootstrap(a, b)
    half = 1.96 * (a - b).std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)
    assert found.low < found.difference < found.high
    assert paired_bootstrap(a, b) == found  # its own generator


def test_p_values_agree_with_the_interval_and_go_beyond_the_resamples():
    rng = np.random.default_rng(2)
    for shift in np.linspace(0, 1.2, 25):
        x = rng.standard_normal(30) + shift
        found = paired_bootstrap(x, np.zeros(30))
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    x = rng.standard_normal(30) + 3
    expected = stats.ttest_1samp(x, 0).pvalue
    assert paired_bootstrap(x, np.zeros(30)).p == pytest.approx(expected, rel=1e-6)
    assert expected < 1e-12


def test_images_of_one_person_count_as_one():
    """Every image four times is no more evidence than once."""
    x = np.random.default_rng(3).standard_normal(50)
    once = paired_bootstrap(x, np.zeros(50))
    groups = np.repeat(np.arange(50), 4)
    people = paired_bootstrap(np.repeat(x, 4), np.zeros(200), groups=groups)
    assert people == pytest.approx(once)
    images = paired_bootstrap(np.repeat(x, 4), np.zeros(200))
    assert images.high - images.low < 0.6 * (once.high - once.low)
    for weights in image_weights(200, groups, 10):
        assert (weights.reshape(10, 50, 4) == weights.reshape(10, 50, 4)[..., :1]).all()
        assert (weights.sum(axis=1) == 200).all()


@pytest.mark.parametrize("units", [1, 2, 3, FEWEST - 1, FEWEST])
def test_few_units_give_a_difference_and_no_interval(units):
    """Two would give an interval of no width and p = 0, three one that is millions wide."""
    x = np.random.default_rng(5).standard_normal(units)
    drawn = np.random.default_rng(6).standard_normal((50, units))
    images = drawn.mean(axis=1)
    for found in (
        paired_bootstrap(x, np.zeros(units)),
        paired_bootstrap(np.repeat(x, 10), np.zeros(10 * units), groups=np.repeat(np.arange(units), 10)),
        of_resamples(float(x.mean()), images, units),
        of_two_ways(x, drawn, 1000),
        of_two_ways(np.resize(x, 20), np.resize(drawn, (50, 20)), units),
    ):
        assert np.isfinite(found.difference)
        assert np.isnan([found.low, found.high, found.p]).all() == (units < FEWEST)
        assert np.isfinite([found.low, found.high, found.p]).all() == (units >= FEWEST)


def test_resamples_without_a_value_are_left_out():
    drawn = np.array([0.1, np.nan, 0.3, 0.2])
    assert of_resamples(1.0, drawn, 50) == of_error(1.0, 0.1, 49)


def test_whole_numbers_have_whole_ends():
    found = of_counts(1.0, np.array([0.0, 1, 1, 1, 2] * 40))
    assert (found.low, found.high) == (0, 2)
    assert found.p == pytest.approx(0.4)


def test_an_interval_of_a_count_holds_the_count():
    """Resamples of a count of what passes a threshold may all lie on one side of it."""
    more = np.array([3.0, 3, 4, 5] * 50)
    found = of_counts(1.0, more)
    assert (found.low, found.high, found.p) == (1, 5, 0)
    found = of_counts(-1.0, more)  # value and resamples have other signs: neither is to be believed
    assert (found.low, found.high, found.p) == (-1, 5, 1)
    assert of_counts(6.0, more)[1:3] == (3, 6)
    assert np.isnan(holding(1.0, np.nan, np.nan)).all()


def test_two_ways_add_up_their_variances():
    """values = attribute effect + image effect: both components are known, and the interval has their sum."""
    rng = np.random.default_rng(4)
    k, widths = 20, []
    for _ in range(200):
        value = 0.3 * rng.standard_normal(k) + 0.1 * rng.standard_normal()
        drawn = value + 0.1 * rng.standard_normal((200, 1)) + 0.2 * rng.standard_normal((200, k))
        found = of_two_ways(value, drawn, 1000)
        widths.append((found.high - found.low) / 2)
    t = stats.t.ppf(0.975, 40)
    assert np.mean(widths) == pytest.approx(t * np.hypot(0.3 / np.sqrt(k), 0.1), rel=0.05)


def test_holm_rejects_as_statsmodels_would():
    p = np.array([0.012, 0.2, 0.001, 0.04, 0.0124])
    assert holm(p).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]  # .001 < .05/5, .012 < .05/4, .0124 < .05/3, .04 > .05/2
    assert holm(np.array([0.02, 0.03])).tolist() == [True, True]
    assert holm(np.array([0.03, 0.03])).tolist() == [False, False]
    assert holm(np.empty(0)).tolist() == []


def test_refuses_unpaired_numbers():
    with pytest.raises((ValueError, TypeError)):  # TypeError: shapes are checked by annotation under the test suite
        paired_bootstrap(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        paired_bootstrap(np.array([np.inf, 1.0]), np.zeros(2))
