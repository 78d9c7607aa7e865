"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dbae.support.errors import UserError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    If the body raises, the temporary file is removed and whatever stood at `path` stays as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written (names `path`).
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; these are ordinary results
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(path), str(temporary), *map(str, path.parents)):
            raise
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); nothing that stood there was changed. "
            "Free some space or name another folder, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes, read in one-MiB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where files that can be computed again are kept: `$DBAE_CACHE`, or else `~/.cache/dbae`."""
    return Path(os.environ.get("DBAE_CACHE") or Path.home() / ".cache" / "dbae").expanduser()
