"""A sampler whose network breaks down says which image broke, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.diffusion.process import Process
from baselines.diffusion.samplers import DDIMSampler
from dbae.bridge import Bridge
from dbae.images import NotFiniteError, naming
from dbae.noise import GeneratorNoise
from dbae.samplers import SamplerConfig, sample
from dbae.samplers.config import BRIDGE_METHODS


@pytest.mark.parametrize("method", BRIDGE_METHODS)
def test_an_image_that_becomes_nan_is_named(method):
    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        out = 0.5 * x
        out[1] = torch.nan
        return out

    x_T, noise = torch.zeros(3, 3, 8, 8), GeneratorNoise(torch.Generator().manual_seed(0))
    with (
        pytest.raises(NotFiniteError, match="7: has NaN or infinite pixels after step 1 ") as caught,
        naming([5, 7, 9]),
    ):
        sample(denoise, x_T, Bridge(), SamplerConfig(method, nfe=4), noise=noise)
    assert (caught.value.position, caught.value.step) == (1, 1)


def test_the_step_is_that_after_which_it_broke():
    calls = iter(range(100))

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        return x * (torch.nan if next(calls) == 2 else 0.5)

    with pytest.raises(NotFiniteError, match="after step 3 "):
        sample(denoise, torch.ones(2, 3, 8, 8), Bridge(), SamplerConfig("ddbm_euler", nfe=5))


def test_samplers_of_diffusion_models_too():
    process = Process("linear", tuple(int(t) for t in np.linspace(0, 999, 5)))

    def predict(x: torch.Tensor, t: int) -> torch.Tensor:
        return x * (torch.nan if t < 500 else 0.5)

    with pytest.raises(NotFiniteError, match=r"image 0 of its batch: .* after step 3 "):
        DDIMSampler(predict, process).run(torch.ones(2, 3, 8, 8))
