"""Label files of the face data sets -> arrays. Functions of text: they open nothing.

CelebA and CelebA-HQ, `list_attr*.txt`: a count n; k attribute names; n rows `file v1 ... vk` of -1 or 1 (-1 becomes 0).
CelebA, `list_eval_partition.txt`: rows `file p`, p = 0 train, 1 val, 2 test.
`attributes_continuous.csv`: header `file,...`; `split` (as p above) and `age` (years, for reading) are no targets,
every other column is a real-valued target.
StyleGAN and EDM, `dataset.json`: {"labels": null} or {"labels": [[file, class number or vector], ...]}.
LFW, `lfw_attributes.txt` (tab separated): a comment; `# person imagenum attr1 ...`; rows `First Last  n  scores`.
LFW, `peopleDev{Train,Test}.txt`: a count of people, then rows `First_Last  images`; `lfw-names.txt`: without the count.

CelebA's files are split on white space, so that doubled and trailing blanks do not matter. `where` names the file in
messages. Rows come back in file order; joining them to images is `dbae.data.annotations`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dbae.errors import UserError

CELEBA_SPLIT_SIZES = {"train": 162_770, "val": 19_867, "test": 19_962}
"""Images of the official CelebA partition, which follows file-name order."""

LFW_IMAGE = "lfw_funneled/{name}/{name}_{number:04d}.jpg"
"""Path of an LFW image below the data folder."""

PARTITIONS = ("train", "val", "test")
"""Split names of the numbers 0, 1, 2 in partition files."""

NOT_TARGETS = ("file", "split", "age")
"""Columns of `attributes_continuous.csv` that are no regression targets."""


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
class Partition:
    """Rows of a partition file: n image names and their split numbers, int64 (n,) of 0, 1, 2."""

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
        raise _bad(where, 1, "the number of images, then a line of attribute names", f"'{_start(lines)}'")
    names = tuple(lines[1].split())
    if len(set(names)) != len(names) or not names:
        raise _bad(where, 2, "distinct attribute names", f"'{lines[1][:80]}'")
    rows = _rows(lines[2:], first=3)
    if len(rows) != int(lines[0]):
        raise _bad(where, 1, f"{lines[0].strip()} rows, as its first line says", f"{len(rows)} rows")
    code = {"-1": 0, "1": 1}
    values = np.empty((len(rows), len(names)), np.int8)
    for row, (line, fields) in zip(values, rows, strict=True):
        if len(fields) != len(names) + 1:
            raise _bad(where, line, f"a file name and {len(names)} values", f"{len(fields)} fields")
        try:
            row[:] = [code[v] for v in fields[1:]]
        except KeyError as error:
            raise _bad(where, line, "values -1 or 1", str(error)) from None
    return Table(tuple(fields[0] for _, fields in rows), names, values)


def parse_partition(text: str, where: str) -> Partition:
    """`list_eval_partition.txt` -> split numbers. Raises UserError naming the line that is not `file 0|1|2`."""
    rows = _rows(text.splitlines(), first=1)
    for line, fields in rows:
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise _bad(where, line, "a file name and 0, 1 or 2 (train, val, test)", f"'{' '.join(fields)[:80]}'")
    return Partition(tuple(f[0] for _, f in rows), np.array([int(f[1]) for _, f in rows], np.int64))


def parse_continuous(text: str, where: str) -> tuple[Table, Partition | None]:
    """`attributes_continuous.csv` -> real targets, float64 (n, m), and the `split` column when there is one.

    Raises:
        UserError: no `file` column, a column twice, a row of another length, or a value that is not a finite number.
    """
    try:
        records = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise _bad(where, None, "comma separated values", str(error)) from None
    header = [name.strip() for name in records[0]] if records else []
    if "file" not in header or len(set(header)) != len(header):
        raise _bad(where, 1, "a header of distinct column names, one of them 'file'", f"'{','.join(header)[:80]}'")
    rows = [(line, [v.strip() for v in record]) for line, record in enumerate(records[1:], 2) if record]
    for line, fields in rows:
        if len(fields) != len(header):
            raise _bad(where, line, f"{len(header)} fields, as in the header", f"{len(fields)} fields")
    files = tuple(fields[header.index("file")] for _, fields in rows)
    names = tuple(name for name in header if name not in NOT_TARGETS)
    columns = [header.index(name) for name in names]
    values = np.array([_numbers(fields, columns, where, line) for line, fields in rows], np.float64)
    table = Table(files, names, values.reshape(len(rows), len(names)))
    if "split" not in header:
        return table, None
    column = header.index("split")
    for line, fields in rows:
        if fields[column] not in ("0", "1", "2"):
            raise _bad(where, line, "0, 1 or 2 (train, val, test) in column 'split'", f"'{fields[column]}'")
    return table, Partition(files, np.array([int(fields[column]) for _, fields in rows], np.int64))


def parse_dataset_json(text: str, where: str) -> Table | None:
    """`dataset.json` -> labels, or None for {"labels": null}.

    Class numbers become one 0/1 column a class, `class_0` ...; vectors of 0 and 1 become 0/1 columns `label_0` ...;
    other vectors become real columns of the same names.

    Raises:
        UserError: not JSON, no "labels", entries of another form, or vectors of different lengths.
    """
    try:
        labels = json.loads(text)["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(where, None, 'JSON of the form {"labels": [[file, label], ...]}', repr(error)) from None
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(map(_is_json_entry, labels)):
        raise _bad(where, None, "a list of [file, class number below 10000 or list of numbers]", str(labels)[:80])
    if len({len(label) if isinstance(label, list) else -1 for _, label in labels}) > 1:
        raise _bad(where, None, "labels of one form and length", "several")
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


@dataclasses.dataclass(frozen=True)
class LfwSplit:
    """The images of one LFW split that have attributes, in list order.

    Attributes:
        paths: n paths below the data folder.
        identities: int64 (n,), line of the person in `lfw-names.txt`.
        values: float64 (n, 73), raw classifier scores.
        skipped: images of the split without an attribute row, which the protocol leaves out.
    """

    paths: tuple[str, ...]
    identities: np.ndarray
    values: np.ndarray
    skipped: int


def parse_lfw_attributes(text: str, where: str) -> Table:
    """`lfw_attributes.txt` -> scores, float64 (n, 73); `files` holds "First Last-n", n without leading zeros.

    Raises:
        UserError: no header line, a row of another length or with something else than numbers, or two different
            rows for one image.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    header = lines[1].split("\t") if len(lines) > 1 else []
    if header[:3] != ["#", "person", "imagenum"]:
        raise _bad(where, 2, "'#', 'person', 'imagenum' and attribute names, tab separated", f"'{header[:3]}'")
    names = tuple(header[3:])
    rows: dict[str, list[float]] = {}
    for number, line in enumerate(lines[2:], 3):
        fields = line.split("\t")
        if not line:
            continue
        if len(fields) != len(names) + 2 or not fields[1].isdecimal():
            raise _bad(where, number, f"a person, an image number and {len(names)} scores", f"'{line[:80]}'")
        key, scores = f"{fields[0]}-{int(fields[1])}", _numbers(fields, range(2, len(fields)), where, number)
        if rows.setdefault(key, scores) != scores:
            raise _bad(where, number, "one row for an image", f"other scores for {key} than before")
    return Table(tuple(rows), names, np.array(list(rows.values()), np.float64).reshape(len(rows), len(names)))


def parse_lfw_people(text: str, where: str, *, counted: bool) -> dict[str, int]:
    """People lists of LFW -> number of images of each person, in file order.

    Args:
        text: content of `peopleDevTrain.txt`, `peopleDevTest.txt` (`counted`) or `lfw-names.txt` (not `counted`).
        where: how messages name the file.
        counted: whether the first line is the number of people.

    Raises:
        UserError: the count or a line is not what the format says, or a person is there twice.
    """
    rows = _rows(text.splitlines(), first=1)
    if counted:
        if not rows or len(rows[0][1]) != 1 or rows[0][1][0] != str(len(rows) - 1):
            found = f"'{' '.join(rows[0][1])}'" if rows else "an empty file"
            raise _bad(where, 1, f"the number of people that follow, {max(len(rows) - 1, 0)}", found)
        rows = rows[1:]
    people: dict[str, int] = {}
    for line, fields in rows:
        if len(fields) != 2 or not fields[1].isdecimal() or fields[0] in people:
            raise _bad(where, line, "a new name and a number of images", f"'{' '.join(fields)[:80]}'")
        people[fields[0]] = int(fields[1])
    return people


def lfw_split(people: Mapping[str, int], names: Mapping[str, int], attributes: Table, where: str) -> LfwSplit:
    """Join a people list with the attribute rows: image n of `A_B_C` has the row "A B C-n".

    Args:
        people: a parsed `peopleDevTrain.txt` or `peopleDevTest.txt`.
        names: the parsed `lfw-names.txt`; its order numbers the identities.
        attributes: the parsed `lfw_attributes.txt`.
        where: how messages name the people list.

    Raises:
        UserError: a person is not in `lfw-names.txt`, or no image has attributes.
    """
    identity, row = {n: i for i, n in enumerate(names)}, {f: i for i, f in enumerate(attributes.files)}
    images = [(name, number) for name, count in people.items() for number in range(1, count + 1)]
    for name in people:
        if name not in identity:
            raise _bad(where, None, "people of lfw-names.txt", f"'{name}'")
    keys = [f"{name.replace('_', ' ')}-{number}" for name, number in images]
    kept = [(name, number, row[key]) for (name, number), key in zip(images, keys, strict=True) if key in row]
    if not kept:
        raise _bad(where, None, "images that have rows in lfw_attributes.txt", f"none among {len(images)}")
    return LfwSplit(
        paths=tuple(LFW_IMAGE.format(name=name, number=number) for name, number, _ in kept),
        identities=np.array([identity[name] for name, _, _ in kept], np.int64),
        values=attributes.values[[i for _, _, i in kept]],
        skipped=len(images) - len(kept),
    )


def _is_json_entry(entry: Any) -> bool:
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
        return False
    if isinstance(entry[1], list):
        return all(isinstance(v, int | float) and abs(v) <= sys.float_info.max for v in entry[1])  # NaN is not <=
    return isinstance(entry[1], int) and 0 <= entry[1] < 10_000


def _rows(lines: Sequence[str], first: int) -> list[tuple[int, list[str]]]:
    """(line number, fields) of the lines that are not blank; `first` is the number of the first line."""
    return [(number, fields) for number, line in enumerate(lines, first) if (fields := line.split())]


def _numbers(fields: Sequence[str], columns: Sequence[int], where: str, line: int) -> list[float]:
    try:
        values = [float(fields[c]) for c in columns]
    except ValueError as error:
        raise _bad(where, line, "numbers", str(error)) from None
    if not np.isfinite(values).all():
        raise _bad(where, line, "finite numbers", f"'{','.join(fields)[:80]}'")
    return values


def _start(lines: Sequence[str]) -> str:
    return lines[0][:80] if lines else ""


def _bad(where: str, line: int | None, expected: str, found: str) -> UserError:
    place = where if line is None else f"{where}, line {line}"
    return UserError(f"{place}: expected {expected}, found {found}. Correct the file or fetch a whole copy of it.")
