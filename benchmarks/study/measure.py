"""What is measured of a run of the study: its latents at every point of the curve, its pictures at the end."""

from __future__ import annotations

import logging
from pathlib import Path

import benchmarks.disentanglement
import benchmarks.downstream
import benchmarks.reconstruction
from benchmarks.study.plan import Training
from benchmarks.study.rows import ROWS, Row
from dbae.support.errors import UserError

log = logging.getLogger(__name__)
NFE = 20
"""Network evaluations of a reconstruction, where there is a choice."""
PROTOCOL = "standard"
"""Of all measurements."""


def without_code(row: Row) -> bool:
    """A plain diffusion model: its z is x_T, which takes hundreds of evaluations an image to infer."""
    return row is ROWS["ddim"]


def measure(training: Training, out: Path) -> None:
    """Add the rows of a complete training to downstream.csv, disentanglement.csv and reconstruction.csv in `out`.

    Rows that are there already are not measured again. What a model cannot do is logged and left out.
    """
    checkpoints = [str(training.folder.milestone(images)) for images in training.points()]
    data, last = training.data, checkpoints[-1]
    if not without_code(training.row):
        benchmarks.downstream.measure(checkpoints, data=data, out=out / "downstream.csv", protocol=PROTOCOL)
        benchmarks.disentanglement.measure(last, data=data, out=out / "disentanglement.csv", protocol=PROTOCOL)
    try:
        benchmarks.reconstruction.measure(
            last, data=data, out=out / "reconstruction.csv", protocol=PROTOCOL, nfe=NFE, limit=training.scale.images
        )
    except UserError as error:
        log.warning("%s: not reconstructed: %s", training.name, error)
