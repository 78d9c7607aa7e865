"""Disentanglement of latents: TAD, ATTRS, and metrics of known factors (Table 3, Figure 4)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = "faces", out: str | Path = "runs/disentanglement.csv", **options: Any
) -> pandas.DataFrame:
    """TAD, ATTRS and scores against known factors. Takes z alone too, as an array or an npz.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.disentanglement.command import DISENTANGLEMENT
    from benchmarks.runner import call

    return call.measure(DISENTANGLEMENT, model, data, out=out, **options)
