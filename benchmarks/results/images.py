"""Values of every image, one npz a setting beside a results file, so that two runs can be compared image by image.

    <metric>     float64 (n,)   in the order of `index`
    index        int64 (n,)     the images' numbers in the data set
    nfe          int64 ()       counted evaluations of decoding, an image
    encode_nfe   int64 ()       of inferring x_T
    groups       int64 (n,)     who is in each image, where the data set knows; else there is no such array
    columns      str ()         JSON: cells that the records of the setting share

The file name is a hash of what was asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from benchmarks.results.file import beside
from dbae.support.arrays import read_npz
from dbae.support.files import atomic_path

_OTHERS = ("index", "nfe", "encode_nfe", "groups", "columns")


@dataclasses.dataclass(frozen=True)
class ImageValues:
    """Metric -> value of every image (n,), and the counted evaluations."""

    values: dict[str, Float64[np.ndarray, " n"]]
    nfe: int
    encode_nfe: int = 0

    @property
    def counts(self) -> dict[str, Any]:
        """The cells of a record that are known after measuring."""
        return {"nfe": self.nfe, "encode_nfe": self.encode_nfe}


def values_path(results: Path, asked: dict[str, Any]) -> Path:
    """The npz of a setting: `reconstruction.csv` -> `reconstruction_images/<hash>.npz`."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return beside(results, "_images") / f"{digest}.npz"


def write_values(
    path: Path,
    measured: ImageValues,
    indices: np.ndarray,
    columns: dict[str, Any],
    groups: np.ndarray | None = None,
) -> None:
    """Write the npz of images `indices`; `columns` are the cells known before measuring, `groups` the data set's.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        arrays: dict[str, Any] = {
            **measured.values,
            **measured.counts,
            "index": indices,
            **({} if groups is None else {"groups": groups[indices]}),
            "columns": json.dumps(columns | measured.counts, sort_keys=True),
        }
        np.savez_compressed(file, **arrays)


def read_values(path: Path) -> ImageValues | None:
    """What `write_values` wrote; None where there is no file, or a damaged one (`read_npz`)."""
    arrays = read_npz(path, {"nfe": ("int64", ()), "index": ("int64", (None,))})
    if arrays is None:
        return None
    values = {name: array for name, array in arrays.items() if name not in _OTHERS}
    return ImageValues(values, int(arrays["nfe"]), int(arrays.get("encode_nfe", 0)))
