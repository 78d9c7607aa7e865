"""The progress bar of long work."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(total: int, title: str, *, done: int = 0, unit: str = "img", show: bool = True) -> Any:
    """A tqdm bar; silent where standard error is no terminal, so that log files stay readable."""
    large = total >= 1_000_000
    return tqdm(total=total, initial=done, desc=title, unit=unit, unit_scale=large, disable=None if show else True)
