"""Densities of training times over log-SNR, and the VE schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.diffusion import process
from baselines.diffusion.emphasis import draw, probabilities
from baselines.diffusion.process import alpha_bar


def test_ve_noise_is_the_authors():
    """x_0 + sigma eps over sqrt(1 + sigma^2), sigma from .01 to 50 in a geometric series."""
    ab = alpha_bar("ve")
    sigma = np.sqrt(1 / ab - 1)
    np.testing.assert_allclose(sigma, 0.01 * 5000 ** (np.arange(1000) / 999), rtol=1e-8)


@pytest.mark.parametrize("schedule", ["linear", "ve"])
def test_emphasis_is_a_density_over_log_snr(schedule):
    """Probability of a range of log-SNR, against the integral of the density named."""
    ab = alpha_bar(schedule)
    log_snr = np.log(ab / (1 - ab))
    u = (log_snr - log_snr[-1]) / (log_snr[0] - log_snr[-1])
    for emphasis, integral in (("coarse", lambda u: 1 - (1 - u) ** 2), ("even", lambda u: u), ("fine", lambda u: u**2)):
        chances = probabilities(schedule, emphasis, torch.device("cpu")).numpy()
        for edge in (0.25, 0.5, 0.75):
            assert chances[u < edge].sum() == pytest.approx(integral(edge), abs=0.02)
    many, mean = torch.zeros(1000, 1), {}
    for emphasis in ("coarse", "even", "fine"):
        mean[emphasis] = draw(many, torch.Generator().manual_seed(0), schedule, emphasis)[0].float().mean()
    assert mean["coarse"] > mean["even"] + 50 > mean["fine"] + 100


def test_uniform_is_what_all_methods_draw():
    x0 = torch.zeros(5, 1)
    generators = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    ours, theirs = draw(x0, generators[0], "linear", "uniform")[0], process.draw(x0, generators[1])[0]
    assert torch.equal(ours, theirs)
    assert torch.equal(probabilities("linear", "uniform", torch.device("cpu")), torch.full((1000,), 1e-3))
