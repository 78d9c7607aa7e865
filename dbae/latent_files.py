"""Files of latents, a batch at a time, in three formats: what `python -m dbae.encode` writes.

    .npz       arrays, as the help of that command lists them
    .csv       a row an image: file, z0 .. z(l-1), sigma0 .. and draw1_0 .. where asked for, model, checkpoint_sha256
    .parquet   the same columns, numbers as float32; needs pyarrow

Tables have rows of images that could be read alone, and their numbers are the float32 of the arrays: read as float32
they are equal. In the names of files, bytes that are no UTF-8 are escaped there. Memory holds what was just added, of
Parquet some thousand rows; the file appears when it is complete.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from dbae.support.arrays import array_file
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

_ROW_GROUP = 8192
"""Rows that Parquet keeps together: what it says of every column of a group is dear in small ones."""

Add = Callable[[list[str], Mapping[str, Float32[np.ndarray, "b ..."]], Sequence[tuple[str, str]]], None]
"""Adds a batch: the names of its b images, arrays with a row for each, and names and reasons of broken ones."""


def require_format(path: Path) -> None:
    """Raise UserError unless the ending of `path` names a format that can be written here."""
    if path.suffix not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise UserError(f"--out {path}: expected a name that ends in {known}. Choose another --out.")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"--out {path}: expected pyarrow, which writes Parquet, found none. Run pip install 'dbae-bench[parquet]', "
            "or choose a name that ends in .csv or .npz."
        )


@contextlib.contextmanager
def latent_file(path: Path, *, model: str, sha256: str) -> Iterator[Add]:
    """Yield what adds batches to the file at `path`; if the body raises, `path` stays as it was.

    Args:
        path: its ending names the format.
        model: name of the model; sha256: of its checkpoint.

    Raises:
        UserError: see `require_format`; the disk is full or the folder cannot be written.
    """
    require_format(path)
    with _FORMATS[path.suffix](path, model, sha256) as add:
        yield add


@contextlib.contextmanager
def _npz(path: Path, model: str, sha256: str) -> Iterator[Add]:
    with array_file(path) as file:
        file.append_texts("checkpoint_sha256", [sha256])
        file.append_texts("model", [model])

        def add(names: list[str], arrays: Mapping[str, np.ndarray], broken: Sequence[tuple[str, str]]) -> None:
            for name in sorted(arrays):
                file.append(name, arrays[name])
            file.append_texts("names", names)
            file.append_texts("broken", [name for name, _ in broken])
            file.append_texts("reasons", [reason for _, reason in broken])

        add([], {}, [])
        yield add


@contextlib.contextmanager
def _csv(path: Path, model: str, sha256: str) -> Iterator[Add]:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer, started = csv.writer(file), False

        def add(names: list[str], arrays: Mapping[str, np.ndarray], broken: Sequence[tuple[str, str]]) -> None:
            nonlocal started
            if not names:
                return
            numbers = _columns(arrays)
            if not started:
                writer.writerow(["file", *numbers, "model", "checkpoint_sha256"])
                started = True
            texts = np.stack([values.astype(str) for values in numbers.values()], axis=1)  # the shortest that is exact
            for name, row in zip(names, texts, strict=True):
                writer.writerow([_utf8(name), *row, model, sha256])

        yield add


@contextlib.contextmanager
def _parquet(path: Path, model: str, sha256: str) -> Iterator[Add]:
    import pyarrow
    import pyarrow.parquet

    held: list[pyarrow.Table] = []
    with atomic_path(path) as temporary, contextlib.ExitStack() as stack:
        writers: list[pyarrow.parquet.ParquetWriter] = []

        def write() -> None:
            table = pyarrow.concat_tables(held)
            if not writers:
                writers.append(stack.enter_context(pyarrow.parquet.ParquetWriter(temporary, table.schema)))
            writers[0].write_table(table)
            held.clear()

        def add(names: list[str], arrays: Mapping[str, np.ndarray], broken: Sequence[tuple[str, str]]) -> None:
            if names:
                about = {"model": [model] * len(names), "checkpoint_sha256": [sha256] * len(names)}
                held.append(pyarrow.table({"file": [*map(_utf8, names)], **_columns(arrays), **about}))
            if sum(map(len, held)) >= _ROW_GROUP:
                write()

        yield add
        if held:
            write()


_FORMATS = {".npz": _npz, ".csv": _csv, ".parquet": _parquet}


def _columns(arrays: Mapping[str, np.ndarray]) -> dict[str, Float32[np.ndarray, " b"]]:
    """A column a number: z (b, l) gives z0 .., draws (b, m, l) give draw1_0 .. draw2_0 .."""
    tables = {name: arrays[name] for name in ("z", "sigma") if name in arrays}
    if "draws" in arrays:
        tables |= {f"draw{j + 1}_": arrays["draws"][:, j] for j in range(arrays["draws"].shape[1])}
    return {f"{name}{i}": table[:, i] for name, table in tables.items() for i in range(table.shape[1])}


def _utf8(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
