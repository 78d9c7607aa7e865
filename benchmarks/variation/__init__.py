"""How much reconstructions of one image differ (Figures 3, 10)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = "faces", out: str | Path = "runs/variation.csv", **options: Any
) -> pandas.DataFrame:
    """What differs between many reconstructions of one image.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.runner import call
    from benchmarks.variation.command import VARIATION

    return call.measure(VARIATION, model, data, out=out, **options)
