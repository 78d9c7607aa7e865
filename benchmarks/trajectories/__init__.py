"""Latent paths of image sequences: how straight they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = ("faces", "disks"), out: str | Path = "runs/trajectories.csv", **options: Any
) -> pandas.DataFrame:
    """Straightness and curvature of the latent paths of image sequences.

    Models, data and options: `benchmarks.runner.call`; a data set of your own says in `groups` which sequence an image
    belongs to. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.runner import call
    from benchmarks.trajectories.command import TRAJECTORIES

    return call.measure(TRAJECTORIES, model, list(data) if isinstance(data, tuple) else data, out=out, **options)
