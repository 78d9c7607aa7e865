"""Paths as users write them: what cannot be a path is one line that names it, and no traceback."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dbae.support.errors import UserError

SHOWN = 120
"""Characters of a path that a message repeats."""

MAX_FILE = 512 << 20
"""Bytes of one image or label file that are read into memory, after inflating: larger ones are refused."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` replaced. Raises UserError when there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{shown(path)}: expected '~' or '~NAME' of a user of this machine, found no such user. "
            "Write the whole path."
        ) from None


def status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What lies at a path, links followed; None where there is nothing.

    Raises:
        UserError: what cannot be looked up: a NUL character, a name that is too long, links in a circle, a folder
            without permission.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(f"{shown(path)}: expected a path, found one with {error}. Correct it.") from None
    except OSError as error:
        raise UserError(
            f"{shown(path)}: expected a path that can be looked up, found: {error.strerror}. "
            "Check its length, its links and the permissions of its folders."
        ) from None


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something lies there; False for what cannot be looked up."""
    try:
        return status(path) is not None
    except UserError:
        return False


def require_ordinary(path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Raises UserError for a pipe, socket or device, which would be waited for, and for files beyond `MAX_FILE`."""
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise UserError(f"{shown(path)}: expected an ordinary file, found {what}. Name a file.")
    require_bounded(str(path), found.st_size)


def require_bounded(where: str, size: int) -> None:
    """Raises UserError when an image or label file of `size` bytes is too large to be one."""
    if size > MAX_FILE:
        raise UserError(
            f"{shown(where)}: expected an image or label file of at most {MAX_FILE >> 20} MiB, found "
            f"{size / 2**20:,.0f} MiB. Leave it out, or save it smaller."
        )


def shown(path: str | os.PathLike[str]) -> str:
    """A path as messages show it: printable, and not without end."""
    text = printable(str(path))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def printable(text: str) -> str:
    """Text on one line that every output takes: control characters and bytes that are no text are escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
