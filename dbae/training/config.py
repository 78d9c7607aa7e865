"""Options of training, with the paper's values as defaults."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from dbae.support.errors import UserError
from dbae.support.precision import Precision

_COUNTS = ("batch_size", "accumulate", "log_every", "save_every", "preview_every", "milestone_every", "keep")
_FROM_ZERO = ("images", "seed", "workers", "warmup_images")

FIXED = (
    *("batch_size", "accumulate", "optimizer", "lr", "weight_decay", "ema_rate", "ema_warmup"),
    *("precision", "clip_grad", "flip", "seed", "lr_schedule", "warmup_images"),
)
"""Options that a resumed run must repeat: they decide the weights. So does `images`, where the rate falls over them."""
Schedule = Literal["constant", "cosine"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Options of `dbae.training.loop.fit`.

    Attributes:
        images: how many images to train on, repetitions counted.
        batch_size: images an optimiser step, of all processes together.
        accumulate: micro-batches a step, of all processes together; batch norm sees one of them at a time (the
            reference's hold 32).
        optimizer: the optimiser of the weights; radam is DBAE's.
        lr: the optimiser's learning rate, the largest where it changes.
        lr_schedule: constant, or half a cosine that falls to zero over --images; such a run cannot be made longer.
        warmup_images: images over which the rate rises linearly to --lr; a cosine begins after them.
        weight_decay: the optimiser's weight decay; with adamw it is decoupled from the gradient.
        ema_rate: r of the moving average of the weights, r average + (1 - r) weights after every step.
        ema_warmup: let the moving average forget its first steps: at step k, (1 + k) / (10 + k) in place of r where it
            is less.
        precision: number format that the networks compute in, by autocast; parameters stay float32. "auto" times fp32
            and bf16 for about a second, takes bf16 if it gains a tenth, and says so; a resumed run keeps what was
            chosen.
        clip_grad: largest gradient norm; None leaves gradients alone, as the reference does.
        flip: mirror training images left-right with probability 1/2.
        seed: what initial weights, order of the images and noise follow from.
        workers: processes that read images; 0 reads them in the training's own.
        log_every: optimiser steps between rows of the log, whose last may be of fewer.
        save_every: images between checkpoints.
        preview_every: images between pictures of reconstructions; a shorter run has one of its end.
        milestone_every: images between snapshots that are kept for ever.
        keep: checkpoints kept beside the milestones.
        channels_last: memory layout of images and weights; the faster one on CPU and GPU alike.
        compile: generate code for the networks first, for minutes (`dbae.support.compiling`); for long runs on a GPU.
        tensorboard: write event files too (needs the `tensorboard` package).
        device: where to train: cpu, cuda, cuda:1, ...; "auto" takes a GPU if there is one.
        allow_processes: resume with another number of processes, whose noise is other noise; the card says so.

    Raises:
        UserError: a value out of range, or micro-batches that do not divide the batch.
    """

    images: int = 130_000_000
    batch_size: int = 128
    accumulate: int = 4
    optimizer: Literal["radam", "adam", "adamw"] = "radam"
    lr: float = 1e-4
    lr_schedule: Schedule = "constant"
    warmup_images: int = 0
    weight_decay: float = 0.0
    ema_rate: float = 0.9999
    ema_warmup: bool = False
    precision: Precision | Literal["auto"] = "fp32"
    clip_grad: float | None = None
    flip: bool = True
    seed: int = 0
    workers: int = 0
    log_every: int = 50
    save_every: int = 1_280_000
    preview_every: int = 1_280_000
    milestone_every: int = 10_000_000
    keep: int = 2
    channels_last: bool = True
    compile: bool = False
    tensorboard: bool = False
    device: str = "auto"
    allow_processes: bool = False

    def __post_init__(self) -> None:
        ranges = {name: ("1 or more", getattr(self, name) >= 1) for name in _COUNTS}
        ranges |= {name: ("0 or more", getattr(self, name) >= 0) for name in _FROM_ZERO}
        ranges["lr"] = ("a positive number", 0 < self.lr < math.inf)
        ranges["weight_decay"] = ("0 or more", 0 <= self.weight_decay < math.inf)
        ranges["ema_rate"] = ("a number from 0 to 1", 0 <= self.ema_rate <= 1)
        ranges["clip_grad"] = ("a positive number or None", self.clip_grad is None or self.clip_grad > 0)
        for name, (expected, holds) in ranges.items():
            if not holds:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {expected}, found {getattr(self, name)}; change --{option}.")
        if self.batch_size % self.accumulate:
            raise UserError(
                f"expected a batch size that {self.accumulate} micro-batches share evenly, found {self.batch_size}; "
                "change --batch-size or --accumulate."
            )

    @property
    def end(self) -> int:
        """Images seen at the end: whole batches, the first number of them that reaches `images`."""
        return math.ceil(self.images / self.batch_size) * self.batch_size

    def rate(self, seen: int) -> float:
        """Learning rate of the step that comes after `seen` images, fewer than `images`."""
        if seen + self.batch_size < self.warmup_images:
            return self.lr * (seen + self.batch_size) / self.warmup_images
        if self.lr_schedule == "constant" or seen <= self.warmup_images:
            return self.lr
        share = (seen - self.warmup_images) / (self.images - self.warmup_images)
        return self.lr * (1 + math.cos(math.pi * share)) / 2

    def micro_batches(self, processes: int) -> int:
        """Micro-batches a step of each process: of equal size, and none larger than with one process.

        Raises:
            UserError: the batch cannot be cut so.
        """
        each = -(-self.accumulate // processes)
        if self.batch_size % (processes * each):
            raise UserError(
                f"expected a batch size that {processes} processes with {each} micro-batches each share evenly, found "
                f"{self.batch_size}; change --batch-size or --accumulate."
            )
        return each

    def micro_batch(self, processes: int) -> int:
        """Images that a process gives its loss at once. Raises UserError as `micro_batches`."""
        return self.batch_size // (processes * self.micro_batches(processes))


# What differs from the defaults, the paper's, for the models that train on small machines.
_SMALL = dict(batch_size=64, accumulate=1, lr=1e-3, ema_rate=0.999, ema_warmup=True, clip_grad=1.0)
_SMALL_64 = _SMALL | dict(batch_size=128, save_every=500_000, preview_every=500_000)
SMALL_PRESETS: dict[str, dict[str, Any]] = {
    "faces32": _SMALL | dict(images=600_000, save_every=50_000, preview_every=50_000, milestone_every=100_000),
    "faces64s": _SMALL_64 | dict(images=5_000_000, lr=4e-4),
    "faces64": _SMALL_64 | dict(images=20_000_000, lr=2e-4),
}
"""Training options of the presets that every method has."""
