"""The progress bar of long work."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from dbae.support import distributed


def progress_bar(total: int, title: str, *, done: int = 0, unit: str = "img", show: bool = True) -> Any:
    """A tqdm bar; silent where standard error is no terminal, so that log files stay readable, and on ranks above 0."""
    large, disable = total >= 1_000_000, None if show and distributed.is_main() else True
    return tqdm(total=total, initial=done, desc=title, unit=unit, unit_scale=large, disable=disable)
