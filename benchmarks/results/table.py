"""Records as a pandas table, for people who go on in Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.results.record import COLUMNS, Record

if TYPE_CHECKING:
    import pandas


def table(records: Iterable[Record]) -> pandas.DataFrame:
    """One row a record, the columns of a results file in their order. A cell that does not apply is None or NaN."""
    import pandas

    rows = [[getattr(record, name) for name in COLUMNS] for record in records]
    return pandas.DataFrame(rows, columns=list(COLUMNS))
