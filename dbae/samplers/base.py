"""What all samplers share: the grid, the loop, the progress bar and the count of evaluations."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from dbae.bridge import Bridge
from dbae.images import NotFiniteError
from dbae.noise import Noise
from dbae.samplers.config import DDBM_METHODS, SamplerConfig, steps_for
from dbae.support.progress import progress_bar

Denoiser = Callable[[Tensor, float], Tensor]

NEAR_T = 1e-4  # T minus the first time of the DDBM grid, where even end_data = 0 has a finite preconditioning


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Result of a run.

    images: clamped to [-1, 1]; raw: the same before the clamp; nfe: counted evaluations;
    path: with `keep_path`, every unclamped state from x_T to raw, those after churn and booting included;
    finite: steps after which an image was finite (b,), on its device; None where nobody counted.
    """

    images: Float[Tensor, "b c h w"]
    nfe: int
    raw: Float[Tensor, "b c h w"]
    path: list[Tensor] | None = None
    finite: Tensor | None = None

    def checked(self) -> Sampled:
        """Itself; the one place of a run that waits for the device.

        Raises:
            NotFiniteError: an image is NaN or infinite; says from which step on.
        """
        lost = ~torch.isfinite(self.raw).flatten(1).all(1)
        if self.raw.device.type != "meta" and lost.any():
            position = int(lost.nonzero()[0])
            raise NotFiniteError(position, None if self.finite is None else int(self.finite[position]) + 1)
        return self


_seen: contextvars.ContextVar[list[list[Tensor]] | None] = contextvars.ContextVar("runs of samplers", default=None)


@contextlib.contextmanager
def watched() -> Iterator[list[list[Tensor]]]:
    """Within the block, the states of every run of a sampler are kept, from where it starts to its unclamped images.

    Yields:
        One list of states (b, c, h, w) a run, in order. Runs within models are seen too; their results do not change.
    """
    runs: list[list[Tensor]] = []
    token = _seen.set(runs)
    try:
        yield runs
    finally:
        _seen.reset(token)


def new_run() -> list[Tensor] | None:
    """Where a run that starts now puts its states; None where nobody watches."""
    runs = _seen.get()
    if runs is None:
        return None
    runs.append([])
    return runs[-1]


def finite_images(x: Float[Tensor, "b ..."]) -> Tensor:
    """1 for every image without NaN and infinite values, else 0: int32 (b,), on the device of the images."""
    return torch.isfinite(x).flatten(1).all(1).int()


def time_grid(
    kind: str, start: float, stop: float, n: int, dtype: torch.dtype = torch.float64, *, rho: float = 7.0
) -> Float[Tensor, " n"]:
    """Spaces n times from start down to stop; n = 1 gives start.

    Kinds: "karras" (Karras et al. 2022, Eq. 5, exponent rho) or "uniform".
    """
    ramp = torch.linspace(0, 1, n, dtype=dtype)
    if kind == "uniform":
        return start + ramp * (stop - start)
    first, last = start ** (1 / rho), stop ** (1 / rho)
    return (first + ramp * (last - first)) ** rho


class Sampler(ABC):
    """One run: owns the grid `t`, the loop, the progress bar and the count of evaluations. A method is one `step`."""

    def __init__(
        self, denoise: Denoiser, x_T: Tensor, bridge: Bridge, config: SamplerConfig, noise: Noise | None
    ) -> None:
        if config.method not in DDBM_METHODS:  # the public programs of the other methods are float64 throughout
            bridge = dataclasses.replace(bridge, arithmetic="float64")
        self.denoise, self.x_T, self.bridge, self.config, self.noise = denoise, x_T, bridge, config, noise
        self.n = steps_for(config)
        self.grid = self.times()
        self.t: list[float] = self.grid.tolist()
        self.nfe = 0
        self.path: list[Tensor] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Computes the scalars of every step; a method without any has nothing to prepare."""
        return

    @abstractmethod
    def times(self) -> Tensor:
        """The n + 1 times of n steps, decreasing, on the host."""

    @abstractmethod
    def step(self, x: Tensor, i: int) -> Tensor:
        """The state at t[i + 1] from the state x at t[i]."""

    def start(self) -> Tensor:
        """The state at t[0]."""
        return self.x_T

    def D(self, x: Tensor, t: float) -> Tensor:
        """The prediction of x_0, counted and clamped."""
        self.nfe += 1
        D = self.denoise(x, t)
        return D.clamp(-1, 1) if self.config.clip_denoised else D

    def normal(self) -> Tensor:
        """The next draw, in the dtype of the images."""
        if self.noise is None:
            raise ValueError(f"{self.config} draws noise: pass `noise`")
        return self.noise.normal(self.x_T.shape).to(self.x_T)

    def record(self, x: Tensor) -> Tensor:
        """Appends x to the path, if one is kept."""
        if self.path is not None:
            self.path.append(x)
        return x

    @torch.no_grad()
    def run(self, *, progress: bool = False, keep_path: bool = False) -> Sampled:
        """The loop."""
        self.nfe, self.path = 0, [] if keep_path else new_run()
        self.record(self.x_T)
        x = self.start()
        finite = x.new_zeros(len(x), dtype=torch.int32)
        with progress_bar(self.n, self.config.method, unit="step", show=progress, leave=False) as bar:
            for i in range(self.n):
                x = self.record(self.step(x, i))
                finite += finite_images(x)
                bar.update()
        return Sampled(x.clamp(-1, 1), self.nfe, x, self.path, finite)
