"""What the command line may say of DRL and VDRL, and presets on the sizes of DiffAE's."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

from baselines.diffusion.emphasis import Emphasis
from baselines.method import Method
from baselines.methods.diffae import small_presets
from baselines.methods.drl.model import DRL, DRLConfig, loss
from baselines.options import ConfigOptions, differences, in_sizes


@dataclasses.dataclass(frozen=True)
class DRLOptions(ConfigOptions):
    """What DRL and VDRL can be told. None keeps the preset's value.

    Attributes:
        weight: weight in the loss of z's L1 norm (drl) or KL divergence (vdrl), beside half a sum over pixels; 1e-5 as
            published.
        schedule: how the noise grows with time: linear (VP) or ve.
        emphasis: the noise levels that training dwells on: high ones (coarse), low ones (fine), all of log-SNR
            (even), or as other methods do, all times (uniform).
        timed: whether the encoder is told the time; without it, this is DiffAE.
        times: the times, from 0 to 999, whose codes one after the other are z in all that is measured.
    """

    weight: float | None = None
    schedule: Literal["linear", "ve"] | None = None
    emphasis: Emphasis | None = None
    timed: bool | None = None
    times: tuple[int, ...] | None = None


def method_of_kind(key: str, label: str, model: type[DRL], *, variational: bool) -> Method:
    """DRL or VDRL; each has a class of its own, by which it is known."""
    usual = partial(in_sizes, DRLConfig, variational=variational)
    return Method(
        key=key,
        label=label,
        config=DRLConfig,
        model=model,
        loss=loss,
        presets=small_presets(usual),
        options=DRLOptions,
        variant=lambda config: differences(config, usual(config)),
    )


METHOD = method_of_kind("drl", "DRL", DRL, variational=False)
