"""Rows of results, as if measured."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Record


def row(**cells: Any) -> Record:
    """A mean of downstream, but for `cells`."""
    common = {"task": "downstream", "protocol": "paper", "task_version": 1, "dataset": "squares", "split": "test"}
    measured = {"metric": "AP", "value": 0.5, "better": "higher", "n": 20, "weights": "trained", "data_sha256": "00"}
    return Record(**{**common, **measured, "model": "tiny", **cells})
