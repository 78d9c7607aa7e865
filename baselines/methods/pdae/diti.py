"""DiTi: PDAE with a code that is unveiled in time, so that its parts stand for finer and finer attributes (ICLR 2024).

    m_i         = 1 in the first e_i places, else 0;   e_0 <= e_1 <= ... <= e_{k-1} = length of z
    i(t)        = int(t k / 1000),   k blocks of times
    base        loss of PDAE under m_i(t) z
    stop_grad   the same, but the gradient reaches only the newest part of z, (m_i - m_{i-1}) z
    dual        their sum

Networks, files and the samplers of the published evaluation are PDAE's, with all of z. DiTi's own sampler,
`decode_guided`, visits the times 0, s, 2 s, ... with s = int(1000 / N), so that it starts at a time before 999, and
ends at x_0.

Source: yue-zhongqi/diti. DEVIATION: its schedule is computed in float32, here in float64; c_t and w_t differ by at most
1.5e-4 of their values.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.diffusion import DDIMSampler, Inversion, Process, Schedule, T, draw
from baselines.method import Method, Official, Preset
from baselines.methods import pdae
from baselines.methods.pdae import PDAE, OnPretrained, PDAEConfig, ShiftLoss, from_official, shift_loss
from baselines.methods.pdae.sampling import Heads, ddim_noise
from dbae.noise import Noise
from dbae.samplers import Sampled
from dbae.support.errors import UserError
from dbae.training.config import SMALL_PRESETS

__all__ = ["METHOD", "DiTi", "DiTiConfig", "Partition", "detect", "from_official", "loss"]


Objective = Literal["base", "stop_grad", "dual"]


@dataclasses.dataclass(frozen=True)
class Partition:
    """How z is shared out among blocks of times.

    Attributes:
        blocks: number k of blocks.
        stages: times at which each stage ends; a block belongs to the stage of its first time. None of them: one
            stage, with z shared out as evenly as whole numbers allow.
        dims: places of z that each stage has. Its blocks get as many each, the last one the remainder too.

    Raises:
        UserError: stages that do not rise to 1000, without a block, or not as many as dims.
    """

    blocks: int = 64
    stages: tuple[int, ...] = (50, 100, 300, 500, 1000)
    dims: tuple[int, ...] = (10, 25, 327, 100, 50)

    def __post_init__(self) -> None:
        if self.stages and (len(self.stages) != len(self.dims) or self.stages[-1] != T or 0 in self._counts()):
            raise UserError(
                f"partition of z: expected stages that rise to {T}, each with a number of dims and some of the "
                f"{self.blocks} blocks, found stages {self.stages} with dims {self.dims}. No stages share z out evenly."
            )

    def ends(self, latent_dim: int) -> list[int]:
        """e_0 .. e_{k-1}.

        Raises:
            UserError: the dims do not add up to latent_dim.
        """
        if not self.stages:
            return [latent_dim * (i + 1) // self.blocks for i in range(self.blocks)]
        if sum(self.dims) != latent_dim:
            raise UserError(
                f"partition of z: expected dims that add up to {latent_dim}, found {self.dims}, {sum(self.dims)} in "
                "all. Give others, or no stages, which shares z out evenly."
            )
        ends, end = [], 0
        for blocks, dims in zip(self._counts(), self.dims, strict=True):
            ends += [end + dims // blocks * (i + 1) for i in range(blocks - 1)]
            end += dims
            ends.append(end)
        return ends

    def _counts(self) -> list[int]:
        """Blocks of each stage."""
        firsts = [i * T / self.blocks for i in range(self.blocks)]
        return [sum(a <= first < b for first in firsts) for a, b in itertools.pairwise([0, *self.stages])]


@dataclasses.dataclass(frozen=True)
class DiTiConfig(PDAEConfig):
    """A PDAE, and what only training and `decode_guided` use, so that files of the authors do not tell it.

    Attributes:
        partition: of z among the times; by default that of the authors' main models, for 512 places.
        objective: see the module docstring.

    Raises:
        UserError: a partition of another z.
    """

    partition: Partition = Partition()
    objective: Objective = "base"

    def __post_init__(self) -> None:
        self.partition.ends(self.latent_dim)


class DiTi(PDAE):
    """A DiTi as a `RepresentationModel`."""

    config: DiTiConfig

    def __init__(self, config: DiTiConfig, *, name: str = "diti") -> None:
        super().__init__(config, name=name)

    def mask(self, t: Int[Tensor, " b"], *, before: int = 0) -> Float[Tensor, "b l"]:
        """m_i(t), or with `before` = 1 the mask one block earlier in time, which is empty for the first."""
        masks = _masks(self.config.partition, self.latent_dim, t.device)
        return masks[t * self.config.partition.blocks // T + 1 - before]

    def decode_guided(
        self,
        z: Float[Tensor, "b l"],
        *,
        steps: int,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        noise: Noise | None = None,
        masked: bool = True,
        stop: float = 0.0,
    ) -> Sampled:
        """Images by DiTi's own sampler; x_T as in `decode`, but taken for a state at the last time that is visited.

        Args:
            steps: N; one more where 1000 leaves a remainder.
            masked: mask z as training does.
            stop: share of the steps, at the end, with z = 0. DEVIATION: unlike PDAE's they are shifted all the same,
                by G(x, t, 0), since the test for a missing z in the released code is always true.
        """
        process = _process(steps, self.schedule)
        first = math.ceil(stop * len(process.times))
        heads = self._guided(z, masked, since=process.times[first] if first < len(process.times) else T)
        return DDIMSampler(ddim_noise(heads, self.schedule), process).run(self.start(z, noise) if x_T is None else x_T)

    def infer_guided(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"], *, steps: int, masked: bool = True
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """x_T for `decode_guided`, and the evaluations it took; the last step leads to noise alone."""
        predict = ddim_noise(self._guided(z, masked), self.schedule)
        found = Inversion(predict, _process(steps, self.schedule)).run(x)
        return found.raw, found.nfe

    def _guided(self, z: Tensor, masked: bool, *, since: int = 0) -> Heads:
        """Heads under z, masked or not; under zeros before the time `since`."""

        def heads(x: Tensor, t: int, shift: bool) -> tuple[Tensor, Tensor | None]:
            times = torch.full((len(x),), t, device=x.device)
            seen = z if t >= since else torch.zeros_like(z)
            eps, G = self.decoder(x, times, seen * self.mask(times) if masked else seen)
            return eps[:, :3], G

        return heads


def _process(steps: int, schedule: Schedule) -> Process:
    if not 1 <= steps <= T:
        raise UserError(f"DiTi's sampler with {steps} steps: expected 1 to {T}.")
    return Process(schedule, tuple(range(0, T, T // steps)))


@functools.cache
def _masks(partition: Partition, latent_dim: int, device: torch.device) -> Tensor:
    """The empty mask, then m_0 .. m_{k-1}."""
    ends = torch.tensor([0, *partition.ends(latent_dim)], device=device)
    return (torch.arange(latent_dim, device=device) < ends[:, None]).float()


# --- training ---------------------------------------------------------------------------------------------------------


def partition_loss(
    model: DiTi,
    x0: Float[Tensor, "b 3 s s"],
    t: Int[Tensor, " b"],
    z: Float[Tensor, "b l"],
    eps: Float[Tensor, "b 3 s s"],
) -> ShiftLoss:
    """The objective of `model.config` at given times, under given codes and noise; `mse` is of one term."""
    mask, old = model.mask(t), model.mask(t, before=1)
    codes = {"base": mask * z, "stop_grad": old * z.detach() + (mask - old) * z}
    if model.config.objective != "dual":
        return shift_loss(model.decoder, x0, t, codes[model.config.objective], eps, model.schedule)
    terms = [shift_loss(model.decoder, x0, t, code, eps, model.schedule) for code in codes.values()]
    return ShiftLoss(terms[0].loss + terms[1].loss, terms[0].mse)


def loss(model: DiTi, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> ShiftLoss:
    """The objective at uniform times (order of draws: t, eps, then dropout)."""
    t, noise = draw(x0, generator)
    return partition_loss(model, x0, t, model.posterior(x0)[0], noise.normal(x0.shape).to(x0))


# --- files of others --------------------------------------------------------------------------------------------------


def detect(parts: Mapping[str, Mapping[str, Tensor]]) -> DiTiConfig | None:
    """As `pdae.detect`. The partition, which no file tells, is that of the authors' main models, or an even one."""
    found = pdae.detect(parts)
    if found is None:
        return None
    return _partitioned(found, Partition() if found.latent_dim == 512 else Partition(stages=(), dims=()))


# --- presets ----------------------------------------------------------------------------------------------------------


def celeba64() -> DiTiConfig:
    """`pdae.celeba64` with the authors' main partition."""
    return _partitioned(pdae.celeba64(), Partition())


def ffhq128() -> DiTiConfig:
    """`pdae.ffhq128` with the authors' main partition (FFHQ, LSUN Bedroom)."""
    return _partitioned(pdae.ffhq128(), Partition())


bedroom128 = ffhq128


def faces64() -> DiTiConfig:
    """`pdae.faces64`, z shared out evenly among 32 blocks."""
    return _partitioned(pdae.faces64(), Partition(32, (), ()))


def faces32() -> DiTiConfig:
    """`pdae.faces32`, z shared out evenly among 16 blocks."""
    return _partitioned(pdae.faces32(), Partition(16, (), ()))


def _partitioned(config: PDAEConfig, partition: Partition) -> DiTiConfig:
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return DiTiConfig(**fields, partition=partition)


@dataclasses.dataclass(frozen=True)
class DiTiOptions(OnPretrained):
    """What else DiTi can be told.

    Attributes:
        objective: the loss under the part of z that is unveiled at a time: base is PDAE's; in stop_grad the gradient
            reaches only what is newest of it; dual is their sum.
    """

    objective: Objective | None = None

    def configured(self, config: DiTiConfig) -> DiTiConfig:
        """The preset with another `objective`, where one is given."""
        config = super().configured(config)
        return config if self.objective is None else dataclasses.replace(config, objective=self.objective)


METHOD = Method(
    key="diti",
    label="DiTi",
    config=DiTiConfig,
    model=DiTi,
    loss=loss,
    presets={
        "celeba64": Preset(celeba64, dict(optimizer="adam", images=pdae.LENGTHS["celeba64"], lr=2e-4)),
        "ffhq128": Preset(ffhq128, dict(optimizer="adam", images=pdae.LENGTHS["ffhq128"], lr=2e-4)),
        "bedroom128": Preset(bedroom128, dict(optimizer="adam", images=pdae.LENGTHS["bedroom128"], lr=2e-4)),
        "faces32": Preset(faces32, SMALL_PRESETS["faces32"]),
        "faces64": Preset(faces64, SMALL_PRESETS["faces64"]),
        "faces64s": Preset(lambda: _partitioned(pdae.faces64s(), Partition(32, (), ())), SMALL_PRESETS["faces64s"]),
    },
    options=DiTiOptions,
    official=(
        Official(
            claims=("DiTi",),
            on_request=("PDAE",),
            detect=detect,
            state=from_official,
            question=pdae.QUESTION,
            settled=pdae.settled,
            facts=pdae.FACTS,
            published=lambda config: config in (celeba64(), ffhq128()),
            latent_sampling=pdae.LATENT_SAMPLING,
        ),
    ),
)
