"""The score that a probe gave each test image, one npz a row of means, so that a mean can be computed on other images.

    indices    int64 (n,)      the images' numbers in the data set
    scores     float16 (n, k)  (prediction - shift) / scale; as good as the prediction for AP, AUROC and Pearson r;
                               float32 of fewer than 1,000 images, where one more tie would show
    shift      float64 (k,)    mean of an attribute's predictions over these images
    scale      float64 (k,)    their standard deviation; 1 where all are equal
    targets    (n, k)          uint8 0 or 1 of binary attributes, float32 of others, float64 where that loses digits
    names      str (k,)        the attributes whose mean the row is, in the row's order; others are not here
    groups     int64 (n,)      who is in each image, where the data set knows; else there is no such array
    identity   str ()          JSON: the cells that identify the row, column -> cell

The row is the mean over attributes of AP (binary) or Pearson r (continuous); MSE has the same predictions, which are
scores * scale + shift. Files lie beside the results file: `downstream.csv` -> `downstream_images/scores-<hash>.npz`,
the hash being that of the identity.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped

from benchmarks.results.file import beside
from benchmarks.results.record import Record
from dbae.support.arrays import read_npz
from dbae.support.files import atomic_path

FEW = 1000
"""Images, of which scores are kept in float32."""


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """Predictions and targets of k attributes of n images.

    Attributes:
        indices: the images' numbers in the data set.
        predictions: logits, or predicted values.
        targets: 0/1 in an integer type, or real.
        names: of the attributes.
        groups: who is in each image, or None.
    """

    indices: Int64[np.ndarray, " n"]
    predictions: Float[np.ndarray, "n k"]
    targets: Shaped[np.ndarray, "n k"]
    names: tuple[str, ...]
    groups: Int64[np.ndarray, " n"] | None = None


def scores_path(results: Path, row: Record) -> Path:
    """Where the scores behind `row` of the results file lie."""
    digest = hashlib.sha256(_identity(row).encode()).hexdigest()[:16]
    return beside(results, "_images") / f"scores-{digest}.npz"


def write_scores(results: Path, row: Record, scores: ImageScores) -> Path:
    """Write the npz behind `row`, a mean over attributes.

    Raises:
        UserError: the file cannot be written.
    """
    path = scores_path(results, row)
    predictions = scores.predictions.astype(np.float64)
    shift, scale = predictions.mean(axis=0), predictions.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    arrays: dict[str, Any] = {
        "indices": scores.indices,
        "scores": ((predictions - shift) / scale).astype(np.float32 if len(predictions) < FEW else np.float16),
        "shift": shift,
        "scale": scale,
        "targets": _small(scores.targets),
        "names": np.array(scores.names),
        "identity": _identity(row),
    }
    if scores.groups is not None:
        arrays["groups"] = scores.groups
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def _small(targets: Shaped[np.ndarray, "n k"]) -> Shaped[np.ndarray, "n k"]:
    """In few bytes, but float64 where some differ by no more than float32 rounds (times in seconds, say)."""
    if np.issubdtype(targets.dtype, np.integer):
        return targets.astype(np.uint8)
    with np.errstate(over="ignore"):
        rounded = targets.astype(np.float32)
    lost = np.abs(rounded - targets).max(axis=0) > 1e-5 * targets.std(axis=0)
    return targets if lost.any() else rounded


def read_scores(results: Path, row: Record) -> ImageScores | None:
    """What `write_scores` wrote, predictions in float64 with the precision of float16; None where there is no file,
    or a damaged one (`read_npz`).
    """
    file = read_npz(scores_path(results, row))
    if file is None:
        return None
    predictions: Float64[np.ndarray, "n k"] = file["scores"].astype(np.float64) * file["scale"] + file["shift"]
    targets = file["targets"].astype(np.int8) if file["targets"].dtype == np.uint8 else file["targets"]
    return ImageScores(file["indices"], predictions, targets, tuple(map(str, file["names"])), file.get("groups"))


def _identity(row: Record) -> str:
    return json.dumps(row.identity_cells, sort_keys=True)
