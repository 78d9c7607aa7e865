"""Which images a probe is fitted to and chosen on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.downstream.problems import carve_validation, divide
from dbae.support.errors import UserError


def test_carved_validation_is_a_tenth_and_keeps_people_together():
    train = np.arange(10, 210)
    for seed in range(3):
        kept, held_out = carve_validation(train, None, seed)
        assert len(held_out) == 20
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(200))
        groups = np.arange(300) // 7
        kept, held_out = carve_validation(train, groups, seed)
        assert not set(groups[train[kept]]) & set(groups[train[held_out]])
        assert len(np.unique(groups[train[held_out]])) == 3  # of 29 people
    assert not np.array_equal(carve_validation(train, None, 0)[1], carve_validation(train, None, 1)[1])


def test_one_person_in_all_images_leaves_images_to_train_on():
    kept, held_out = carve_validation(np.arange(30), np.zeros(30, np.int64), 0)
    assert (len(kept), len(held_out)) == (27, 3)


def test_two_images_or_more_are_held_out():
    assert [len(carve_validation(np.arange(n), None, 0)[1]) for n in (4, 8, 15, 24, 25)] == [2, 2, 2, 2, 2]
    groups = np.array([0, 1, 2, 3, 4, 4, 4, 4])
    for seed in range(5):
        for kept, held_out in (
            carve_validation(np.arange(8), groups, seed),
            divide(np.arange(6), np.arange(6, 8), groups, seed + 1),
        ):
            assert min(len(kept), len(held_out)) >= 2
    for train, people in ((np.arange(3), None), (np.arange(8), np.array([1] + 7 * [2]))):
        with pytest.raises(UserError, match=f"2 or more images to fit to and 2 .* found {len(train)} images"):
            carve_validation(train, people, 0)


def test_seed_0_takes_the_splits_that_there_are():
    train, val = np.arange(100, 160), np.arange(20)
    kept, held_out = divide(train, val, None, 0)
    np.testing.assert_array_equal(kept, np.arange(60))
    np.testing.assert_array_equal(held_out, np.arange(60, 80))


def test_another_seed_draws_parts_of_the_same_sizes():
    train, val = np.arange(100, 160), np.arange(20)
    drawn = [divide(train, val, None, seed) for seed in (1, 2, 1)]
    for kept, held_out in drawn:
        assert (len(kept), len(held_out)) == (60, 20)
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(80))
        assert 0 < (held_out >= 60).sum() < 20  # of both splits
    np.testing.assert_array_equal(drawn[0][1], drawn[2][1])
    assert not np.array_equal(drawn[0][1], drawn[1][1])


def test_nobody_is_on_both_sides():
    train, val, groups = np.arange(60), np.arange(60, 80), np.repeat(np.arange(20), 4)
    both = np.concatenate([train, val])
    for seed in (1, 2, 3):
        kept, held_out = divide(train, val, groups, seed)
        assert not set(groups[both[kept]]) & set(groups[both[held_out]])
        assert len(held_out) == 20


def test_without_validation_every_seed_draws_it():
    train = np.arange(50)
    for seed in (0, 1):
        for one, two in zip(divide(train, None, None, seed), carve_validation(train, None, seed), strict=True):
            np.testing.assert_array_equal(one, two)
