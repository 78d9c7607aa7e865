"""Distance of generated images from real ones, as distributions (Tables 4, 11)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def measure(
    model: Any, *, data: Any = "faces", out: str | Path = "runs/generation.csv", **options: Any
) -> pandas.DataFrame:
    """How close generated images come to real ones. `prior` may be an object, too.

    Models, data and options: `benchmarks.runner.call`. Rows go to `out`, and come back as a pandas table.
    """
    from benchmarks.generation.command import GENERATION
    from benchmarks.runner import call

    return call.measure(GENERATION, model, data, out=out, **options)
