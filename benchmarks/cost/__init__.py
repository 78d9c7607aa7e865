"""Parameters, operations and times (Tables 5, 8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(model: Any, *, out: str | Path = "runs/cost.csv", **options: Any) -> pandas.DataFrame:
    """Parameters, operations and times.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.cost.command import COST
    from benchmarks.runner import call

    return call.measure(COST, model, out=out, **options)
