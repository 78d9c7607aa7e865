"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from dbae.support.errors import UserError

_DAY = 86_400


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    If the body raises, the temporary file is removed and whatever stood at `path` stays as it was. What killed writers
    of `path` left behind is removed at the start. A symbolic link stays one: the file that it leads to is written.

    Raises:
        UserError: the disk is full or the folder cannot be written (names `path`).
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{_writer()}-", suffix=".tmp")
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
        named = Path(error.filename or path)
        beside = named.parent.absolute() == path.parent.absolute()
        own = beside and named.name.startswith(f".{path.name}.")  # the temporary one, perhaps never made
        if not own and named not in (path, *path.parents):
            raise
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); nothing that stood there was changed. "
            "Free some space or name another folder, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove the temporary files of dead writers of `path`: processes of this machine that are gone.

    What writers of other machines, or of no known one, left is removed when it is a day old.
    """
    for leftover in path.parent.glob(f".{_escaped(path.name)}.*"):
        if leftover.suffix in (".tmp", ".d") and _is_dead(leftover):
            with contextlib.suppress(OSError):  # removed by another at this moment, or a folder that is only read
                remove(leftover)


def remove(leftover: Path) -> None:
    """Delete a temporary file or folder."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover)
    else:
        leftover.unlink(missing_ok=True)


def _writer() -> str:
    """What the names of temporary files say of the process that writes them."""
    return f"{os.getpid()}-{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_dead(leftover: Path) -> bool:
    """Whether nobody is writing this temporary file any more."""
    named = re.search(r"\.(\d+)-([0-9a-f]{8})-[^.]*\.(tmp|d)$", leftover.name)
    if named and named[2] == _writer().partition("-")[2]:
        try:
            os.kill(int(named[1]), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):  # alive and of another user; a number that is no process
            return False
        return False
    try:
        return time.time() - leftover.stat().st_mtime > _DAY
    except OSError:
        return False


def _escaped(name: str) -> str:
    """`name` for a glob pattern."""
    return re.sub(r"([*?[])", r"[\1]", name)


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
