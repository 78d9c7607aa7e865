"""What a sampler costs beside its network: a `faces64` forward, batch 16."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

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


@pytest.mark.parametrize("method", ["ddbm_euler", "ddbm_heun", "dbim", "dbim3", "dbms2"])
def test_overhead(measure, note, forward_seconds, method):
    config = SamplerConfig(method, nfe=20)

    def run() -> int:
        noise = PerImageNoise(0, range(BATCH))
        return sample(lambda x, t: x, X_T, Bridge(), config, noise=noise).nfe

    seconds = measure(run, items=run(), unit="evaluations", rounds=10)
    note("share of a network evaluation", seconds / run() / forward_seconds)
