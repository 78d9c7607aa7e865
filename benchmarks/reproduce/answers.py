"""Published numbers beside measured ones: the CSV that `benchmarks.reproduce` writes.

One line is one answer to one published number: `value` and its `stderr`, `published` as printed, their `difference`
(empty where the paper has a dash, and for times, which are another machine's), then everything that tells this answer
from the others. Lines without a published number, as of built-in models, leave those columns out altogether.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.reproduce.tables import Cell
from benchmarks.results import Record
from dbae.support import text
from dbae.support.files import atomic_path

Answer = tuple[Cell, Record]

_ABOUT = (
    *("protocol", "dataset", "split", "n", "nfe_requested", "nfe", "sampler", "grid", "churn", "eta", "boot_noise"),
    *("end_data", "x_T", "encode_nfe", "z", "latent_dim", "seed", "precision", "model", "train_data", "weights"),
    *("checkpoint_sha256", "data_sha256", "versions", "revision", "seconds"),
)
_SHOWN = ("protocol", "encode_nfe", "sampler", "churn", "end_data", "z")


def difference(cell: Cell, record: Record, incomparable: Sequence[str] = ()) -> float | None:
    """Measured minus published; None where nothing is printed, or the metric is one of `incomparable`."""
    if cell["metric"] in incomparable or cell["value"] == "NA":
        return None
    return record.value - float(cell["value"])


def write_answers(path: Path, answers: Iterable[Answer], incomparable: Sequence[str] = ()) -> None:
    """One line an answer, atomically; without a difference for `incomparable` metrics, as times of another machine."""
    head = ["method", "variant", "published_dataset", "published_metric", "published_nfe", "published"]
    lines = []
    for cell, record in answers:
        off = difference(cell, record, incomparable)
        printed = [cell["method"], cell["variant"], cell["dataset"], cell["metric"], cell["nfe"], cell["value"]]
        numbers = [record.metric, repr(record.value), _text(record.stderr), "" if off is None else repr(off)]
        lines.append([*printed, *numbers, *_about(record)])
    _write(path, [*head, "metric", "value", "stderr", "difference", *_ABOUT], lines)


def write_measured(path: Path, records: Iterable[Record]) -> None:
    """One line a record, with no published number beside it."""
    lines = [[r.method, r.variant, r.metric, repr(r.value), _text(r.stderr), *_about(r)] for r in records]
    _write(path, ["method", "variant", "metric", "value", "stderr", *_ABOUT], lines)


def format_answers(answers: Sequence[Answer], incomparable: Sequence[str] = ()) -> str:
    """A table to read."""
    lines = [["method", "data", "published", "", "measured", "difference", "as", *_SHOWN, "n"]]
    for cell, record in answers:
        off = difference(cell, record, incomparable)
        name = " ".join(filter(None, (cell["metric"], cell["nfe"] and f"at {cell['nfe']}")))
        lines.append(
            [
                " ".join(filter(None, (cell["method"], cell["variant"]))),
                record.dataset,
                name,
                cell["value"],
                _value(record),
                "" if off is None else f"{off:+.4g}",
                record.metric,
                *(_text(getattr(record, column)) for column in _SHOWN),
                str(record.n),
            ]
        )
    return text.columns(lines)


def format_measured(records: Sequence[Record]) -> str:
    """The same for records alone."""
    lines = [["model", "data", "metric", "measured", "NFE", "x_T", *_SHOWN, "n"]]
    for record in records:
        about = [_text(getattr(record, column)) for column in ("nfe", "x_T", *_SHOWN)]
        lines.append([record.model, record.dataset, record.metric, _value(record), *about, str(record.n)])
    return text.columns(lines)


def _value(record: Record) -> str:
    return f"{record.value:.4g}" + ("" if record.stderr is None else f" ± {record.stderr:.2g}")


def _about(record: Record) -> list[str]:
    return [_text(getattr(record, column)) for column in _ABOUT]


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def _write(path: Path, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
