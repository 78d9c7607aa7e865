"""The rows of the study, and what an image of their training costs.

The unit of work is a *trunk unit*: the floating-point operations of one forward and backward pass of the unconditional
U-Net (`ddim`) on one image. Counting operations, not seconds, gives every machine the same plan. All that a training
step computes counts, passes of a frozen network included.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

import baselines.train
import dbae.train
from baselines.interface import LoadedModel
from dbae.training.objective import Objective

BATCH = 8
"""Images of the step whose operations are counted."""
STEPS = 10
"""Steps after which the work of every method repeats itself."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the study's tables.

    Attributes:
        key: names its folders; unique.
        label: its name in tables.
        flags: options of its training command that make it what it is.
        builds_on: key of the row whose trained network it takes over, frozen.
        free: the frozen network was there already: it costs nothing, and is the whole budget's. Otherwise it has half
            of the row's budget, as a user without one would have to pay for it.
        repeated: whether the study trains it from more than one seed.
    """

    key: str
    label: str
    flags: tuple[str, ...]
    builds_on: str = ""
    free: bool = False
    repeated: bool = False

    @property
    def module(self) -> str:
        """The training command, after `python -m`."""
        return "baselines.train" if "--method" in self.flags else "dbae.train"

    def run(self, seed: int) -> str:
        """Name of a run of it, and of its model in rows of results."""
        return f"{self.key}-seed{seed}"

    def spent(self, budget: int, share: float) -> float:
        """Units of a budget after a share of the images of training, those of a frozen network it pays for too."""
        before = budget / 2 if self.builds_on and not self.free else 0.0
        return before + (budget - before) * share


def _method(key: str, label: str, *flags: str, of: str = "", **more: Any) -> Row:
    return Row(key, label, ("--method", of or key, *flags), **more)


ROWS: dict[str, Row] = {
    row.key: row
    for row in (
        Row("dbae", "DBAE", (), repeated=True),
        Row("dbae-s", "DBAE, small sigma at first", ("--initial-sigma", "0.02"), repeated=True),
        Row("dbae-d", "DBAE-d", ("--no-stochastic",), repeated=True),
        Row("dbae-tc", "DBAE+TC", ("--tc-weight", "0.001")),
        _method("ddim", "DDIM"),
        _method("diffae", "DiffAE", repeated=True),
        _method("pdae", "PDAE", builds_on="ddim", repeated=True),
        _method("pdae-free", "PDAE, DDIM at no cost", of="pdae", builds_on="ddim", free=True),
        _method("diti", "DiTi", builds_on="ddim"),
        _method("infodiffusion", "InfoDiffusion"),
        _method("drl", "DRL"),
        _method("vdrl", "VDRL"),
        _method("sami", "SAMI"),
        _method("scorevae", "ScoreVAE", "--time-conditioned", of="sami"),
        _method("ae", "AE"),
        _method("vae", "VAE", repeated=True),
        _method("vae-published", "VAE, weights as published", "--weights", "published", of="vae"),
        _method("beta_vae", "beta-VAE"),
        _method("beta_tcvae", "beta-TCVAE"),
        _method("info_vae", "InfoVAE"),
        _method("lcg_dm", "LCG-DM", builds_on="beta_tcvae"),
        _method("soda", "SODA-lite"),
        _method("fdae", "FDAE"),
        _method("disdiff", "DisDiff", builds_on="ddim"),
        _method("sb_vae", "SB-VAE"),
        _method("ib_gan", "IB-GAN"),
        _method("simclr", "SimCLR"),
    )
}
"""By key, in the order of the tables and of the work."""


def arguments(row: Row, preset: str, out: str, data: str, *more: str) -> list[str]:
    """The arguments of the training command."""
    return [*row.flags, "--preset", preset, "--data", data, "--out", out, *more]


def fresh(row: Row, preset: str, images: int = 17_000) -> tuple[Any, Objective]:
    """The row's model with initial weights and its objective, for so many training images."""
    flags = arguments(row, preset, "none", "faces")
    if row.module == "dbae.train":
        return dbae.train.built(tyro.cli(dbae.train.options(flags), args=flags), images)

    def load(source: str) -> LoadedModel:
        return LoadedModel.of(fresh(ROWS[source], preset)[0])

    flags += ["--pretrained", row.builds_on] if row.builds_on else []
    args = tyro.cli(baselines.train.options(flags), args=flags)
    return baselines.train.built(args, load).model, baselines.train.TRAINED[args.method].loss


@functools.cache
def operations(row: Row, preset: str) -> float:
    """Floating-point operations of a training step, an image: objective, forward and backward.

    A mean over `STEPS` steps where the second is not like the first.
    """
    model, objective = fresh(row, preset)
    size = model.config.image_size
    x = torch.zeros(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)

    def count() -> int:
        with torch.random.fork_rng([]), FlopCounterMode(display=False) as counter:
            objective(model.train(), x, torch.Generator().manual_seed(0)).loss.mean().backward()
        return counter.get_total_flops()

    counts = [count(), count()]
    if counts[0] != counts[1]:
        counts += [count() for _ in range(STEPS - 2)]
    return sum(counts) / len(counts) / BATCH


@functools.cache
def parameters(row: Row, preset: str) -> int:
    """Numbers in the row's model, frozen networks included."""
    return sum(p.numel() for p in fresh(row, preset)[0].parameters())


def units(row: Row, preset: str) -> float:
    """Trunk units of an image of the row's training."""
    return operations(row, preset) / operations(ROWS["ddim"], preset)
