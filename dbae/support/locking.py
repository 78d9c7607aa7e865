"""One writer at a time, across processes.

A lock is an advisory `flock` on a hidden file, so that the kernel releases it when a process is killed. The hidden file
is removed on the way out and leaves no trace in a folder of results. Processes that the holder forks (to read images)
do not hold it: they may live a little longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from dbae.support.errors import UserError

_TRIES, _PAUSE = 10, 0.1
_held: set[int] = set()
_running: dict[Path, int] = {}


def _close_held() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()
    _running.clear()


os.register_at_fork(after_in_child=_close_held)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the exclusive lock that belongs to the file `path`; waits for whoever holds it.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(os.path.realpath(path))
    lock = path.parent / f".{path.name}.lock"
    while True:
        handle = _opened(lock, path)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_still(lock, handle):
            break
        os.close(handle)  # the holder before us removed the file we waited on: its lock protects nothing
    with _holding(lock, handle):
        yield


@contextlib.contextmanager
def alone(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Be the only run in `folder`; within it, once more is allowed.

    Raises:
        UserError: another process is at work in it (says which), or it cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    if folder in _running:
        yield
        return
    lock = folder / ".lock"
    handle = _taken(folder, lock)
    os.truncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    _running[folder] = handle
    try:
        with _holding(lock, handle):
            yield
    finally:
        _running.pop(folder, None)


def require_free(folder: str | os.PathLike[str]) -> None:
    """Raise UserError if another process is at work in `folder` (`alone`); leaves no trace."""
    folder = Path(os.path.realpath(folder))
    if folder not in _running and (folder / ".lock").exists():
        with alone(folder):
            pass


def _taken(folder: Path, lock: Path) -> int:
    """The open lock file of a folder; asks a few times, since it may just be looked at by `require_free`."""
    found = ""
    for _ in range(_TRIES):
        handle = _opened(lock, folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(lock, handle):
                return handle
        except BlockingIOError:
            found = os.pread(handle, 200, 0).decode(errors="replace")
        os.close(handle)
        time.sleep(_PAUSE)
    raise UserError(
        f"{folder}: another run is at work in this folder ({found or 'of an unknown process'}). Wait until it "
        "ends, stop it, or name another --out."
    )


def _opened(lock: Path, what: Path) -> int:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    except OSError as error:
        for place in (lock.parent, *lock.parent.parents):
            if os.path.exists(place) and not os.path.isdir(place):
                raise UserError(
                    f"{place}: expected a folder, found a file. Name another --out; for the cache, set DBAE_CACHE."
                ) from error
        raise UserError(
            f"{what}: the folder cannot be written ({error.strerror}). Name another --out; for the cache, set "
            "DBAE_CACHE."
        ) from error


@contextlib.contextmanager
def _holding(lock: Path, handle: int) -> Iterator[None]:
    _held.add(handle)
    try:
        yield
    finally:
        if handle in _held:  # a forked child has closed its copy, and owns nothing
            _held.discard(handle)
            lock.unlink(missing_ok=True)  # before the release, so that a waiter finds out in `_is_still`
            os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the open file `handle` is the one that `path` names now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
