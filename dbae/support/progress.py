"""The progress of long work: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from dbae.support import distributed

LINE_EVERY = 60.0
"""Seconds between lines of a log."""

log = logging.getLogger(__name__)


class ProgressLines:
    """The part of tqdm's interface that is used here, for a log.

    A line is "encoding: 300 of 2000 img (15 %), 12 img/s, 02:21 left". The first comes after a
    minute, so that short work says nothing.
    """

    disable = True  # not a bar

    def __init__(self, total: int, title: str, done: int, unit: str) -> None:
        self.total, self.title, self.unit = total, title, unit
        self.n = self.initial = done
        self.started = self.said = time.monotonic()
        self.postfix = ""

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count n more; says a line if the last was a minute ago."""
        self.n += n
        now = time.monotonic()
        if now - self.said >= LINE_EVERY:
            self.said = now
            log.info("%s", self.line(now - self.started))

    def set_postfix_str(self, text: str) -> None:
        """What else the next lines say."""
        self.postfix = f", {text}"

    def line(self, seconds: float) -> str:
        """The line after so many seconds."""
        rate = (self.n - self.initial) / max(seconds, 1e-9)
        left = tqdm.format_interval(max(0, self.total - self.n) / rate) if rate else "?"
        speed = f"{rate:.3g} {self.unit}/s" if rate < 100 else f"{rate:.0f} {self.unit}/s"
        share = f"{self.n} of {self.total} {self.unit} ({100 * self.n // max(1, self.total)} %)"
        return f"{self.title}: {share}, {speed}, {left} left{self.postfix}"

    def close(self) -> None:
        """Nothing to close."""


_wanted: contextvars.ContextVar[bool] = contextvars.ContextVar("progress of all steps", default=False)


@contextlib.contextmanager
def all_shown() -> Iterator[None]:
    """Within the block, work that says nothing unless it is asked to shows its progress too, as steps of samplers."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def progress_bar(
    total: int, title: str, *, done: int = 0, unit: str = "img", show: bool = True, leave: bool = True
) -> Any:
    """A tqdm bar; where standard error is no terminal, `ProgressLines`; nothing on ranks above 0.

    Args:
        show: whether there is one, also outside `all_shown`.
        leave: whether the bar stays when it is full.
    """
    hidden = not ((show or _wanted.get()) and distributed.is_main())
    bar = tqdm(
        total=total,
        initial=done,
        desc=title,
        unit=unit,
        unit_scale=total >= 1_000_000,
        leave=leave,
        disable=True if hidden else None,  # None: unless standard error is a terminal
    )
    return ProgressLines(total, title, done, unit) if bar.disable and not hidden else bar
