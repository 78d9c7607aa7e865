"""Options of the generation benchmark, and the ways of generating that they ask for."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import arg

from benchmarks.extractors.features import ExtractorKind
from benchmarks.generation.source import Endpoint, Generation, Mode, ProtocolName, Source
from benchmarks.runner import DataOptions
from benchmarks.subjects.settings import guidance_of, require_budgets, sampler
from dbae.data import require_apart
from dbae.decoding import require_budget
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.precision import Precision

PriorClip = Literal["native", "none", "both", "noise", "predictions"]
"""What is clamped in drawing z; see `dbae.prior.LatentSampling`."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationOptions(DataOptions):
    """Options of the command."""

    ckpt: tuple[str, ...] = ()
    """Checkpoints to measure: files or names. Default: builtin:dbae, unless there are --samples."""
    data: tuple[str, ...] = ("faces",)
    """Real images to compare with, KIND:ROOT[?size=..&n=..]."""
    split: str = "all"
    """Which of the real images."""
    out: Path = Path("runs/generation.csv")
    """The results file; rows are added to what it has."""
    prior: str | None = None
    """Prior over z for the checkpoint that it was trained for: a file of `python -m baselines.train_prior`, or a name.
    Checkpoints that bring a learned one keep it."""
    prior_nfe: int | None = None
    """Evaluations of the prior's network a draw. Default: as the prior has it, 1000 if nothing else was said."""
    prior_clip: PriorClip = "native"
    """What is clamped to [-1, 1] in drawing z: the first noise, the network's predictions, both (as PDAE's authors do),
    none (DiffAE's), or as the prior has it."""
    samples: tuple[str, ...] = ()
    """Generated images to measure: folders, zips, or .npz files with arr_0 of uint8 (n, s, s, 3)."""
    protocol: tuple[ProtocolName, ...] = ("paper",)
    """paper: z drawn from the posterior, as the released code always does, and PDAE's last steps without a prior's z;
    standard: the mean of the posterior, and all steps with z."""
    mode: tuple[Mode, ...] = ()
    """prior: unconditional; ae: z from other real images ("+AE"). Default: both, prior where there is one."""
    x_T: tuple[Endpoint, ...] = ("own",)
    """own: as the model gets it from z; random: N(0, I) in any case; a number from 0 to 1: own for that share of the
    images, random for the others."""
    method: tuple[str, ...] = ()
    """Samplers; those that a model lacks are left out. Default: the model's own."""
    nfe: tuple[int, ...] = (100,)
    """Budgets of network evaluations an image."""
    churn: float = 0.0
    """Share of every step that is stochastic (ddbm_*); 0.33 is taken to be the paper's."""
    eta: float = 0.0
    """Noise of dbim and ddim."""
    end_data: float = 0.5
    """0.5 as trained; 0.0 as the released evaluation scripts (samplers of a bridge)."""
    boot_noise: bool = True
    """Noise in the first step of dbim* and dbms2."""
    rho: float = 7.0
    """Exponent of the karras grid (ddbm_*, dbms2)."""
    variance: Literal["native", "large", "small"] = "native"
    """Variance of ddpm's steps: beta (large), the posterior's (small), or what the model's authors take."""
    guidance: float = 1.0
    """Weight of z in ddim and ddpm, of models that were trained without it too (soda): another than 1 asks the network
    twice a step."""
    n: Annotated[int, arg(aliases=("-n",))] = 50_000
    """Images to generate, and real ones to compare them with, as far as the data has them."""
    limit: int | None = None
    """No more than LIMIT of either, for a trial."""
    neighbours: int = 10_000
    """Images of each kind for precision, recall, density, coverage and the Inception Score."""
    extractor: tuple[ExtractorKind, ...] = ()
    """The network that sees the images. Default: inception where its weights are found, else faces."""
    inception_weights: Path | None = None
    """Weights of FID's Inception. Default: looked for in $DBAE_WEIGHTS_DIR and PyTorch's cache."""
    execute_inception_code: bool = False
    """Take a TorchScript file of any hash as --inception-weights: it is a program, and it is EXECUTED with your rights.
    Distances in its features are named FD-file-NAME, never FID."""
    save_npz: bool = False
    """Also write generated images in guided-diffusion's format, to OUT_samples/."""
    seed: int = 0
    """Seed of z, x_T and the samplers' noise, and of the choice of real images."""
    batch_size: int = 64
    """Images sampled at a time, at most 256; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Arithmetic of the generating networks; extractors are fp32."""
    force: bool = False
    """Measure again what OUT already has, with the images that are there."""

    different: ClassVar[tuple[str, ...]] = ("data", "protocol")

    def __post_init__(self) -> None:
        require_budgets(self.nfe)
        if wrong := [x for x in self.x_T if isinstance(x, float) and not 0 <= x <= 1]:
            raise UserError(f"--x-T: expected own, random or a number from 0 to 1, found {wrong[0]:g}.")

    def check(self) -> None:
        """Raises UserError naming the option that cannot be, or a folder that is both read and written."""
        super().check()
        require_apart(self.samples, self.out)

    @property
    def models(self) -> tuple[str, ...]:
        """Checkpoints to measure."""
        return self.ckpt or (() if self.samples else ("builtin:dbae",))

    def settings(self, source: Source) -> Iterator[Generation]:
        """Every way of generating to measure, cheapest first.

        Raises:
            UserError: a value out of range, or a budget that the model has no steps for.
        """
        known = source.model.samplers
        methods = [m for m in self.method or known[:1] if m in known]
        if not methods:
            log.warning("%s: has none of %s, only %s.", source.loaded.name, ", ".join(self.method), ", ".join(known))
        endpoints = [x_T for x_T in self.x_T if source.can_start_at(x_T)]
        if len(endpoints) < len(self.x_T):
            log.warning("%s: does not blend endpoints; --x-T NUMBER is left out.", source.loaded.name)
        possible: tuple[Mode, ...] = ("prior", "ae") if source.prior else ("ae",)
        guidance = guidance_of(source.model, self.guidance)
        for mode in self.mode or possible:
            for protocol in self.protocol:
                for endpoint in endpoints:
                    for nfe in sorted(self.nfe):
                        for method in methods:
                            as_released = mode == "prior" and protocol == "paper"
                            stop = getattr(source.model, "prior_stop", 0.0) if as_released else 0.0
                            way = self._sampler(source, method, nfe, stop=stop, guidance=guidance)
                            yield Generation(mode, protocol, endpoint, way)

    def _sampler(self, source: Source, method: str, nfe: int, **own: Any) -> SamplerConfig:
        given = {name: getattr(self, name) for name in ("churn", "eta", "end_data", "boot_noise", "rho", "variance")}
        try:
            found = sampler(method, nfe, **given, **own)
        except ValueError as error:
            raise UserError(
                f"{source.model.name}, --method, --nfe, --churn, --eta, --rho, --variance, --guidance or --end-data: "
                f"{error}."
            ) from error
        require_budget(source.model, found)
        return found
