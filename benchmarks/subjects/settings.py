"""What can be varied when a model decodes: sampler, budget, and where x_T comes from."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from baselines.interface import RepresentationModel
from dbae.decoding import require_budget
from dbae.samplers import BOOTED_METHODS, BRIDGE_METHODS, DDBM_METHODS, SamplerConfig, steps_for
from dbae.support.errors import UserError

Method = Literal["ddbm_euler", "ddbm_heun", "dbim", "dbim2", "dbim3", "dbms2", "ddim", "ddpm"]
Grid = Literal["native", "karras", "uniform"]
Endpoint = Literal["decoded", "random", "inferred"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to decode.

    Attributes:
        sampler: method and budget.
        endpoint: x_T is "decoded" from z, "random" N(0, I), or "inferred" from the image.
        encode_steps: of the inference; 0 for the others.
        bridge: see `sampler_columns`.
    """

    sampler: SamplerConfig
    endpoint: str = "decoded"
    encode_steps: int = 0
    bridge: bool = True

    @property
    def columns(self) -> dict[str, Any]:
        """The cells of a record that are known beforehand."""
        return sampler_columns(self.sampler, bridge=self.bridge) | {"x_T": self.endpoint}


def decodes_at_once(model: RepresentationModel) -> bool:
    """Whether one_step is all that a model has: it decodes z without a bridge, of which end_data would be an option."""
    return tuple(model.samplers) == ("one_step",)


def sampler_columns(sampler: SamplerConfig, *, bridge: bool = True) -> dict[str, Any]:
    """The sampler's cells of a record; those that its method lacks stay empty.

    Args:
        bridge: False leaves end_data empty too, for a model that has one_step but no bridge.
    """
    name = sampler.method + (f", stop {sampler.stop:g}" if sampler.stop else "")
    name += f", {sampler.variance} variance" if sampler.variance != "native" else ""
    name += f", guidance {sampler.guidance:g}" if sampler.guidance != 1 else ""
    has = _options_of(sampler.method)
    has["end_data"] &= bridge
    columns = ["churn", "eta", "boot_noise", "end_data"] + ["grid"] * (has["churn"] or has["boot_noise"])
    own = {column: getattr(sampler, column) for column in columns if has.get(column, True)}
    if sampler.rho != 7:
        own["grid"] = f"{sampler.grid}, rho {sampler.rho:g}"
    return {"sampler": name, "nfe_requested": sampler.nfe, **own}


def sampler(method: str, nfe: int, grid: str = "native", **options: Any) -> SamplerConfig:
    """A configuration with those of `options` (churn, eta, end_data, boot_noise, stop, variance, guidance) that its
    method has, and `rho` where its grid has an exponent.

    Raises:
        ValueError: a value out of range.
    """
    has = _options_of(method) | {"rho": SamplerConfig(method, nfe=nfe, grid=grid).karras}  # type: ignore[arg-type]
    known = {name: value for name, value in options.items() if has[name]}
    return SamplerConfig(method, nfe=nfe, grid=grid, **known)  # type: ignore[arg-type]


def _options_of(method: str) -> dict[str, bool]:
    return {
        "churn": method in DDBM_METHODS,
        "eta": method in ("dbim", "ddim"),
        "boot_noise": method in BOOTED_METHODS,
        "end_data": method in BRIDGE_METHODS,
        "stop": method == "ddim",
        "variance": method == "ddpm",
        "guidance": method in ("ddim", "ddpm"),
    }


def require_budgets(budgets: Sequence[int], option: str = "--nfe") -> None:
    """Raise UserError for one that no sampler has, before data are opened; each method has a smallest of its own."""
    if wrong := [nfe for nfe in budgets if nfe < 1]:
        raise UserError(f"{option}: expected budgets of 1 or more, found {wrong[0]}.")


def guidance_of(model: RepresentationModel, wanted: float) -> float:
    """`wanted` for a model that knows guidance, else 1, and the log says so."""
    if wanted == 1 or getattr(model, "takes_guidance", False):
        return wanted
    log.warning("%s: always decodes with z, --guidance %g is left out", model.name, wanted)
    return 1.0


@dataclasses.dataclass(frozen=True)
class SettingOptions:
    """Options of the command line that name settings."""

    method: tuple[Method, ...] = ()
    """Samplers; default: the model's first. one_step is added for models that have it."""
    nfe: tuple[int, ...] = (10, 20, 50, 100)
    """Budgets of network evaluations an image."""
    grid: tuple[Grid, ...] = ("native",)
    """Times of the steps of ddbm_*, dbim* and dbms2; native is the method's own."""
    churn: float = 0.0
    """Share of every step that is stochastic (ddbm_*); the paper's LPIPS rows use 0.33."""
    eta: float = 0.0
    """Noise of dbim and ddim, from 0 to 1."""
    end_data: tuple[float, ...] = (0.5,)
    """Standard deviation of x_T that a bridge assumes: 0.5 as trained; 0.0 as the released evaluation scripts."""
    boot_noise: bool = True
    """Noise in the first step of dbim* and dbms2."""
    rho: float = 7.0
    """Exponent of the karras grid, which is the native one of ddbm_* and dbms2."""
    variance: Literal["native", "large", "small"] = "native"
    """Variance of ddpm's steps: beta (large), the posterior's (small), or what the model's authors take."""
    guidance: float = 1.0
    """Weight of z in ddim and ddpm, of models that were trained without it too (soda): another than 1 asks the network
    twice a step."""
    endpoint: tuple[Endpoint, ...] = ()
    """Where x_T comes from; default: every way the model has."""
    encode_steps: tuple[Literal["match"] | int, ...] = ("match",)
    """Steps of inferring x_T: as many as decode (match), or N."""

    def __post_init__(self) -> None:
        require_budgets(self.nfe)
        require_budgets([steps for steps in self.encode_steps if isinstance(steps, int)], "--encode-steps")

    def settings(self, model: RepresentationModel) -> list[Setting]:
        """Every setting that `model` has, cheapest first. What it lacks is left out, and the log says so.

        Raises:
            UserError: a value out of range, or a budget that the model has no steps for.
        """
        own = [method for method in model.samplers if method != "one_step"]
        methods = _available(self.method or own[:1], own, f"{model.name}: no sampler")
        endpoints = _available(self.endpoint or model.endpoints, model.endpoints, f"{model.name}: no x_T")
        guidance = guidance_of(model, self.guidance)
        try:
            found = [
                Setting(sampler, endpoint, steps, bridge=not decodes_at_once(model))
                for endpoint in endpoints
                for sampler in self._samplers(model, methods, guidance)
                for steps in (self._inference(sampler) if endpoint == "inferred" else [0])
            ]
        except ValueError as error:
            raise UserError(
                f"{model.name}, --method, --nfe, --grid, --rho, --variance, --guidance, --churn, --eta or --end-data: "
                f"{error}."
            ) from error
        for setting in found:
            require_budget(model, setting.sampler)
            if setting.encode_steps:
                require_budget(model, SamplerConfig("ddim", nfe=setting.encode_steps), self._told(setting))
        return found

    def _told(self, setting: Setting) -> str:
        """The option that gave the steps of an inference."""
        return "--encode-steps" if setting.encode_steps in self.encode_steps else "--nfe"

    def _samplers(self, model: RepresentationModel, methods: Sequence[str], guidance: float) -> Iterator[SamplerConfig]:
        for end_data in (0.5,) if decodes_at_once(model) else self.end_data:
            if "one_step" in model.samplers:
                yield SamplerConfig("one_step", nfe=1, end_data=end_data)
            for method in methods:
                if method in BRIDGE_METHODS:
                    yield from self._sweep(method, end_data=end_data)
        for method in methods:
            if method not in BRIDGE_METHODS:
                yield from self._sweep(method, guidance=guidance)

    def _sweep(self, method: str, **told: float) -> Iterator[SamplerConfig]:
        """One method over grids and budgets."""
        options = {name: getattr(self, name) for name in ("churn", "eta", "boot_noise", "rho", "variance")} | told
        for grid in self.grid if method in (*DDBM_METHODS, *BOOTED_METHODS) else ("native",):
            for nfe in sorted(self.nfe):
                yield sampler(method, nfe, grid, **options)

    def _inference(self, sampler: SamplerConfig) -> list[int]:
        return [steps_for(sampler) if steps == "match" else steps for steps in self.encode_steps]


def _available(wanted: Sequence[str], own: Sequence[str], complaint: str) -> list[str]:
    for name in wanted:
        if name not in own:
            log.warning("%s %s, which is left out; it has %s", complaint, name, ", ".join(own) or "one_step alone")
    return [name for name in wanted if name in own]
