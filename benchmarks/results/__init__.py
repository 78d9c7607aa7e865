"""Rows of results: a `record` each, in a CSV, and what lies beside it (`file`, `images`, `scores`, `noise`).

What measures needs the names below. What compares rows of several models is `pair`, `models`, `evidence`, `difference`
and its report.
"""

from benchmarks.results.file import Results, beside
from benchmarks.results.record import COLUMNS, LATER, Record
from benchmarks.results.recordfile import RecordFile

__all__ = ["COLUMNS", "LATER", "Record", "RecordFile", "Results", "beside"]
