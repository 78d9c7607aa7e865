"""Contributions of single images are what leaving the image out changes, and half splits find the noise there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.metrics.frechet import frechet_distance, inception_score, kernel_distance
from benchmarks.metrics.half_splits import half_splits
from benchmarks.metrics.influence import frechet_contributions, inception_contributions, kernel_contributions

N = 400
RNG = np.random.default_rng(0)
REAL = torch.from_numpy(RNG.standard_normal((N, 5)) @ RNG.standard_normal((5, 5)))
FAKE = torch.from_numpy(1.5 * RNG.standard_normal((N, 5)) + 0.5)


def left_out(function, images: range, *, of: str) -> np.ndarray:
    """(n - 1) (value - value without image i): what the jackknife calls its influence."""
    sets = {"real": REAL, "fake": FAKE}
    whole, found = function(**sets), []
    for i in images:
        rest = sets | {of: torch.cat([sets[of][:i], sets[of][i + 1 :]])}
        found.append((N - 1) * (whole - function(**rest)))
    return np.array(found)


def full_kernel(*, real, fake) -> float:
    """The kernel distance of all images; sets of unequal size are padded by nothing, so the sums are written out."""

    def mean(x, y, same):
        k = (x @ y.T / x.shape[1] + 1).pow(3)
        return float((k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1)) if same else k.mean())

    return mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, False)


@pytest.mark.parametrize("of", ["real", "fake"])
@pytest.mark.parametrize(
    ("function", "contributions"),
    [(frechet_distance, frechet_contributions), (full_kernel, kernel_contributions)],
    ids=["frechet", "kernel"],
)
def test_contributions_are_those_of_leaving_an_image_out(function, contributions, of):
    expected = left_out(function, range(30), of=of)
    found = dict(zip(("real", "fake"), contributions(real=REAL, fake=FAKE), strict=True))[of].numpy()
    assert found.mean() == pytest.approx(0, abs=1e-9)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[:30] / scale, expected / scale, atol=0.03)


def test_full_kernel_is_the_kernel_distance():
    assert full_kernel(real=REAL, fake=FAKE) == pytest.approx(kernel_distance(real=REAL, fake=FAKE, subsets=1).mean)


def test_contributions_to_the_inception_score():
    found = inception_contributions(FAKE).numpy()
    whole = inception_score(FAKE)
    expected = [(N - 1) * (whole - inception_score(torch.cat([FAKE[:i], FAKE[i + 1 :]]))) for i in range(30)]
    np.testing.assert_allclose(found[:30], expected, atol=0.02)
    halves = inception_contributions(FAKE, split_size=N // 2)  # every split on its own
    first = inception_contributions(FAKE[: N // 2])
    np.testing.assert_allclose(halves[: N // 2], first, atol=1e-12)


def test_no_more_images_than_features_have_no_frechet_contributions():
    assert frechet_contributions(real=REAL[:5], fake=FAKE) is None
    assert frechet_contributions(real=REAL, fake=FAKE[:5]) is None


def test_half_splits_find_the_error_of_a_mean():
    found = half_splits(
        lambda r, f: np.array([float(r[:, 0].mean() - f[:, 1].mean())]), real=REAL, fake=FAKE, splits=200
    )
    assert found.shape == (1, 200, 2)
    error = np.sqrt(np.mean(np.square(found[0, :, 0] - found[0, :, 1])) / 4)
    expected = np.sqrt(float(REAL[:, 0].var() + FAKE[:, 1].var()) / N)
    assert error == pytest.approx(expected, rel=0.15)
