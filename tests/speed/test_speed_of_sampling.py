"""What a sampler costs beside its network, a `faces64` forward of 16 images; the aim is under 3 %.

That is all around the network: schedule, preconditioning, concatenation with x_T, combination of states, noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.model import DBAE, faces64
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig, sample

BATCH = 16
X_T = torch.zeros(BATCH, 3, 64, 64)


def median_seconds(function: Callable[[], object], rounds: int = 3) -> float:
    seconds = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return sorted(seconds[1:])[rounds // 2]


@pytest.fixture(scope="module")
def forward_seconds() -> float:
    model = DBAE.initialised(faces64(), 0).eval()
    z = torch.zeros(BATCH, model.latent_dim)
    with torch.no_grad():
        return median_seconds(lambda: model.config.bridge.denoise(model.score, X_T, 0.5, X_T, z))


def no_network(x: Tensor, c_noise: Tensor, x_T: Tensor, z: Tensor) -> Tensor:
    return torch.cat([x, x_T], dim=1)[:, :3]


@pytest.mark.parametrize("churn", [0.0, 0.33])
@pytest.mark.parametrize("method", ["ddbm_euler", "ddbm_heun", "dbim", "dbim2", "dbim3", "dbms2"])
def test_overhead(measure, note, forward_seconds, method, churn):
    if churn and not method.startswith("ddbm"):
        pytest.skip("has no churn")
    config, bridge, z = SamplerConfig(method, nfe=20, churn=churn), Bridge(), torch.zeros(BATCH, 1)

    def run() -> int:
        noise = PerImageNoise(0, range(BATCH))
        return sample(lambda x, t: bridge.denoise(no_network, x, t, X_T, z), X_T, bridge, config, noise=noise).nfe

    seconds = measure(run, items=run(), unit="evaluations", rounds=10)
    note("share of a network evaluation", seconds / run() / forward_seconds)
