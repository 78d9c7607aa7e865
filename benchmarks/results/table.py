"""Records as a pandas table, for people who go on in Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.results.record import Record, columns_of

if TYPE_CHECKING:
    import pandas


def table(records: Iterable[Record]) -> pandas.DataFrame:
    """One row a record, the columns of a results file in their order. A cell that does not apply is None or NaN."""
    import pandas

    columns = columns_of(records := list(records))
    return pandas.DataFrame([[getattr(record, name) for name in columns] for record in records], columns=list(columns))
