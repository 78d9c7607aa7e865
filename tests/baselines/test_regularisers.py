"""KL, MMD and total correlation against closed forms and the reference program's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from torch.distributions import Normal, kl_divergence

from baselines.regularisers import gaussian_kl, mmd, total_correlation


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.tensor(np.random.RandomState(seed).standard_normal(shape), dtype=torch.float32)


@pytest.mark.golden
def test_mmd_is_infodiffusions():
    golden = json.loads((GOLDEN / "systems" / "losses.json").read_text())
    cases = {
        "infodiffusion_mmd": (drawn(0, 16, 8), 0.7 * drawn(1, 16, 8) + 0.3),
        "infodiffusion_mmd_d32": (drawn(2, 64, 32), 1.5 * drawn(3, 64, 32)),
    }
    for name, (x, y) in cases.items():
        assert float(mmd(x, y)) == pytest.approx(golden[name]["value"], rel=1e-5)
        assert float(mmd(x, x)) == pytest.approx(0, abs=1e-6)


def test_kl_is_torchs():
    mean, sigma = drawn(4, 5, 3), drawn(5, 5, 3).exp()
    expected = kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, sigma), expected)
    assert not gaussian_kl(torch.zeros(2, 3), torch.ones(2, 3)).any()


def test_total_correlation_of_one_posterior_and_of_dependent_codes():
    """All codes of one posterior: q is its density, a product, and TC is 0. Equal dimensions have a positive one."""
    z = drawn(6, 64, 3)
    alone = total_correlation(z, torch.zeros(64, 3), torch.ones(64, 3))
    torch.testing.assert_close(alone, torch.zeros(64), atol=1e-5, rtol=0)
    mean = drawn(7, 64, 1).expand(-1, 3)
    assert total_correlation(mean, mean, torch.full((64, 3), 0.3)).mean() > 0.5


def test_low_precision_is_not_the_sums():
    mean, sigma = drawn(8, 4, 3), drawn(9, 4, 3).exp()
    assert gaussian_kl(mean.bfloat16(), sigma.bfloat16()).dtype == torch.float32
    assert mmd(mean.bfloat16(), sigma.bfloat16()).dtype == torch.float32
