"""Label files of CelebA and its kin -> arrays (LFW's: `dbae.data.kinds.lfw`). Functions of text: they open nothing.

CelebA and CelebA-HQ, `list_attr*.txt`: a count n; k attribute names; n rows `file v1 ... vk` of -1 or 1 (-1 becomes 0).
CelebA, `list_eval_partition.txt`: rows `file p`, p = 0 train, 1 val, 2 test.
CelebA, `identity_CelebA.txt`: rows `file person`, with the person's number.
StyleGAN and EDM, `dataset.json`: {"labels": null} or {"labels": [[file, class number or vector], ...]}.

CelebA's files are split on white space, so that doubled and trailing blanks do not matter. `where` names the file in
messages. Rows come back in file order; joining them to images is `dbae.data.labels.beside`. CSV: `tables`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbae.data.base import require_names
from dbae.support.errors import UserError

CELEBA_SPLIT_SIZES = {"train": 162_770, "val": 19_867, "test": 19_962}
"""Images of the official CelebA partition, which follows file-name order."""

PARTITIONS = ("train", "val", "test")
"""Split names of the numbers 0, 1, 2 in partition files."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a label file.

    Attributes:
        files: n image names as written in the file.
        names: k column names.
        values: (n, k), int8 for 0/1 labels, float64 for real ones.
    """

    files: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Numbered:
    """Rows of a file that gives every image one number: n image names, and int64 (n,) of splits (0, 1, 2) or people."""

    files: tuple[str, ...]
    numbers: np.ndarray


def celeba_splits() -> dict[str, np.ndarray]:
    """Int64 indices of CelebA's official splits over all 202,599 images in file-name order."""
    bounds = np.cumsum([0, *CELEBA_SPLIT_SIZES.values()])
    return {name: np.arange(bounds[i], bounds[i + 1]) for i, name in enumerate(CELEBA_SPLIT_SIZES)}


def parse_attributes(text: str, where: str) -> Table:
    """`list_attr*.txt` -> 0/1 labels, int8 (n, k).

    Raises:
        UserError: the count, a row's length or a value is not what the format says (names the line).
    """
    lines = text.splitlines()
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise malformed(where, 1, "the number of images, then a line of attribute names", f"'{_start(lines)}'")
    names = tuple(lines[1].split())
    if len(set(names)) != len(names) or not names or not "".join(names).isprintable():
        raise malformed(where, 2, "distinct attribute names", f"'{lines[1][:80]}'")
    require_names(names, f"{where}, line 2")
    count = int(lines[0])
    if (quick := _attributes_by_pandas(text, names, count)) is not None:
        return quick
    rows = split_rows(lines[2:], first=3)
    if len(rows) != count:
        raise malformed(where, 1, f"{lines[0].strip()} rows, as its first line says", f"{len(rows)} rows")
    code = {"-1": 0, "1": 1}
    values = np.empty((len(rows), len(names)), np.int8)
    for row, (line, fields) in zip(values, rows, strict=True):
        if len(fields) != len(names) + 1:
            raise malformed(where, line, f"a file name and {len(names)} values", f"{len(fields)} fields")
        try:
            row[:] = [code[v] for v in fields[1:]]
        except KeyError as error:
            raise malformed(where, line, "values -1 or 1", str(error)) from None
    return Table(tuple(fields[0] for _, fields in rows), names, values)


def _attributes_by_pandas(text: str, names: tuple[str, ...], count: int) -> Table | None:
    """The rows in a quarter of the time, or None where they are not just `count` rows of -1 and 1: see them one by one.

    Fewer than a thousand rows are not worth the import.
    """
    if count < 1000:
        return None
    import pandas

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            rows = pandas.read_csv(
                io.StringIO(text),
                sep=r"\s+",
                skiprows=2,
                header=None,
                names=range(len(names) + 1),
                index_col=False,
                dtype={0: str} | {k + 1: np.int8 for k in range(len(names))},
                na_filter=False,
                quoting=csv.QUOTE_NONE,
            )
    except Exception:  # pandas raises several
        return None
    values = rows.iloc[:, 1:].to_numpy(np.int8)
    if len(rows) != count or not (np.abs(values) == 1).all():
        return None
    return Table(tuple(rows[0]), names, (values > 0).astype(np.int8))


def parse_partition(text: str, where: str) -> Numbered:
    """`list_eval_partition.txt` -> split numbers. Raises UserError naming the line that is not `file 0|1|2`."""
    rows = split_rows(text.splitlines(), first=1)
    for line, fields in rows:
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise malformed(where, line, "a file name and 0, 1 or 2 (train, val, test)", f"'{' '.join(fields)[:80]}'")
    return Numbered(tuple(f[0] for _, f in rows), np.array([int(f[1]) for _, f in rows], np.int64))


def parse_identities(text: str, where: str) -> Numbered:
    """`identity_CelebA.txt` -> numbers of people. Raises UserError naming the line that is not `file number`."""
    rows = split_rows(text.splitlines(), first=1)
    for line, fields in rows:
        if len(fields) != 2 or not (fields[1].isdecimal() and len(fields[1]) < 19):
            raise malformed(where, line, "a file name and the number of a person", f"'{' '.join(fields)[:80]}'")
    return Numbered(tuple(f[0] for _, f in rows), np.array([int(f[1]) for _, f in rows], np.int64))


def parse_dataset_json(text: str, where: str) -> Table | None:
    """`dataset.json` -> labels, or None for {"labels": null}.

    Class numbers become one 0/1 column a class, `class_0` ...; vectors of 0 and 1 become 0/1 columns `label_0` ...;
    other vectors become real columns of the same names.

    Raises:
        UserError: not JSON, no "labels", entries of another form, or vectors of different lengths.
    """
    try:
        return _parse_dataset_json(text, where)
    except RecursionError:
        raise malformed(where, None, "labels nested three deep", "JSON that is nested far deeper") from None


def _parse_dataset_json(text: str, where: str) -> Table | None:
    try:
        labels = json.loads(text)["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise malformed(where, None, 'JSON of the form {"labels": [[file, label], ...]}', repr(error)) from None
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(map(_is_json_entry, labels)):
        raise malformed(where, None, "a list of [file, class number below 10000 or list of numbers]", str(labels)[:80])
    if len({len(label) if isinstance(label, list) else -1 for _, label in labels}) > 1:
        raise malformed(where, None, "labels of one form and length", "several")
    files = tuple(file for file, _ in labels)
    if not files:
        return Table((), (), np.empty((0, 0), np.int8))
    if not isinstance(labels[0][1], list):
        classes = np.array([label for _, label in labels], np.int64)
        one_hot = (classes[:, None] == np.arange(classes.max() + 1)).astype(np.int8)
        return Table(files, tuple(f"class_{c}" for c in range(one_hot.shape[1])), one_hot)
    values = np.array([label for _, label in labels], np.float64).reshape(len(files), -1)
    if np.isin(values, (0, 1)).all():
        values = values.astype(np.int8)
    return Table(files, tuple(f"label_{k}" for k in range(values.shape[1])), values)


def _is_json_entry(entry: Any) -> bool:
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
        return False
    if isinstance(entry[1], list):
        return all(isinstance(v, int | float) and abs(v) <= sys.float_info.max for v in entry[1])  # NaN is not <=
    return isinstance(entry[1], int) and 0 <= entry[1] < 10_000


def split_rows(lines: Sequence[str], first: int) -> list[tuple[int, list[str]]]:
    """(line number, fields) of the lines that are not blank; `first` is the number of the first line."""
    return [(number, fields) for number, line in enumerate(lines, first) if (fields := line.split())]


def finite_numbers(fields: Sequence[str], columns: Sequence[int], where: str, line: int) -> list[float]:
    """The numbers in some columns of a line. Raises UserError with file and line where one is none."""
    try:
        values = [float(fields[c]) for c in columns]
    except ValueError as error:
        raise malformed(where, line, "numbers", str(error)) from None
    if not np.isfinite(values).all():
        raise malformed(where, line, "finite numbers", f"'{','.join(fields)[:80]}'")
    return values


def _start(lines: Sequence[str]) -> str:
    return lines[0][:80] if lines else ""


def malformed(where: str, line: int | None, expected: str, found: str) -> UserError:
    """An error that names file and line, what was expected and what was found."""
    place = where if line is None else f"{where}, line {line}"
    return UserError(f"{place}: expected {expected}, found {found}. Correct the file or fetch a whole copy of it.")
