"""Labels of a data set -> label files, the reverse of `dbae.data.labels.beside`.

`list_attr.txt` (binary), `attributes_continuous.csv` (continuous, as shortest decimal numbers that give the same
float64), `list_eval_partition.txt` (train, val, test) and `identity.txt` (groups); formats: `dbae.data.labels.formats`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from dbae.data.base import Attributes, ImageDataset
from dbae.data.labels.formats import NOT_TARGETS, PARTITIONS
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
    if data.attributes is not None and data.attributes.binary_names:
        files["list_attr.txt"] = _binary(data.attributes, names)
    if data.attributes is not None and data.attributes.continuous_names:
        files["attributes_continuous.csv"] = _continuous(data, data.attributes, names)
    if set(data.splits) != {"all"}:
        files["list_eval_partition.txt"] = _rows(names, _partition(data))
    if data.groups is not None:
        files["identity.txt"] = _rows(names, data.groups)
    return {name: text.encode() for name, text in files.items()}


def _binary(labels: Attributes, names: Sequence[str]) -> str:
    signs = np.where(labels.binary == 1, " 1", "-1")
    rows = (f"{name} {' '.join(row)}\n" for name, row in zip(names, signs, strict=True))
    return f"{len(names)}\n{' '.join(labels.binary_names)}\n{''.join(rows)}"


def _continuous(data: ImageDataset, labels: Attributes, names: Sequence[str]) -> str:
    reserved = set(labels.continuous_names) & set(NOT_TARGETS)
    if reserved:
        raise UserError(
            f"{data.name}: expected continuous attributes of other names than {', '.join(sorted(reserved))}, which "
            "attributes_continuous.csv keeps for itself. Rename it in the source."
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *labels.continuous_names])
    writer.writerows([name, *map(repr, row)] for name, row in zip(names, labels.continuous.tolist(), strict=True))
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
