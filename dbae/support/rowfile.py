"""One `.npy` of float32 rows, described and sealed by a `.json` of the same name.

    NAME.npy      float32 (n, ...)
    NAME.json     what the rows are, as the caller says; and "shape", "dtype" and "sha256" of the file

A file under construction is a `.part`: complete rows behind a complete header, in order. A killed run is continued at
its last complete row; only a complete file gets its name. Memory holds what was just appended, whatever n is.

`fault` finds what became of a file since: cut short, empty, other bytes, another shape or dtype, a description that is
none. Files of before checksums were kept count as whole if header, length and description agree, and are sealed then.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from dbae.support.errors import UserError
from dbae.support.files import atomic_path, sha256

SEAL = ("shape", "dtype", "sha256")
_CHUNK = 8192


class Rows:
    """An `.npy` that grows by whole rows, to `total` of them.

    Attributes:
        count: rows that are there.
    """

    def __init__(self, file: IO[bytes], total: int) -> None:
        self.file, self.total, self.count = file, total, 0
        self.shape: tuple[int, ...] | None = None
        with contextlib.suppress(ValueError):  # empty, or killed within the header: start again
            shape, dtype = _header(file)
            start, row = file.tell(), 4 * int(np.prod(shape[1:]))
            whole = (file.seek(0, os.SEEK_END) - start) // row if row else 0
            if dtype == "<f4" and shape[0] == total and whole <= total:
                self.count, self.shape = whole, shape[1:]
                file.truncate(start + whole * row)
                file.seek(0, os.SEEK_END)
        if not self.count:
            self._restart()

    def _restart(self) -> None:
        self.count, self.shape = 0, None
        self.file.seek(0)
        self.file.truncate()

    def append(self, rows: np.ndarray) -> None:
        """Add float32 rows (b, ...), all of one shape but for b.

        Raises:
            ValueError: of another shape than those that are there.
        """
        if self.shape is None:
            header = {"descr": "<f4", "fortran_order": False, "shape": (self.total, *rows.shape[1:])}
            np.lib.format.write_array_header_1_0(self.file, header)
            self.shape = rows.shape[1:]
        if rows.shape[1:] != self.shape:
            raise ValueError(f"expected rows {self.shape}, found {rows.shape[1:]}")
        self.file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self.file.flush()
        self.count += len(rows)


@contextlib.contextmanager
def growing(path: Path, partial: Path, total: int, about: dict[str, Any]) -> Iterator[Rows]:
    """The unfinished file of `path`, at `partial`; gets its name when the body ends, stays when it raises.

    Args:
        about: JSON values for the description; the body may add to it.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "r+b" if partial.exists() else "w+b") as file:
            rows = Rows(file, total)
            yield rows
            os.fsync(file.fileno())
        if rows.count != total:
            raise ValueError(f"{path}: expected {total} rows, found {rows.count}")
        _describe(path, partial, about)
        os.replace(partial, path)
    except OSError as error:
        if error.filename not in (None, str(partial), str(path), *map(str, path.parents)):
            raise
        raise UserError(
            f"{path}: could not be written ({error.strerror}). Free some space or set DBAE_CACHE to another folder, "
            "then run the same command again: it continues where it stopped."
        ) from error


def fault(path: Path, card: Mapping[str, Any], shape: tuple[int | None, ...]) -> str | None:
    """Why the file at `path` cannot be used; None if it can.

    Args:
        card: values that its description has to have.
        shape: of the array; None where any length will do.
    """
    try:
        about = described(path)
        with open(path, "rb") as file:
            found, dtype = _header(file)
            start, size = file.tell(), file.seek(0, os.SEEK_END)
    except (OSError, ValueError, RecursionError) as error:
        return f"it cannot be read: {error or type(error).__name__}"
    other = sorted(key for key, value in card.items() if about.get(key) != value)
    if other:
        return f"it holds something else: its {', '.join(other)}"
    if dtype != "<f4" or len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
        return f"expected float32 {shape}, found {dtype} {found}"
    if size != start + 4 * int(np.prod(found)):
        return f"it is cut short or longer than it says: {size} bytes"
    if "sha256" not in about:
        with contextlib.suppress(UserError):  # a folder that is only read
            _describe(path, path, about)
    elif {key: about.get(key) for key in SEAL} != _seal(path):
        return "its bytes have changed since it was written"
    return None


def join(shares: Sequence[Path], path: Path, partial: Path) -> None:
    """Make the file at `path` of the rows of others, in order. It took as long as the slowest ("seconds").

    Raises:
        UserError: one is not there, or the file cannot be written.
    """
    for share in shares:
        if not share.exists():
            raise UserError(
                f"{share}: written by another process, but not seen here. On several machines, set DBAE_CACHE to a "
                "folder that all of them see, then run the same command again."
            )
    cards, arrays = [described(share) for share in shares], [np.load(share, mmap_mode="r") for share in shares]
    n = sum(map(len, arrays))
    with growing(path, partial, n, cards[0] | {"n": n, "seconds": max(card["seconds"] for card in cards)}) as file:
        for array in arrays:
            for start in range(0, len(array), _CHUNK):
                file.append(array[start : start + _CHUNK])


def taken_over(path: Path, card: Mapping[str, Any], shape: tuple[int | None, ...], *, but: str, **same: Any) -> bool:
    """Whether some file in the folder has these rows under another description; they then get the name `path` too.

    Args:
        card, shape: of the rows at `path`, as in `fault`.
        but: the one value of the card that may be another; `same`: others that its description has to have for that.
    """
    wanted = {name: value for name, value in card.items() if name != but} | same
    for source in sorted(other.with_suffix(".npy") for other in path.parent.glob("*.json")):
        if fault(source, wanted, shape) is None:
            with contextlib.suppress(UserError):  # what cannot be written now is said by who writes the rows anew
                _take_over(source, path, described(source) | dict(card))
                return True
    return False


def _take_over(source: Path, path: Path, about: Mapping[str, Any]) -> None:
    """One file of two names where that can be, else a copy."""
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, indent=1), "utf-8")
    with atomic_path(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links, a file of another user
            shutil.copyfile(source, temporary)


def described(path: Path) -> dict[str, Any]:
    """The description of the file at `path`.

    Raises:
        OSError: there is none.
        ValueError, RecursionError: it is no JSON object.
    """
    about = json.loads(path.with_suffix(".json").read_text("utf-8"))
    if not isinstance(about, dict):
        raise ValueError(f"its description is a {type(about).__name__}")
    return about


def _describe(path: Path, written: Path, about: Mapping[str, Any]) -> None:
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({**about, **_seal(written)}, indent=1), "utf-8")


def _seal(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        shape, dtype = _header(file)
    return {"shape": list(shape), "dtype": dtype, "sha256": sha256(path)}


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], str]:
    """Shape and dtype; leaves the file where the rows begin. Raises ValueError where there is no complete header."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its header is none that this package writes")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran_order or not shape:
        raise ValueError("its rows are not one after another")
    return shape, dtype.str
