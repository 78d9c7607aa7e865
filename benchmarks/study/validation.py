"""By what a learning rate is chosen: how much of held-out images is lost that z alone should tell.

A method's loss is not it: a network that learns the noise of x_t fast need not make much of z, and the rate of the
least loss was the worst for DBAE-d's probes (docs/study.md).
"""

from __future__ import annotations

from pathlib import Path

import torch

import benchmarks.reconstruction
from baselines.load import load
from benchmarks.study.measure import NFE, without_code
from benchmarks.study.plan import Training
from benchmarks.study.rows import fresh
from dbae.data import ImageDataset, open_data
from dbae.images import to_float

DECODED, SCORED = 256, 1024
"""Held-out images that are decoded, and those on which a loss is taken."""


def validation_error(training: Training, checkpoint: Path) -> float:
    """1 - SSIM of held-out images decoded from z alone in 20 evaluations: x_T is decoded from z, or random.

    A model without a code, or without pictures, has the loss of its objective instead. The rows of every measurement
    are kept in validation.csv among the runs.
    """
    data = open_data(training.data, size=training.scale.size)
    if without_code(training.row):
        return validation_loss(training, checkpoint, data)
    out = training.runs / "validation.csv"
    found = benchmarks.reconstruction.measure(
        str(checkpoint), data=training.data, out=out, protocol="standard", nfe=NFE, split="val", limit=DECODED
    )
    of_z = found[(found["metric"] == "SSIM") & (found["x_T"] != "inferred")]
    if of_z.empty:
        return validation_loss(training, checkpoint, data)
    return 1 - float(of_z.sort_values("nfe")["value"].iloc[-1])


def validation_loss(training: Training, checkpoint: Path, data: ImageDataset) -> float:
    """The objective of the averaged weights on held-out images, with the same noise for every learning rate."""
    model, objective = load(checkpoint).model, fresh(training.row, training.scale.preset)[1]
    images, losses = data.split("val")[:SCORED], []
    for first in range(0, len(images), 128):
        x0 = to_float(data.batch(images[first : first + 128])).contiguous(memory_format=torch.channels_last)
        with torch.random.fork_rng([]):
            torch.manual_seed(first)
            found = objective(model, x0, torch.Generator().manual_seed(first)).loss
        losses.append(found.detach())
    return float(torch.cat(losses).mean())
