"""Label files beside images -> splits, attributes and identities in image order.

Looked for by file name, anywhere in the folder, zip or LMDB folder, each at most once: `PATTERNS` (formats:
`dbae.data.labels.formats`, `dbae.data.labels.tables`). Kaggle's CSVs of CelebA's lists are read where the lists
themselves are not there. `dataset.json` gives labels only where no list and no `labels.csv` does, since StyleGAN's
format has no names; it is checked in either case. All splits that are given must agree, and no two files may name an
attribute alike.

Label files name an image by its path relative to their own folder, or by its bare file name. Every image must have
a row and every row an image: anything else is an error, since a silent drop would change results.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import posixpath
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dbae.data.base import Attributes
from dbae.data.labels import formats as labels
from dbae.data.labels.tables import parse_csv, parse_csv_partition
from dbae.support.errors import UserError

PATTERNS = {
    "binary": ("list_attr*.txt", "CelebAMask-HQ-attribute-anno.txt"),
    "partition": ("list_eval_partition.txt",),
    "binary_csv": ("list_attr*.csv",),
    "partition_csv": ("list_eval_partition.csv",),
    "labels": ("labels.csv",),
    "continuous": ("attributes_continuous.csv",),
    "stylegan": ("dataset.json",),
    "identity": ("identity*.txt",),
}
"""File names of the label files that are read, by what they say."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """What the label files say.

    Attributes:
        splits: "all" always, the others when defined.
        attributes, groups: or None.
        notes: one line each, about columns that are no targets.
        read: names of the label files.
    """

    splits: Mapping[str, np.ndarray]
    attributes: Attributes | None = None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


def is_label_file(name: str) -> bool:
    """Whether a member's file name is one of `PATTERNS`."""
    return any(_matches(name, patterns) for patterns in PATTERNS.values())


def read_annotations(
    members: Sequence[str], images: Sequence[str], read: Callable[[str], bytes], locate: Callable[[str], str]
) -> Annotations:
    """Find, parse and join the label files among `members`.

    Args:
        members: posix paths of all files.
        images: those that are images, in index order.
        read: bytes of a member.
        locate: how messages name a member.

    Raises:
        UserError: a label file is malformed, there twice, or does not list exactly the images.
    """
    others = sorted(set(members).difference(images))  # few, where images may be millions
    found = {role: _find(patterns, others, locate) for role, patterns in PATTERNS.items()}
    for role in ("binary", "partition"):
        found[f"{role}_csv"] = None if found[role] else found[f"{role}_csv"]
    joiner = _Joiner(images, read, locate)
    tables = joiner.lists(found["binary"], found["stylegan"], named=bool(found["binary_csv"] or found["labels"]))
    lists = [
        joiner.numbers(labels.parse_partition, found["partition"]),
        joiner.numbers(parse_csv_partition, found["partition_csv"]),
    ]
    splits = [numbers for numbers in lists if numbers is not None]
    notes: list[str] = []
    for role in ("binary_csv", "labels", "continuous"):
        if member := found[role]:
            parsed = parse_csv(joiner.text(member), locate(member), all_real=role == "continuous")
            tables += [joiner.table(table, member) for table in (parsed.binary, parsed.real) if table.names]
            notes += parsed.notes
            if parsed.splits is not None:
                splits.append(parsed.splits.numbers[joiner.order(parsed.splits.files, member)])
                _check_agree(splits, images, locate(member))
            elif not (parsed.binary.names or parsed.real.names):
                joiner.order(parsed.binary.files, member)  # of no use, but not of other images either
    groups = joiner.numbers(labels.parse_identities, found["identity"])
    attributes = _attributes(tables, len(images), locate(""))
    files = tuple(filter(None, found.values()))
    return Annotations(_splits(splits[0] if splits else None, len(images)), attributes, groups, tuple(notes), files)


@dataclasses.dataclass(frozen=True)
class _Joiner:
    """Brings the rows of one label file into image order."""

    images: Sequence[str]
    read: Callable[[str], bytes]
    locate: Callable[[str], str]

    def text(self, member: str) -> str:
        try:
            return self.read(member).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.locate(member)}: expected UTF-8 text, found {error}. Save it as UTF-8.") from None

    def lists(self, binary: str | None, stylegan: str | None, *, named: bool) -> list[labels.Table]:
        """Attributes of CelebA's list, or else of `dataset.json`, unless another file has attributes with names."""
        tables = []
        if binary:
            tables.append(self.table(labels.parse_attributes(self.text(binary), self.locate(binary)), binary))
        if stylegan:
            parsed = labels.parse_dataset_json(self.text(stylegan), self.locate(stylegan))
            if parsed is not None:
                table = self.table(parsed, stylegan)
                tables += [] if binary or named else [table]
        return tables

    def table(self, table: labels.Table, member: str) -> labels.Table:
        order = self.order(table.files, member)
        return labels.Table(tuple(self.images), table.names, table.values[order])

    def numbers(self, parse: Callable[[str, str], labels.Numbered], member: str | None) -> np.ndarray | None:
        """The number that a file gives every image; None without the file."""
        if member is None:
            return None
        rows = parse(self.text(member), self.locate(member))
        return rows.numbers[self.order(rows.files, member)]

    def order(self, files: Sequence[str], member: str) -> np.ndarray:
        """Row number of every image, int64 (n,)."""
        where = self.locate(member)
        files = [_plain(file) for file in files]
        if any("/" in file for file in files):
            folder = posixpath.dirname(member)
            keys = [posixpath.relpath(image, folder or ".") for image in self.images]
        else:
            keys = [posixpath.basename(image) for image in self.images]
        rows = _unique(files, f"{where}: expected one row for every image, found two for", "Remove one of them.")
        images = _unique(
            keys,
            f"{where}: expected a name that belongs to one image, found two images called",
            "Rename one, or write paths relative to the label file's folder into it.",
        )
        without_row, without_image = [k for k in keys if k not in rows], [f for f in files if f not in images]
        if without_row or without_image:
            parts = _some("images without a row", without_row) + _some("rows without an image", without_image)
            raise UserError(
                f"{where}: expected exactly one row for each of the {len(keys)} images, found {' and '.join(parts)}. "
                "Add what is missing, or remove the surplus rows or images."
            )
        return np.array([rows[key] for key in keys], np.int64)


def _plain(file: str) -> str:
    """An image's path as Windows' programs or shells write it, as a relative path."""
    return file.replace("\\", "/").removeprefix("./") if "\\" in file or file.startswith("./") else file


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(posixpath.basename(name), pattern) for pattern in patterns)


def _find(patterns: Sequence[str], members: Sequence[str], locate: Callable[[str], str]) -> str | None:
    hits = [member for member in members if _matches(member, patterns)]
    if len(hits) > 1:
        raise UserError(
            f"{locate(hits[0])}: expected one file {' or '.join(patterns)}, found also {', '.join(hits[1:])}. "
            "Keep the one that belongs to these images."
        )
    return hits[0] if hits else None


def _unique(keys: Sequence[str], expected: str, remedy: str) -> dict[str, int]:
    """Key -> position; raises when a key is there twice."""
    positions = {key: i for i, key in enumerate(keys)}
    if len(positions) != len(keys):
        twice = next(key for i, key in enumerate(keys) if positions[key] != i)
        raise UserError(f"{expected} '{twice}'. {remedy}")
    return positions


def _some(what: str, names: Sequence[str]) -> list[str]:
    more = ", ..." if len(names) > 3 else ""
    return [f"{len(names)} {what} ({', '.join(names[:3])}{more})"] if names else []


def _check_agree(splits: Sequence[np.ndarray], images: Sequence[str], where: str) -> None:
    """The last of the columns is that of `where`."""
    column = splits[-1]
    for numbers in splits[:-1]:
        if not np.array_equal(numbers, column):
            first = images[int(np.flatnonzero(numbers != column)[0])]
            raise UserError(
                f"{where}: expected the splits of list_eval_partition.txt, or of the other label file, in its own "
                f"column, found another for {first}. Correct one of the two files, or remove the column."
            )


def _splits(numbers: np.ndarray | None, n: int) -> dict[str, np.ndarray]:
    splits = {"all": np.arange(n)}
    if numbers is not None:
        parts = {name: np.flatnonzero(numbers == p) for p, name in enumerate(labels.PARTITIONS)}
        splits |= {name: indices for name, indices in parts.items() if len(indices)}
    return splits


def _attributes(tables: Sequence[labels.Table], n: int, where: str) -> Attributes | None:
    if not tables:
        return None
    binary = [t for t in tables if t.values.dtype == np.int8]
    real = [t for t in tables if t.values.dtype != np.int8]
    _unique(
        [name for t in (*binary, *real) for name in t.names],
        f"{where}: expected every attribute in one label file, found two called",
        "Rename or remove one of the columns.",
    )
    return Attributes(
        binary_names=tuple(name for t in binary for name in t.names),
        binary=np.concatenate([np.empty((n, 0), np.int8), *(t.values for t in binary)], axis=1),
        continuous_names=tuple(name for t in real for name in t.names),
        continuous=np.concatenate([np.empty((n, 0), np.float64), *(t.values for t in real)], axis=1),
    )
