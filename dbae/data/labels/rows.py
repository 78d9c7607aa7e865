"""Rows and columns of a CSV with a header, before anybody asks what they mean.

pandas reads the rows; where it stumbles, or finds something else than values, the rows are read again one by one, to
say what is wrong in which line. Both give the same columns.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import warnings
from collections.abc import Sequence

import numpy as np

from dbae.data.labels.formats import malformed
from dbae.support.errors import UserError

FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id")
"""Names of the column that names the image; the first that is there."""

NOT_TARGETS = "# not targets:"
"""Start of the line that names columns which are no targets."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Columns of a CSV below its header: of each a number or text a row; `first` is the line of the first row."""

    files: tuple[str, ...]
    columns: dict[str, np.ndarray]
    first: int


def read_rows(text: str, where: str) -> tuple[frozenset[str] | None, Rows]:
    """What the file names as no targets (None: nothing), and its rows.

    Raises:
        UserError: no column that names the image; columns without a name, with a line break, or twice; no row, a row
            of another length, or an empty cell (names the line).
    """
    lines = text.splitlines(keepends=True)
    comments = next((i for i, line in enumerate(lines) if not line.lstrip().startswith("#")), len(lines))
    named: frozenset[str] | None = None
    for line in lines[:comments]:
        if line.strip().lower().startswith(NOT_TARGETS):
            names = line.strip()[len(NOT_TARGETS) :].split(",")
            named = (named or frozenset()) | {name.strip() for name in names if name.strip()}
    body = "".join(lines[comments:])
    header = _header(body, where, comments + 1)
    unknown = sorted((named or frozenset()) - set(header))
    if unknown:
        raise malformed(where, 1, "names of columns after 'not targets:'", f"'{unknown[0]}'")
    file = next(name for name in FILE_COLUMNS if name in header)
    columns = _by_pandas(body, header, file) or _one_by_one(body, header, file, where, comments)
    files = tuple(str(name).strip() for name in columns.pop(file))
    if not files:
        raise malformed(where, comments + 2, "a row for every image", "none")
    return named, Rows(files, columns, comments + 2)


def _header(body: str, where: str, line: int) -> list[str]:
    try:
        header = [name.strip() for name in next(csv.reader(io.StringIO(body)), [])]
    except csv.Error as error:
        raise malformed(where, line, "comma separated values", str(error)) from None
    for mark, marks in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise _bad_header(where, line, f"one column, with {marks} in its name. Put commas between columns.")
    remedy = "In pandas, write it with to_csv(..., index=False)."
    for number, name in enumerate(header, 1):
        if not name or re.fullmatch(r"Unnamed: \d+", name):
            raise _bad_header(
                where, line, f"a column without a name (number {number}). Remove it, or name it. {remedy}"
            )
        if not name.isprintable():
            raise _bad_header(
                where, line, f"a line break or another control character in column {number}, {name[:80]!r}. Rename it."
            )
        if header.index(name) != number - 1:
            raise _bad_header(where, line, f"'{name}' twice. Remove or rename one of the columns.")
    if not any(name in header for name in FILE_COLUMNS):
        raise _bad_header(
            where,
            line,
            f"'{','.join(header)[:80]}', none of which names the image. "
            f"Call that column 'file'{' (found one called file in other letters)' if _other_letters(header) else ''}.",
        )
    return header


def _other_letters(header: Sequence[str]) -> bool:
    return any(name.lower() in FILE_COLUMNS for name in header)


def _bad_header(where: str, line: int, found: str) -> UserError:
    return UserError(
        f"{where}, line {line}: expected a header of distinct column names, one of them 'file' (or "
        f"{', '.join(FILE_COLUMNS[1:])}), found {found}"
    )


def _by_pandas(body: str, header: Sequence[str], file: str) -> dict[str, np.ndarray] | None:
    """All columns, numbers where a column holds nothing else; None where pandas finds the file unusual."""
    import pandas

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a later pandas: round_trip is its only precision
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                io.StringIO(body),
                index_col=False,
                names=list(header),
                skiprows=1,
                dtype={file: str},
                keep_default_na=False,
                na_filter=False,
                skipinitialspace=True,
                float_precision="round_trip",
                low_memory=False,
            )
    except Exception:  # pandas raises several; the careful reading says what is wrong
        return None
    columns = {name: frame[name].to_numpy() for name in header}
    return columns if all(map(_is_plain, columns.values())) else None


def _is_plain(column: np.ndarray) -> bool:
    """Whether a column holds values that need no closer look."""
    if column.dtype == bool:
        return True
    if column.dtype.kind in "iuf":
        return bool(np.isfinite(column).all())
    return all(isinstance(value, str) and value and value == value.strip() for value in column.tolist())


def _one_by_one(body: str, header: Sequence[str], file: str, where: str, before: int) -> dict[str, np.ndarray]:
    """The same columns by the standard library. Raises UserError naming the line that is not of the format."""
    reader = csv.reader(io.StringIO(body))
    rows: list[list[str]] = []
    try:
        next(reader)
        for record in reader:
            line = before + reader.line_num
            fields = [value.strip() for value in record]
            if not fields:
                continue
            if len(fields) != len(header):
                raise malformed(where, line, f"{len(header)} fields, as in the header", f"{len(fields)} fields")
            if "" in fields:
                empty = header[fields.index("")]
                raise malformed(where, line, "a value in every column", f"an empty one in column '{empty}'")
            rows.append(fields)
    except csv.Error as error:
        raise malformed(where, before + reader.line_num, "comma separated values", str(error)) from None
    columns = [[row[k] for row in rows] for k in range(len(header))]
    return {
        name: np.array(values, object) if name == file else _typed(values)
        for name, values in zip(header, columns, strict=True)
    }


def _typed(values: list[str]) -> np.ndarray:
    """Numbers where all are numbers, else the words."""
    if any("_" in value for value in values):  # 1_000, which Python alone takes for a number
        return np.array(values, object)
    try:
        return np.array(values, np.float64)
    except ValueError:
        return np.array(values, object)
