"""Labels of a data set -> label files, the reverse of `dbae.data.labels.beside`.

`list_attr.txt` (binary; `list_attr.csv` where a name has a blank), `attributes_continuous.csv` (continuous, as shortest
decimal numbers that give the same float64), `list_eval_partition.txt` (train, val, test) and `identity.txt` (groups);
formats: `dbae.data.labels.formats`, `dbae.data.labels.tables`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from dbae.data.base import Attributes, ImageDataset
from dbae.data.labels.formats import PARTITIONS
from dbae.data.labels.rows import FILE_COLUMNS, NOT_TARGETS
from dbae.data.labels.tables import SPLIT_COLUMNS
from dbae.support.errors import UserError


def label_files(data: ImageDataset, names: Sequence[str]) -> dict[str, bytes]:
    """File name -> content, for what the data set has.

    Args:
        data: n images.
        names: what the n images are called in the files.

    Raises:
        UserError: labels or splits that the formats cannot say.
    """
    files: dict[str, str] = {}
    labels = data.attributes
    if labels is not None and labels.binary_names:
        if any(name.split() != [name] for name in labels.binary_names):
            files["list_attr.csv"] = _table(data, labels.binary_names, labels.binary.tolist(), names)
        else:
            files["list_attr.txt"] = _binary(labels, names)
    if labels is not None and labels.continuous_names:
        files["attributes_continuous.csv"] = _table(data, labels.continuous_names, labels.continuous.tolist(), names)
    if set(data.splits) != {"all"}:
        files["list_eval_partition.txt"] = _rows(names, _partition(data))
    if data.groups is not None:
        files["identity.txt"] = _rows(names, data.groups)
    return {name: text.encode() for name, text in files.items()}


def _binary(labels: Attributes, names: Sequence[str]) -> str:
    signs = np.where(labels.binary == 1, " 1", "-1")
    rows = (f"{name} {' '.join(row)}\n" for name, row in zip(names, signs, strict=True))
    return f"{len(names)}\n{' '.join(labels.binary_names)}\n{''.join(rows)}"


def _table(
    data: ImageDataset, columns: Sequence[str], rows: Sequence[Sequence[int | float]], names: Sequence[str]
) -> str:
    reserved = set(columns) & {*FILE_COLUMNS, *SPLIT_COLUMNS}
    if reserved:
        raise UserError(
            f"{data.name}: expected attributes of other names than {', '.join(sorted(reserved))}, which label files "
            "keep for themselves. Rename it in the source."
        )
    text = io.StringIO()
    if any(f"{name}_z" in columns for name in columns):  # else a reader takes NAME for NAME_z in other units
        text.write(f"{NOT_TARGETS}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *columns])
    writer.writerows([name, *map(repr, row)] for name, row in zip(names, rows, strict=True))
    return text.getvalue()


def _partition(data: ImageDataset) -> np.ndarray:
    """Split number of every image."""
    parts = [data.splits.get(name, np.empty(0, np.int64)) for name in PARTITIONS]
    if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(data))):
        raise UserError(
            f"{data.name}: expected every image in one of train, val and test, found splits {', '.join(data.splits)} "
            "that overlap or leave images out. Name one split: KIND:ROOT?split=train."
        )
    numbers = np.empty(len(data), np.int64)
    for number, indices in enumerate(parts):
        numbers[indices] = number
    return numbers


def _rows(names: Sequence[str], numbers: np.ndarray) -> str:
    return "".join(f"{name} {number}\n" for name, number in zip(names, numbers.tolist(), strict=True))
