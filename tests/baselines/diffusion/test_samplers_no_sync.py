"""Inside the loops of diffusion samplers nothing waits for a device, and nothing is copied to or from one.

As in `tests/dbae/samplers/test_samplers_no_sync.py`; the one check of the result comes after the loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from device_watch import Watch, watch_copies
from torch import Tensor

from baselines.diffusion.process import Process
from baselines.diffusion.samplers import DDIMSampler, DDPMSampler, DiffusionSampler, Inversion
from baselines.methods.pdae.sampling import ddim_noise, ddpm_noise

PROCESS = Process("linear", (0, 250, 500, 999))


class Draws:
    def __init__(self, device: str) -> None:
        self.device = device

    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(shape), device=self.device)


def eps(x: Tensor, t: int) -> Tensor:
    return 0.5 * x


def with_variance(x: Tensor, t: int) -> Tensor:
    return torch.cat([x, x], dim=1)


def heads(x: Tensor, t: int, shift: bool) -> tuple[Tensor, Tensor]:
    return 0.5 * x, 0.1 * x


def samplers(device: str) -> dict[str, DiffusionSampler]:
    noise = Draws(device)
    return {
        "ddim": DDIMSampler(eps, PROCESS),
        "ddim, eta": DDIMSampler(eps, PROCESS, eta=0.5, noise=noise),
        "inversion": Inversion(eps, PROCESS),
        "ddpm": DDPMSampler(eps, PROCESS, noise=noise),
        "ddpm, learned variance": DDPMSampler(with_variance, PROCESS, noise=noise),
        "pdae, ddim": DDIMSampler(ddim_noise(heads, since=300), PROCESS, to_data=False),
        "pdae, ddpm": DDPMSampler(ddpm_noise(heads, PROCESS), PROCESS, noise=noise),
    }


@pytest.mark.parametrize("name", samplers("cpu"))
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_steps_stay_on_the_device_and_read_no_number(monkeypatch, name, device):
    sampler, x = samplers(device)[name], torch.zeros(2, 3, 8, 8, device=device)
    copied = watch_copies(monkeypatch)
    with Watch() as watch:
        for i in sampler.order():
            x = sampler.step(x, i)
    assert x.device.type == device
    assert (watch.read, watch.crossed, copied) == ([], [], [])
