"""`--where`: which rows of results files are wanted, by their cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.results.record import COLUMNS, LATER, PARSERS, Record
from dbae.support.errors import UserError


class Where:
    """Rows that have, in every column named, one of the values named for it.

    Args:
        texts: COLUMN=VALUE each, VALUE as it stands in a file; none wants all rows.

    Raises:
        UserError: no such column, or no value of it.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._wanted: dict[str, list[Any]] = defaultdict(list)
        for text in texts:
            column, equals, value = text.partition("=")
            if not equals or column not in (*COLUMNS, *LATER):
                raise UserError(
                    f"--where {text}: expected COLUMN=VALUE with a column of results files, e.g. metric=AP."
                )
            try:
                self._wanted[column].append(PARSERS[column](value))
            except (ValueError, KeyError):
                raise UserError(f"--where {text}: expected a value as results files have them in {column}.") from None

    def of(self, records: Sequence[Record]) -> list[Record]:
        """Those of `records` that are wanted."""
        wanted = self._wanted.items()
        return [row for row in records if all(getattr(row, column) in values for column, values in wanted)]

    def require(self, records: Sequence[Record], where: str) -> None:
        """Raise UserError if no row of `where` was left."""
        if self.texts and not records:
            raise UserError(f"--where {' '.join(self.texts)}: no row of {where} has these cells.")
