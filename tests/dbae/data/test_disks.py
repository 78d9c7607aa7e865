"""Drawn disks: pixels against their formula, labels, determinism, version."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from dbae.data import Disks, disks, open_data
from dbae.support.errors import UserError


def test_a_pixel_is_its_formula():
    x, y, radius, intensity = 10.25, 20.5, 4.5, 0.8
    picture = disks.draw(np.array([[x, y, radius, intensity]]), 32)[0]
    for row, column in ((20, 10), (16, 10), (20, 14), (23, 13), (0, 31)):
        distance = math.hypot(column + 0.5 - x, row + 0.5 - y)
        wanted = 255 * intensity / (1 + math.exp(-2 * (radius - distance)))
        assert np.abs(picture[row, column].astype(float) - wanted).max() <= 0.5
    assert (picture[..., :1] == picture).all()


def test_labels_are_the_factors_in_standard_deviations():
    data = Disks(4000)
    labels = data.attributes
    assert labels.continuous_names == data.factors == ("x", "y", "radius", "intensity")
    assert labels.binary.shape == (4000, 0)
    for values, scaled, (low, high) in zip(data.values.T, labels.continuous.T, disks.RANGES.values(), strict=True):
        assert low <= values.min() < values.max() < high
        np.testing.assert_allclose(scaled * (high - low) / math.sqrt(12) + (low + high) / 2, values)
        assert abs(scaled.mean()) < 0.06
        assert abs(scaled.std() - 1) < 0.03
    correlations = np.corrcoef(labels.continuous.T) - np.eye(4)
    assert np.abs(correlations).max() < 0.06


def test_factors_are_read_off_the_pictures():
    """What moves in a picture is what its label says."""
    data = Disks(60, 64)
    mass = data.batch(range(60)).double()[:, 0] / 255
    middles = (np.arange(64) + 0.5) / 2
    x = (mass.sum(1).numpy() * middles).sum(1) / mass.sum((1, 2)).numpy()
    y = (mass.sum(2).numpy() * middles).sum(1) / mass.sum((1, 2)).numpy()
    np.testing.assert_allclose(np.stack([x, y], 1), data.values[:, :2], atol=0.05)
    np.testing.assert_allclose(mass.amax((1, 2)), data.values[:, 3], atol=0.01)
    area = mass.sum((1, 2)).numpy() / 4 / data.values[:, 3]  # pi (r^2 + pi^2 / 12): the mean square of a logistic edge
    np.testing.assert_allclose(np.sqrt(area / np.pi - np.pi**2 / 12), data.values[:, 2], rtol=0.01)


def test_a_picture_depends_on_seed_and_index_alone():
    small, large = Disks(20, 32), Disks(100, 32)
    np.testing.assert_array_equal(small.attributes.continuous, large.attributes.continuous[:20])
    np.testing.assert_array_equal(small.batch([19, 3])[1].permute(1, 2, 0).numpy(), large.image(3))
    assert (Disks(20, 32, 1).values != small.values).all()
    shrunk = Disks(20, 64).batch(range(20)).float().unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean((3, 5))
    assert (shrunk - small.batch(range(20)).float()).abs().mean() < 0.5


def test_splits_and_fingerprints():
    data = Disks(105)
    assert [len(data.split(name)) for name in ("train", "val", "test", "all")] == [84, 10, 11, 105]
    assert data.size == 32
    assert data.fingerprint == hashlib.sha256(b"disks-v1 n=105 size=32 seed=0").hexdigest()


def test_version_1_is_what_it_was():
    """When this fails and the change is meant, raise `disks.VERSION`, and write the new numbers here."""
    assert disks.VERSION == 1
    data = Disks(64)
    assert hashlib.sha256(data.values.tobytes()).hexdigest()[:16] == "9446f71a72981950"
    means = data.batch(range(6)).float().mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(means, (14.3164, 20.3184, 10.2822, 12.3125, 14.6357, 14.6416), atol=0.01)


def test_the_grammar_knows_them():
    data = open_data("disks:?n=30&seed=2", size=16)
    assert (len(data), data.size, data.seed) == (30, 16, 2)
    assert len(open_data("disks:?n=30&split=test")) == 3
    assert open_data("disks").size == 32
    with pytest.raises(UserError, match="expected no folder"):
        open_data("disks:here")
    with pytest.raises(UserError, match="disks: expected n >= 1, size >= 8"):
        open_data("disks:?size=4")
    with pytest.raises(UserError, match="no split 'dev'"):
        open_data("disks:?split=dev")
