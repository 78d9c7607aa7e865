"""Noise of numbers that are no means over images: what is kept, and how two numbers are paired."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from result_rows import row

from benchmarks.results.noise import Noise, digest, interval, noise_path, read_noise, write_noise

ROW = row(
    task="generation",
    protocol="standard",
    model="a",
    dataset="faces",
    split="all",
    metric="FD-faces",
    value=3.0,
    better="lower",
    n=200,
    data_sha256="dd",
)
RNG = np.random.default_rng(0)
C = RNG.standard_normal((3, 200)).astype(np.float32)
CASES = (
    Noise("x", 200, parts=(C[0], C[1][:50])),
    Noise("x", 200, halves=RNG.standard_normal((20, 2))),
    Noise("x", 200, resamples=RNG.standard_normal(100), whole=True),
)


@pytest.mark.parametrize("noise", CASES, ids=["contributions", "halves", "resamples"])
def test_the_file_is_what_it_says(tmp_path, noise):
    path = write_noise(tmp_path / "g.csv", ROW, noise)
    assert path == noise_path(tmp_path / "g.csv", ROW)
    found = read_noise(tmp_path / "g.csv", ROW)
    assert found is not None
    assert (found.scheme, found.units, found.whole) == (noise.scheme, noise.units, noise.whole)
    assert found.error == pytest.approx(noise.error, rel=1e-6)
    assert read_noise(tmp_path / "g.csv", dataclasses.replace(ROW, model="b")) is None


def test_a_difference_of_equals_has_no_noise_and_of_strangers_both():
    for noise in CASES[:2]:
        own = interval(0.0, noise, noise)
        assert (own.low, own.high) == (0, 0) or noise.halves is not None
        other = dataclasses.replace(noise, over="y")
        found = interval(1.0, noise, other)
        assert (found.high - found.low) / 2 == pytest.approx(2 * np.sqrt(2) * noise.error, rel=0.06)


def test_pairing_removes_what_both_models_share():
    shared, own = RNG.standard_normal(500), 0.1 * RNG.standard_normal((2, 500))
    a, b = (Noise("x", 500, parts=(shared + o,)) for o in own)
    found = interval(0.02, a, b)
    assert found.low > 0
    assert interval(0.02, a, dataclasses.replace(b, over="y")).low < 0


def test_a_share_that_no_half_changes_is_still_known_to_one_image_only():
    ones = Noise("x", 100, halves=np.ones((20, 2)))
    assert ones.error == 0.01
    assert interval(0.01, ones, ones).p > 0.05


def test_digests_tell_images_apart():
    images = np.arange(5)
    assert digest("sha", images) == digest("sha", images.copy())
    assert len({digest("sha", images), digest("sha", images[::-1]), digest("other", images), digest("sha", None)}) == 4
