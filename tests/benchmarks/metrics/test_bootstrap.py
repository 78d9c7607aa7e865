from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics.bootstrap import paired_bootstrap


def test_pairs_remove_what_both_models_share():
    hard = np.random.default_rng(0).uniform(0.1, 0.9, 40)
    found = paired_bootstrap(hard + 0.02, hard)
    assert found.difference == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.high == pytest.approx(0.02)


def test_interval_has_the_width_of_the_normal_one():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(400), rng.standard_normal(400)
    found = paired_bootstrap(a, b)
    half = 1.96 * (a - b).std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)
    assert found.low < found.difference < found.high
    assert paired_bootstrap(a, b) == found  # its own generator


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        found = paired_bootstrap(0.5 + rng.standard_normal(40), np.zeros(40), resamples=300)
        hits += found.low <= 0.5 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_refuses_unpaired_numbers():
    with pytest.raises((ValueError, TypeError)):  # TypeError: shapes are checked by annotation under the test suite
        paired_bootstrap(np.zeros(3), np.zeros(4))
