"""The CSV that keeps records: tidy, sorted, byte-stable, and safe to add to from several processes.

"Is it measured already?" is answered by `RecordFile.find`, from the cells that are known beforehand.
"""

from __future__ import annotations

import bisect
import csv
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results.record import (
    ASKED,
    COLUMNS,
    COUNTED,
    DEFAULTS,
    LATER,
    PARSERS,
    Identity,
    Record,
    columns_of,
    csv_line,
    order,
)
from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.locking import locked

_HEADERS = ([*COLUMNS], [*COLUMNS, *LATER])


class RecordFile:
    """A CSV of records that several processes may add to at once.

    What was read is kept until the file changes.

    Args:
        path: the CSV; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._rows: dict[Identity, Record] = {}
        self._ordered = False  # a file may have been put together by hand
        self._asked: dict[Identity, list[Record]] | None = None

    def read(self) -> list[Record]:
        """All records, sorted; none when there is no file. Raises UserError when the file is not one of ours."""
        return list(self._current().values())

    def find(
        self, columns: Mapping[str, Any], metrics: Iterable[str], attributes: Sequence[str] = ("mean",)
    ) -> list[Record] | None:
        """The record of every metric and attribute with these cells, in that order; None unless all are there.

        Args:
            columns: cells that are known before anything is measured. A column that is not named has its default, but
                for those that measuring fills in: values, circumstances, and counted evaluations (nfe, encode_nfe).
        """
        rows = self._current()
        if self._asked is None:
            self._asked = defaultdict(list)
            for record in rows.values():
                self._asked[tuple(getattr(record, name) for name in ASKED)].append(record)
        counted = [name for name in COUNTED if name in columns]
        found = []
        for metric in metrics:
            for attribute in attributes:
                cells = {**DEFAULTS, **columns, "metric": metric, "attribute": attribute}
                same = self._asked.get(tuple(cells[name] for name in ASKED), [])
                match = [r for r in same if all(getattr(r, name) == columns[name] for name in counted)]
                if not match:
                    return None
                found.append(match[0])
        return found

    def add(self, records: Iterable[Record]) -> None:
        """Merge records into the file: read, merge, replace atomically, all under the file's lock.

        Raises:
            UserError: the file cannot be read or written; what stood there is unchanged.
        """
        new = {record.identity: record for record in records}
        with locked(self.path):
            merged = _merged(self._current(), new, ordered=self._ordered)
            with atomic_path(self.path) as temporary:
                _write(temporary, merged.values())
            self._keep(merged, self._signature(), ordered=True)

    def _current(self) -> dict[Identity, Record]:
        """The rows of the file as it is now."""
        signature = self._signature()
        if signature is None:
            self._keep({}, None)
        elif signature != self._seen:
            try:
                with open(self.path, newline="", encoding="utf-8-sig") as file:
                    rows = self._parsed(csv.reader(file, strict=True))
                self._keep(rows, signature)
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                raise UserError(
                    f"{self.path}: cannot be read as a results file ({error}). Name another file."
                ) from error
        return self._rows

    def _keep(
        self, rows: dict[Identity, Record], signature: tuple[int, int, int] | None, *, ordered: bool = False
    ) -> None:
        self._rows, self._seen, self._asked, self._ordered = rows, signature, None, ordered

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes with the file: every writer replaces it. None where there is none."""
        try:
            about = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read as a results file ({error}). Name another file.") from error
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _parsed(self, rows: Any) -> dict[Identity, Record]:
        header = next(rows, None)
        if header is None or header not in _HEADERS:
            found = f"the {len(header)} columns {', '.join(header)[:60]} ..." if header else "an empty file"
            raise UserError(
                f"{self.path}: expected a results file with the {len(COLUMNS)} columns {', '.join(COLUMNS[:4])} ...; "
                f"found {found}. Nothing was changed. Name another file, or move this file away."
            )
        records: dict[Identity, Record] = {}
        for row in rows:
            try:
                cells = zip(header, row, strict=True)
                record = Record(**{name: PARSERS[name](cell) for name, cell in cells})
            except (ValueError, KeyError) as error:
                raise UserError(f"{self.path}, line {rows.line_num}: not a result row ({error}). Repair it.") from error
            other = records.setdefault(record.identity, record)
            if other.value != record.value and not (math.isnan(other.value) and math.isnan(record.value)):
                raise UserError(
                    f"{self.path}, line {rows.line_num}: expected one value of {record.metric} of {record.model} "
                    f"({record.dataset}, seed {record.seed}), found {record.value:g} here and {other.value:g} above, "
                    "in rows that say the same otherwise. Nothing was changed. Delete one of them."
                )
            records[record.identity] = record
        return records


def is_results(path: Path) -> bool:
    """Whether a file of these columns is there."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), None) in _HEADERS
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _merged(old: dict[Identity, Record], new: dict[Identity, Record], *, ordered: bool) -> dict[Identity, Record]:
    """Sorted. A few new records are put in their places, where the old ones are `ordered`; many are sorted anew."""
    added = [record for identity, record in new.items() if identity not in old]
    records = list((old | new).values())
    if not ordered or len(added) > len(old) / 10:
        records.sort(key=order)
    else:
        del records[len(old) :]
        for record in added:
            bisect.insort(records, record, key=order)
    return {record.identity: record for record in records}


def _write(path: Path, records: Iterable[Record]) -> None:
    columns = columns_of(records := list(records))
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(csv_line(columns))
        file.writelines(record.line(columns) for record in records)
