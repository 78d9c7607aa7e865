"""Inside the sampling loop nothing waits for a device, and nothing is copied to or from one.

Images live on the meta device here, whose tensors have no numbers: `.item()`, a branch on a value or an operation that
mixes them with the host's raises or is counted. Scalars of the host stay there. On a CUDA device the driver is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from analytic_denoisers import net
from device_watch import Watch
from small_model import small_config
from torch import Tensor

from dbae.bridge import Bridge
from dbae.model import DBAE
from dbae.noise import Noise
from dbae.samplers import Sampler, SamplerConfig, sample
from dbae.samplers.config import BRIDGE_METHODS

SHAPE = (2, 3, 16, 16)
CONFIGS = [SamplerConfig(method, nfe=5) for method in BRIDGE_METHODS]
CONFIGS += [SamplerConfig("ddbm_heun", nfe=5, churn=0.33), SamplerConfig("dbim", nfe=5, eta=0.5)]
CONFIGS += [SamplerConfig(method, nfe=5, end_data=0.0) for method in ("ddbm_euler", "dbim3")]
EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.method}-{c.churn}-{c.eta}-{c.end_data}")


class DeviceNoise:
    """Draws where the images are."""

    def __init__(self, device: str) -> None:
        self.device = device

    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), device=self.device)


def watched(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Everything between the first state and the last image, for the next run."""
    watch, run = Watch(), Sampler.run

    def run_watched(sampler: Sampler, **options: Any) -> Any:
        with watch:
            return run(sampler, **options)

    monkeypatch.setattr(Sampler, "run", run_watched)
    return watch


def bridge_of(config: SamplerConfig) -> Bridge:
    return Bridge(end_data=config.end_data)


@EVERY_CONFIG
def test_loop_stays_on_the_device_of_the_images(monkeypatch, config):
    watch = watched(monkeypatch)
    x_T = torch.empty(SHAPE, device="meta")
    noise: Noise = DeviceNoise("meta")
    result = sample(net(x_T, bridge_of(config)), x_T, bridge_of(config), config, noise=noise)
    assert result.images.device.type == "meta"
    assert watch.crossed == []


@EVERY_CONFIG
def test_loop_reads_no_number_out_of_a_tensor(monkeypatch, config):
    watch = watched(monkeypatch)
    x_T = torch.zeros(SHAPE)
    sample(lambda x, t: 0.5 * x, x_T, bridge_of(config), config, noise=DeviceNoise("cpu"))
    assert watch.read == []


@EVERY_CONFIG
def test_whole_model_stays_on_its_device(monkeypatch, config):
    watch = watched(monkeypatch)
    with torch.device("meta"):
        model = DBAE(small_config()).eval()
    z, x_T = torch.empty(2, model.latent_dim, device="meta"), torch.empty(SHAPE, device="meta")
    model.decode(z, x_T=x_T, sampler=config, noise=DeviceNoise("meta"))
    assert watch.crossed == []


@pytest.mark.parametrize("keep", [False, True])
def test_path_is_kept_only_when_asked_for(keep):
    x_T = torch.zeros(SHAPE)
    config = SamplerConfig("ddbm_euler", nfe=4)
    path = sample(lambda x, t: x, x_T, bridge_of(config), config, keep_path=keep).path
    assert (path is not None) == keep


def test_watch_sees_what_it_should():
    with Watch() as watch:
        float(torch.ones(2).sum())
        torch.ones(2).to("meta")
        torch.zeros(2, device="meta") * torch.tensor(2.0)
    assert watch.read == ["aten._local_scalar_dense.default"]
    assert watch.crossed == ["aten._to_copy.default", "aten.mul.Tensor"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY_CONFIG
def test_driver_sees_no_synchronisation(monkeypatch, config):
    run = Sampler.run

    def run_watched(sampler: Sampler, **options: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return run(sampler, **options)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Sampler, "run", run_watched)
    model = DBAE.initialised(small_config(), 0).eval().cuda()
    z = torch.zeros(2, model.latent_dim, device="cuda")
    model.decode(z, sampler=config, noise=DeviceNoise("cuda"))
