"""One writer at a time, across processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dbae.support.errors import UserError


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the exclusive lock that belongs to `path`; waits for whoever holds it.

    The lock is an advisory `flock` on a hidden sibling file, so that the kernel releases it when a process is
    killed. The sibling is removed on the way out and leaves no trace in a results folder.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    lock = path.parent / f".{path.name}.lock"
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise UserError(f"{path}: the folder cannot be written ({error.strerror}). Name another one.") from error
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_still(lock, handle):
            break
        os.close(handle)  # the holder before us removed the file we waited on: its lock protects nothing
    try:
        yield
    finally:
        lock.unlink()  # before the release, so that a waiter finds out in `_is_still`
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the open file `handle` is the one that `path` names now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
