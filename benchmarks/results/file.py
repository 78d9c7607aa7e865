"""The two results files of an attribute benchmark: means over attributes, and every attribute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results.record import Record, RecordFile
from dbae.support.distributed import is_main


class Results:
    """The two CSVs of a run: means over attributes in `path`, single attributes in `<path>_attributes.csv`."""

    def __init__(self, path: Path) -> None:
        self.means = RecordFile(path)
        self.attributes = RecordFile(beside(path, "_attributes.csv"))
        self._known = {record.identity: record for file in (self.means, self.attributes) for record in file.read()}

    def add(self, records: Sequence[Record]) -> None:
        """Write records to the file they belong to; attributes first, so that a mean never lacks its attributes.

        Of several processes, all take note and rank 0 writes.
        """
        single = [record for record in records if record.attribute != "mean"]
        means = [record for record in records if record.attribute == "mean"]
        for file, rows in ((self.attributes, single), (self.means, means)):
            if rows and is_main():
                file.add(rows)
        self._known |= {record.identity: record for record in records}

    def update(self, records: Sequence[Record]) -> None:
        """Write only the records that the files lack or have with another value."""
        stored = (self._known.get(record.identity) for record in records)
        self.add([new for new, old in zip(records, stored, strict=True) if old is None or old.value != new.value])

    def stored(self, records: Sequence[Record]) -> list[Record] | None:
        """What the files have under the identities of `records`; None unless they have all of them."""
        found = [self._known[record.identity] for record in records if record.identity in self._known]
        return found if len(found) == len(records) else None


def beside(path: Path, ending: str) -> Path:
    """`downstream.csv`, `_attributes.png` -> `downstream_attributes.png`."""
    return path.with_name(path.stem + ending)
