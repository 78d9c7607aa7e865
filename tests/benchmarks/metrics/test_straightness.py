"""Straightness and curvature of paths whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics.straightness import path


def walk(frames: int, dimensions: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((frames, dimensions)).cumsum(axis=0)


def test_a_straight_line_has_cosine_1_at_any_speed():
    speed = np.array([0.0, 1, 3, 3.5, 10, 11])[:, None]
    direction = np.random.default_rng(0).standard_normal((1, 7))
    found = path(4 + speed * direction)
    assert found.straightness == pytest.approx(1, abs=1e-12)
    assert found.curvature == pytest.approx(0, abs=1e-5)
    turned = path(np.array([[0.0], [1], [2], [1]]))
    assert turned == pytest.approx((0, 90))  # once on, once back


def test_a_random_walk_has_about_0():
    found = path(walk(2000, 64))
    assert found.straightness == pytest.approx(0, abs=0.02)
    assert found.curvature == pytest.approx(90, abs=1)


def test_codes_that_have_nothing_to_do_with_each_other_have_minus_one_half():
    found = path(np.random.default_rng(1).standard_normal((2000, 512)))
    assert found.straightness == pytest.approx(-0.5, abs=0.02)
    assert found.curvature == pytest.approx(120, abs=1)


@pytest.mark.parametrize("corners", [4, 24, 100_000])
def test_a_polygon_turns_by_its_outer_angle(corners):
    phi = 2 * np.pi * np.arange(20) / corners
    found = path(np.stack([np.cos(phi), np.sin(phi)], axis=1))
    assert found.curvature == pytest.approx(360 / corners, rel=1e-6)
    assert found.straightness == pytest.approx(np.cos(2 * np.pi / corners), abs=1e-12)


def test_neither_scale_nor_rotation_nor_shift_matters():
    z = walk(40, 5)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))
    assert path(1e-4 * z @ turn) == pytest.approx(path(z))
    assert path(z + 100) == pytest.approx(path(z))


def test_frames_that_stay_are_passed_over():
    z = walk(10, 3)
    assert path(np.repeat(z, 3, axis=0)) == path(z)


def test_what_does_not_move_has_no_direction():
    still = np.full((9, 4), 5, np.float32)
    rounding = still + np.random.default_rng(0).integers(-1, 2, still.shape).astype(np.float32) * 4.8e-7
    assert (rounding != still).any()
    for z in (still, rounding, np.zeros((9, 4)), walk(2, 4), walk(1, 4)):
        assert np.isnan(path(z)).all()
