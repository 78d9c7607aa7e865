"""A run must not write among the images it reads: its own pictures would be images of the next run.

Whatever lies below the folder of a data set is read (`dbae.data.files.folder`), so an OUT there changes the data under
a run that is resumed, and under every later one. Archives and drawn pictures cannot be written into by a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dbae.data.source import DRAWN, parse_source, root_of
from dbae.support.errors import UserError


def require_apart(sources: Iterable[str], out: str | os.PathLike[str]) -> None:
    """To be called by a command before it reads or writes anything.

    Args:
        sources: what --data or the images of the command name; of those that cannot be opened, opening says why.
        out: what the command writes: a folder, or a file beside which it puts others.

    Raises:
        UserError: `out` is, or lies below, the folder of one of the sources, links resolved.
    """
    target = Path(os.path.realpath(out))
    for source in sources:
        folder = _folder(source)
        if folder is not None and target.is_relative_to(os.path.realpath(folder)):
            raise UserError(
                f"--out {out}: expected a place outside of the data, found one inside of {folder}, all of which is "
                "read as data: the run's own files would become part of it. Choose an --out outside of that folder."
            )


def _folder(source: str) -> Path | None:
    """The folder that is read with everything below it, or None."""
    try:
        parsed = parse_source(source)
        folder = None if parsed.kind in DRAWN else root_of(parsed)
        return folder if folder is not None and folder.is_dir() else None
    except (UserError, OSError, ValueError, RuntimeError):
        return None
