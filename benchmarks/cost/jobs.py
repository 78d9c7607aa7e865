"""What is timed of a model, and how the numbers of the tables follow from the times.

With b images a batch and seconds t of one repetition:

    training_time   ms an image         t(step) / b: loss, backward, RAdam (for every method), moving average
    testing_time    ms an evaluation    (t(decode, 6 NFE) - t(decode, 2 NFE)) / (4 b), an image; t(decode) / b of a
                                        model that decodes by one evaluation alone
    encode_time     ms an image         t(encode) / b
    endpoint_time   ms an image         t(Dec(z)) / b, where x_T is decoded by a network of its own
    total_time_ms   ms an image         x_T from an image: encode and Dec(z); or encode and N steps of inference, from a
                                        straight line through the times of 2 and 6 steps

Repetitions are combined one by one before any median is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.interface import InfersEndpoint, RepresentationModel
from benchmarks.cost.timing import Times
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.precision import Precision, autocast
from dbae.training.config import TrainConfig
from dbae.training.ema import EMA
from dbae.training.loop import OPTIMIZERS
from dbae.training.objective import Objective

FEW, MANY = 2, 6
"""Evaluations of the two runs that give the time of one."""
Job = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Bench:
    """One model with a batch of noise images to work on.

    Attributes:
        model: on `device`.
        objective: its loss; None where training is not timed.
    """

    model: RepresentationModel
    objective: Objective | None
    batch: int
    device: torch.device
    precision: Precision = "fp32"

    @functools.cached_property
    def x(self) -> torch.Tensor:
        """Images of noise, (b, 3, s, s) in [-1, 1]."""
        size = self.model.image_size
        noise = PerImageNoise(0, range(self.batch), stream="images", device=self.device)
        x = noise.normal((self.batch, 3, size, size)).clamp(-1, 1)
        return x.contiguous(memory_format=torch.channels_last)

    @functools.cached_property
    def z(self) -> torch.Tensor:
        """A code of each image; noise where encoding would evaluate the network many times."""
        if self.model.encode_nfe:
            return PerImageNoise(0, range(self.batch), device=self.device).normal((self.batch, self.model.latent_dim))
        with torch.no_grad(), autocast(self.device, self.precision):
            return self.model.posterior(self.x)[0]

    def jobs(self) -> dict[str, Job]:
        """Name -> what to time, to be called any number of times. Nothing is computed before the first call."""
        return {name: self._of_networks(job) for name, job in self._jobs()}

    def _jobs(self) -> Iterator[tuple[str, Job]]:
        if self.model.endpoints and self.sampler is None:
            yield "once", lambda: self.decode(self.z, 1)
        elif self.model.endpoints:
            yield "few", lambda: self.decode(self.z, FEW)
            yield "many", lambda: self.decode(self.z, MANY)
        if self.model.encode_nfe == 0:
            yield "encode", lambda: self.model.posterior(self.x)
        if endpoint := self.endpoint_decoder:
            yield "endpoint", lambda: endpoint(self.z)
        if isinstance(self.model, InfersEndpoint):
            infer = self.model.infer_endpoint
            yield "infer few", lambda: infer(self.x, self.z, steps=FEW)
            yield "infer many", lambda: infer(self.x, self.z, steps=MANY)

    def training_job(self, objective: Objective) -> Job:
        """One training step, at learning rate 0: the weights stay as they are. Takes the memory of training now."""
        assert isinstance(self.model, nn.Module)
        model, config = self.model, TrainConfig()
        optimizer = OPTIMIZERS[config.optimizer](model.parameters(), lr=0.0, foreach=True)
        ema = EMA(model, config.ema_rate, warmup=False)
        generator = torch.Generator(self.device).manual_seed(0)

        def step() -> None:
            with _training(model):
                with autocast(self.device, self.precision):
                    losses = objective(model, self.x, generator)
                losses.loss.mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ema.update(1)

        return step

    def decode(self, z: torch.Tensor, nfe: int) -> object:
        """Images by the model's default sampler, or by its only evaluation."""
        method = self.sampler or "one_step"
        noise = PerImageNoise(0, range(len(z)), stream="sample", device=self.device)
        sampler = SamplerConfig(method, nfe=nfe)  # type: ignore[arg-type]
        return self.model.decode(z, sampler=sampler, noise=noise)

    @property
    def sampler(self) -> str | None:
        """The first sampler that takes any number of evaluations; None of a model that decodes by one."""
        return next((name for name in self.model.samplers if name != "one_step"), None)

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the numbers that `gflops` gives."""
        there = {"GFLOPs_NFE": bool(self.model.endpoints), "GFLOPs_encode": self.model.encode_nfe == 0}
        there["GFLOPs_endpoint"] = self.endpoint_decoder is not None
        return tuple(name for name, has in there.items() if has)

    def gflops(self) -> dict[str, float]:
        """10^9 floating-point operations an image, two a multiply-add: of an evaluation, of encode, of Dec(z)."""
        x, z = self.x[:1], self.z[:1]
        counts = {}
        if self.model.endpoints and self.sampler is None:
            counts = {"GFLOPs_NFE": self._flops(lambda: self.decode(z, 1))}
        elif self.model.endpoints:
            counts = {"GFLOPs_NFE": self._flops(lambda: self.decode(z, 3)) - self._flops(lambda: self.decode(z, 2))}
        if self.model.encode_nfe == 0:
            counts["GFLOPs_encode"] = self._flops(lambda: self.model.posterior(x))
        if endpoint := self.endpoint_decoder:
            counts["GFLOPs_endpoint"] = self._flops(lambda: endpoint(z))
        return {name: count / 1e9 for name, count in counts.items()}

    @property
    def endpoint_decoder(self) -> Callable[[torch.Tensor], object] | None:
        """The network that decodes x_T from z, where the model says that it has one; the name alone says nothing."""
        found = getattr(self.model, "endpoint", None) if "decoded" in self.model.endpoints else None
        return found if callable(found) else None

    def _of_networks(self, job: Job) -> Job:
        """`job` without gradients, in this precision."""

        def run() -> object:
            with torch.no_grad(), autocast(self.device, self.precision):
                return job()

        return run

    def _flops(self, job: Job) -> int:
        with FlopCounterMode(display=False) as counter:
            self._of_networks(job)()
        return counter.get_total_flops()


Milliseconds = Mapping[str, Times]
Quantity = tuple[str, int]
"""(metric, evaluations of inferring x_T)."""


def formulas(jobs: Collection[str], infer_steps: Sequence[int]) -> dict[Quantity, Callable[[Milliseconds], Times]]:
    """How every number of the tables follows from the times of these jobs; what they do not give is left out."""
    found: dict[Quantity, Callable[[Milliseconds], Times]] = {}
    if "train" in jobs:
        found["training_time", 0] = lambda ms: ms["train"]
    if "once" in jobs:
        found["testing_time", 0] = lambda ms: ms["once"]
    if "few" in jobs:
        found["testing_time", 0] = lambda ms: (ms["many"] - ms["few"]) / (MANY - FEW)
    if "encode" in jobs:
        found["encode_time", 0] = lambda ms: ms["encode"]
    if "endpoint" in jobs:
        found["endpoint_time", 0] = lambda ms: ms["endpoint"]
        found["total_time_ms", 0] = lambda ms: ms.get("encode", np.zeros(1)) + ms["endpoint"]
    if "infer few" in jobs:
        for steps in infer_steps:
            found["total_time_ms", steps] = functools.partial(_inferring, steps)
    return found


def _inferring(steps: int, ms: Milliseconds) -> Times:
    slope = (ms["infer many"] - ms["infer few"]) / (MANY - FEW)
    return ms.get("encode", np.zeros(1)) + ms["infer few"] + slope * (steps - FEW)


def times_of_tables(seconds: Mapping[str, Times], batch: int, infer_steps: Sequence[int]) -> dict[Quantity, Times]:
    """Milliseconds of every repetition, from the seconds of `Bench.jobs`."""
    ms = {name: 1000 * times / batch for name, times in seconds.items()}
    return {quantity: formula(ms) for quantity, formula in formulas(seconds, infer_steps).items()}


@contextlib.contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Training mode; dropout leaves the global random state as it was."""
    on_gpu = [p.device for p in model.parameters() if p.is_cuda][:1]
    with torch.random.fork_rng(on_gpu):
        model.train()
        yield
        model.eval()
