"""Ground-truth factors of a data set, as the integer classes that `metrics.factors` takes.

A data set names its factors itself (`ImageDataset.factors`) or the user does. Where it knows their classes, these are
taken as they are, 40 orientations of dSprites as 40 classes. Others are columns of its labels: a column with few values
is taken as it is; a continuous one is cut at its quantiles over all images into classes of equal size.
"""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Bool, Int64

from dbae.data import ImageDataset
from dbae.support.errors import UserError

CLASSES = 5
"""Of a continuous factor."""
AS_IT_IS = 20
"""A column with no more values than this is not cut."""
log = logging.getLogger(__name__)


def factor_classes(dataset: ImageDataset, names: tuple[str, ...] = ()) -> Int64[np.ndarray, "n f"] | None:
    """Classes of every image, from 0; None where no factors are known.

    Args:
        dataset: with labels.
        names: factors of the data set, or label columns that are factors; () takes the data set's own.

    Raises:
        UserError: a name is neither.
    """
    names = names or dataset.factors
    if not names:
        return None
    known = {} if dataset.classes is None else dict(zip(dataset.factors, dataset.classes.T, strict=True))
    columns = _columns(dataset) | known
    for name in names:
        if name not in columns:
            raise UserError(f"--factors {name}: {dataset.name} has no such label; it has: {', '.join(columns) or '-'}.")
    return np.stack([known[name] if name in known else _classes(columns[name]) for name in names], axis=1)


def varying(train: Int64[np.ndarray, "n f"], test: Int64[np.ndarray, "m f"]) -> Bool[np.ndarray, " f"]:
    """Which factors take two values or more in both; a constant one is of no use to any score, which a log says."""
    varies = (np.ptp(train, axis=0) > 0) & (np.ptp(test, axis=0) > 0)
    if not varies.all():
        log.warning("%d of %d factors are constant in these images and are left out", (~varies).sum(), len(varies))
    return varies


def _columns(dataset: ImageDataset) -> dict[str, np.ndarray]:
    labels = dataset.attributes
    if labels is None:
        return {}
    binary = dict(zip(labels.binary_names, labels.binary.T, strict=True))
    return binary | dict(zip(labels.continuous_names, labels.continuous.T, strict=True))


def _classes(values: np.ndarray) -> Int64[np.ndarray, " n"]:
    found, classes = np.unique(values, return_inverse=True)
    if len(found) <= AS_IT_IS:
        return classes.astype(np.int64)
    edges = np.quantile(values, np.arange(1, CLASSES) / CLASSES)
    return np.searchsorted(edges, values, side="right").astype(np.int64)
