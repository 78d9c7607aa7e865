"""Arrays of an `.npz`, without unpickling anything, and of a large one a block of rows at a time."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import UInt8

from dbae.support.arrays import DAMAGE
from dbae.support.errors import UserError

_BLOCK = 1 << 24
"""Bytes read at a time."""


def read_array(path: Path, name: str) -> np.ndarray:
    """The array `name`. Raises UserError where the file has none of that name, is damaged, or has objects there."""
    with _member(path, name) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        _to_the_end(member)
        return array


def array_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of the uint8 array `name`. Raises UserError as `read_array` does, and for another type."""
    with _member(path, name) as member:
        return _shape(member)


def array_blocks(path: Path, name: str) -> Iterator[UInt8[np.ndarray, "b ..."]]:
    """The rows of the uint8 array `name`, some megabytes at a time; at the end its checksum is compared.

    Raises:
        UserError: as `array_shape`.
    """
    with _member(path, name) as member:
        count, *rest = _shape(member)
        row = math.prod(rest)
        step = max(1, _BLOCK // row)
        for start in range(0, count, step):
            rows = min(step, count - start)
            data = member.read(rows * row)
            if len(data) < rows * row:
                raise EOFError(f"{name} ends after {start} of {count} rows")
            yield np.frombuffer(data, np.uint8).reshape(rows, *rest)
        _to_the_end(member)


def _shape(member: zipfile.ZipExtFile) -> tuple[int, ...]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(member)
    if dtype != np.uint8 or fortran or len(shape) < 2 or math.prod(shape[1:]) == 0:
        raise ValueError(f"expected uint8 rows, found {dtype} {shape}{', transposed' if fortran else ''}")
    return shape


def _to_the_end(member: zipfile.ZipExtFile) -> None:
    """The checksum is compared when there is nothing left."""
    if member.read(1):
        raise ValueError("more bytes than its header says")


@contextlib.contextmanager
def _member(path: Path, name: str) -> Iterator[zipfile.ZipExtFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            if name not in names:
                raise UserError(
                    f"{path}: expected an array called {name}, found {', '.join(names) or 'none'}. Is it another file?"
                )
            with archive.open(f"{name}.npy") as member:
                yield cast(zipfile.ZipExtFile, member)
    except DAMAGE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: expected a whole .npz with {name}, found: {what}. Download it again.") from error
