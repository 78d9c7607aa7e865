"""What a person reads after a generation run: a table, and a sheet of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.results import Record
from benchmarks.results.models import told_apart
from dbae.data import ImageDataset
from dbae.images import contact_sheet, save_png
from dbae.support import text


def format_generation(rows: Sequence[Record]) -> str:
    """A text table: one line a set of images, one column a metric; what all sets share stands above it."""
    rows = told_apart(rows)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    lines = [["model", "data", "protocol", "z", "x_T", "sampler", "NFE", "n", *metrics]]
    for wanted in dict.fromkeys(map(_set, rows)):
        same = [row for row in rows if _set(row) == wanted]
        row, cells = same[0], {r.metric: f"{r.value:.4g}" for r in same}
        nfe, n = "" if row.nfe is None else str(row.nfe), str(max(r.n for r in same))
        line = [row.model, row.dataset, row.protocol, row.z, row.x_T, row.sampler, nfe, n]
        lines.append(line + [cells.get(metric, "") for metric in metrics])
    return text.table(lines, 8, wrap=True)


def save_sheet(images: ImageDataset, path: Path, *, count: int = 64, columns: int = 8) -> None:
    """Write the first images as a PNG, row by row. Raises UserError when it cannot be written."""
    save_png(contact_sheet(images.batch(np.arange(min(count, len(images)))), columns), path)


def _set(row: Record) -> tuple[object, ...]:
    """What the numbers of one set of images share, beside `n`."""
    model = (row.model, row.checkpoint_sha256, row.dataset, row.data_sha256, row.split, row.protocol)
    sampler = (row.sampler, row.nfe_requested, row.nfe, row.grid, row.churn, row.eta, row.boot_noise, row.end_data)
    return (*model, *sampler, row.z, row.x_T, row.encode_nfe, row.seed, row.precision)
