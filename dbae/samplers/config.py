"""What to run and what it costs: `SamplerConfig` and the evaluations of each method of `dbae.samplers`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from dbae.support.errors import UserError

DDBM_METHODS = ("ddbm_euler", "ddbm_heun")
BOOTED_METHODS = ("dbim", "dbim2", "dbim3", "dbms2")
BRIDGE_METHODS = (*DDBM_METHODS, *BOOTED_METHODS, "one_step")
DIFFUSION_METHODS = ("ddim", "ddpm")
METHODS = (*BRIDGE_METHODS, *DIFFUSION_METHODS)
GRIDS = ("native", "karras", "uniform")
MAX_RHO = 1000
VARIANCES = ("native", "large", "small")
Method = Literal["ddbm_euler", "ddbm_heun", "dbim", "dbim2", "dbim3", "dbms2", "one_step", "ddim", "ddpm"]
_METHODS_WITH = {
    "churn": DDBM_METHODS,
    "guidance": DDBM_METHODS + DIFFUSION_METHODS,
    "eta": ("dbim", "ddim"),
    "boot_noise": BOOTED_METHODS,
    "grid": DDBM_METHODS + BOOTED_METHODS,
    "rho": DDBM_METHODS + BOOTED_METHODS,
    "variance": ("ddpm",),
    "end_data": BRIDGE_METHODS,
    "stop": ("ddim",),
}


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Method and options of a run.

    Args:
        method: see the table of `dbae.samplers`; "ddim" and "ddpm" are those of models that start at noise.
        nfe: budget of denoiser evaluations; the largest number of steps that fits is taken, `Sampled.nfe` is the count.
        grid: "karras" (exponent `rho`), "uniform" in t, or "native": karras, except uniform for dbim*.
        churn: in [0, 1), share of every step that is an Euler-Maruyama step of the reverse SDE. ddbm_* only.
        eta: in [0, 1], noise of dbim and ddim; 0 is deterministic (after booting).
        boot_noise: False boots with eps = 0. dbim*, dbms2.
        end_data: of the bridge; 0.0 also moves the booting evaluation from T to T - 1e-4. Bridges only.
        guidance: of ddbm_* the weight of Doob's transform, see `Bridge.drift`; of ddim and ddpm that of z, for a model
            that has learned to do without it too, and a step of two evaluations.
        clip_denoised: clamp the prediction of x0 to [-1, 1] at every evaluation.
        stop: in [0, 1], share of the steps, at the end, in which z plays no part (PDAE's `stop_percent`). ddim only.
        rho: exponent of the karras grid, above 0; 7 as published. Larger ones take smaller steps near the image.
        variance: of ddpm's steps: "large" is beta, "small" the posterior's, "native" what the model's authors take
            (large but in PDAE). A network that predicts its variance has no other.

    Raises:
        ValueError: a value out of range, an option that the method lacks, or a budget below the method's smallest.
    """

    method: Method
    nfe: int = 100
    grid: Literal["native", "karras", "uniform"] = "native"
    churn: float = 0.0
    eta: float = 0.0
    boot_noise: bool = True
    end_data: float = 0.5
    guidance: float = 1.0
    clip_denoised: bool = True
    stop: float = 0.0
    rho: float = 7.0
    variance: Literal["native", "large", "small"] = "native"

    def __post_init__(self) -> None:
        for name, choices in (("method", METHODS), ("grid", GRIDS), ("variance", VARIANCES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, found {getattr(self, name)!r}")
        for field in dataclasses.fields(self):
            methods = _METHODS_WITH.get(field.name)
            if methods and self.method not in methods and getattr(self, field.name) != field.default:
                raise ValueError(f"{self.method} has no option {field.name}; it belongs to {', '.join(methods)}")
        if not 0 <= self.churn < 1:
            raise ValueError(f"churn must be in [0, 1), found {self.churn}")
        for name in ("eta", "stop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], found {getattr(self, name)}")
        if not 0 < self.rho <= MAX_RHO:
            raise ValueError(f"rho must be above 0 and at most {MAX_RHO}, found {self.rho}")
        if self.rho != 7 and not self.karras:
            raise ValueError(f"rho belongs to the karras grid; {self.method} has a uniform one here: add grid karras")
        if not 0 <= self.end_data < math.inf:
            raise ValueError(
                f"end_data is a standard deviation and must be 0 or more and finite, found {self.end_data}"
            )
        if not math.isfinite(self.guidance):
            raise ValueError(f"guidance must be a finite number, found {self.guidance}")
        if steps_for(self) < 1:
            raise ValueError(f"{self.method} needs a budget of at least {evaluations(self, 1)} nfe, found {self.nfe}")

    @property
    def card(self) -> dict[str, Any]:
        """All options by name, for cards and keys; rho and variance, the youngest, only where they are told, so that
        what older versions wrote is still found.
        """
        young = {f.name: f.default for f in dataclasses.fields(self) if f.name in ("rho", "variance")}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in young or v != young[k]}

    @property
    def karras(self) -> bool:
        """Whether the times of the steps follow the karras grid, of a bridge's method."""
        own = self.method in (*DDBM_METHODS, "dbms2")
        return self.method in _METHODS_WITH["grid"] and (self.grid == "karras" or (self.grid == "native" and own))


@dataclasses.dataclass(frozen=True)
class OwnSampler(SamplerConfig):
    """Options of a run whose method the model may choose; `sampler_of` makes a configuration of them.

    Args:
        method: see `dbae.samplers`; None is the model's own, of a DBAE the paper's: ddbm_euler.
    """

    method: Method | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.method is not None:
            super().__post_init__()


def sampler_of(options: SamplerConfig, samplers: Sequence[str], name: str, **own: Any) -> SamplerConfig:
    """What `options` ask of a model.

    Args:
        options: may leave the method open.
        samplers: the model's; the first is its own.
        name: of the model.
        own: options that go with its own method, where nothing was asked for.

    Raises:
        UserError: no such method, or an option that its own method lacks.
    """
    if not samplers:
        raise UserError(f"{name}: has no decoder, only z. Take another --ckpt.")
    if options.method not in (None, *samplers):
        raise UserError(f"--method {options.method}: expected one of {', '.join(samplers)}, which {name} has.")
    asked = {f.name: getattr(options, f.name) for f in dataclasses.fields(SamplerConfig)}
    try:
        return SamplerConfig(**(asked if options.method else asked | own | {"method": samplers[0]}))
    except ValueError as error:
        raise UserError(f"{name}, sampler {samplers[0]}: {error}.") from error


def _cost(config: SamplerConfig) -> tuple[int, int]:
    """(p, q) such that n steps take p n + q evaluations."""
    churned = int(config.churn > 0)
    match config.method:
        case "ddbm_euler":
            return 1 + churned, 0
        case "ddbm_heun":
            return 2 + churned, -1
        case "dbms2":
            return 2, 0
        case "one_step":
            return 0, 1
        case "ddim" | "ddpm":
            return 1 + int(config.guidance != 1), 0
        case _:
            return 1, 1


def evaluations(config: SamplerConfig, n: int) -> int:
    """Denoiser evaluations of n steps."""
    per_step, fixed = _cost(config)
    return per_step * n + fixed


def steps_for(config: SamplerConfig) -> int:
    """The largest n that fits the budget `config.nfe` (1 for one_step)."""
    per_step, fixed = _cost(config)
    return (config.nfe - fixed) // per_step if per_step else int(config.nfe >= fixed)
