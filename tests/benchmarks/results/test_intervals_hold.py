"""How often a verdict is wrong, and how often right, by simulation: about 5 % and more than half.

Pairs are few enough for seconds; `python tests/helpers/simulated_pairs.py` has any number of them (docs/intervals.md).
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from simulated_pairs import rates

false_alarms = functools.cache(rates)


@pytest.mark.parametrize(
    ("kind", "pairs"), [("image values", 400), ("people", 400), ("probes", 150), ("many attributes", 150)]
)
def test_false_alarms_of_means_over_images_and_attributes(kind, pairs):
    for name, rate in false_alarms(kind, pairs).items():
        assert 0.03 <= rate <= 0.07, (name, rate)


def test_false_alarms_of_distances_between_sets():
    for name, rate in false_alarms("sets of images", 400).items():
        assert 0.03 <= rate <= 0.07, (name, rate)


def test_false_alarms_of_neighbours():
    """Four numbers of the same sets; together they are as sure as of many more pairs."""
    found = false_alarms("neighbours", 150)
    assert 0.03 <= np.mean(list(found.values())) <= 0.07, found
    assert max(found.values()) < 0.1, found


def test_false_alarms_of_disentanglement():
    """ATTRS is a whole number: its quantiles rarely leave out zero, and never too often."""
    found = false_alarms("codes", 80)
    assert max(found.values()) <= 0.07, found


def test_sixteen_pairs_are_covered_by_bootstrap_t_and_not_by_percentiles():
    studentised, percentiles = false_alarms("few", 1000).values()
    assert 0.03 <= studentised <= 0.07
    assert percentiles > studentised + 0.02


@pytest.mark.parametrize(("kind", "least"), [("image values", 0.7), ("people", 0.6), ("sets of images", 0.5)])
def test_a_stated_gain_is_found(kind, least):
    assert max(rates(kind, 100, seed=1, gain=True).values()) > least
