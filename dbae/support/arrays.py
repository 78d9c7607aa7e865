"""Files of arrays (`.npz`): written row by row, and read so that damage is noticed.

`array_file` holds in memory what was just appended, however long the arrays become.
Rows go to nameless temporary files beside the result; when all are there, headers with the final lengths and the rows
are copied into one zip of stored `.npy` members, which appears as a whole. The same rows give the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dbae.support.files import atomic_path

Shape = tuple[int | None, ...]
"""Of an array; None where any length will do."""

log = logging.getLogger(__name__)
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, ValueError, LookupError, EOFError, OSError),
    *(NotImplementedError, RuntimeError, MemoryError),
)
"""What reading a damaged `.npz` or `.npy` raises."""


def read_npz(path: Path, expected: Mapping[str, tuple[str, Shape]] | None = None) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz`; None where there is no file, or a damaged one, which is logged.

    Every byte of an array is compared with the checksum that the zip file has of it.

    Args:
        expected: name -> dtype and shape of arrays that must be there, e.g. {"images": ("uint8", (256, None, 3))}.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
        for name, (dtype, shape) in (expected or {}).items():
            found = arrays[name]
            lengths = zip(shape, found.shape, strict=True) if len(shape) == found.ndim else [(0, 1)]
            if found.dtype != dtype or any(length not in (None, n) for length, n in lengths):
                raise ValueError(f"{name} is {found.dtype} {found.shape}, expected {dtype} {shape}")
        return arrays
    except DAMAGE as error:
        log.warning("%s: damaged (%s); not used", path, " ".join(str(error).split()) or type(error).__name__)
        return None


def _array(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


class ArrayFile:
    """The arrays under construction."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays: dict[str, _Rows] = {}
        self._texts: dict[str, _Texts] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows (b, ...) to array `name`; all have one dtype and one shape but for b."""
        if name not in self._arrays:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  `close` does it
            self._arrays[name] = _Rows(file, rows.dtype, rows.shape[1:])
        self._arrays[name].append(rows)

    def append_texts(self, name: str, texts: list[str]) -> None:
        """Add strings to array `name`, which may be empty in the end."""
        if name not in self._texts:
            file = tempfile.TemporaryFile(  # noqa: SIM115
                "w+",
                dir=self._folder,
                encoding="utf-8",
                errors="surrogateescape",  # names may be any bytes
            )
            self._texts[name] = _Texts(file)
        self._texts[name].append(texts)

    def members(self) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any], Iterator[bytes]]]:
        """Name, shape, dtype and content of every array."""
        for name, rows in self._arrays.items():
            yield name, (rows.count, *rows.shape), rows.dtype, rows.content()
        for name, texts in self._texts.items():
            yield name, (texts.count,), texts.dtype, texts.content()

    def close(self) -> None:
        """Close all files."""
        for rows in self._arrays.values():
            rows.file.close()
        for texts in self._texts.values():
            texts.file.close()


class _Rows:
    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.file, self.dtype, self.shape, self.count = file, dtype, shape, 0

    def append(self, rows: np.ndarray) -> None:
        if rows.dtype != self.dtype or rows.shape[1:] != self.shape:
            raise ValueError(f"expected rows {self.shape} of {self.dtype}, found {rows.shape[1:]} of {rows.dtype}")
        self.file.write(np.ascontiguousarray(rows).tobytes())
        self.count += len(rows)

    def content(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(1 << 20):
            yield piece


class _Texts:
    """Strings, one a line; their width is known when all are there."""

    def __init__(self, file: IO[str]) -> None:
        self.file, self.count, self.width = file, 0, 1

    def append(self, texts: list[str]) -> None:
        for text in texts:
            line = " ".join(text.splitlines())
            self.file.write(f"{line}\n")
            self.width = max(self.width, len(line))
        self.count += len(texts)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<U{self.width}")

    def content(self) -> Iterator[bytes]:
        self.file.seek(0)
        for line in self.file:
            yield np.array(line.removesuffix("\n"), self.dtype).tobytes()


@contextlib.contextmanager
def array_file(path: Path) -> Iterator[ArrayFile]:
    """Yield an `ArrayFile` that becomes the `.npz` at `path`; if the body raises, `path` stays as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    with atomic_path(path) as temporary, contextlib.closing(ArrayFile(temporary.parent)) as arrays:
        yield arrays
        _pack(arrays, temporary)


def _pack(arrays: ArrayFile, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, shape, dtype, content in arrays.members():
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # not the date of this run
            with archive.open(info, "w", force_zip64=True) as member:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for piece in content:
                    member.write(piece)
