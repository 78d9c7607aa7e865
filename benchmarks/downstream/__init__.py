"""Attribute prediction from latents: linear probes (Table 1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = "faces", out: str | Path = "runs/downstream.csv", **options: Any
) -> pandas.DataFrame:
    """Linear probes: how well attributes are read from z. Takes z alone too, as an array or an npz.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.downstream.command import DOWNSTREAM
    from benchmarks.runner import call

    return call.measure(DOWNSTREAM, model, data, out=out, **options)
