"""Reconstruction against network evaluations (Tables 2, 9, 10)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = "faces", out: str | Path = "runs/reconstruction.csv", **options: Any
) -> pandas.DataFrame:
    """How close decode(encode(x)) comes to x.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.reconstruction.command import RECONSTRUCTION
    from benchmarks.runner import call

    return call.measure(RECONSTRUCTION, model, data, out=out, **options)
