"""The two results files of a run: means over attributes, and every attribute."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results.record import Identity, Record
from benchmarks.results.recordfile import RecordFile
from dbae.support.distributed import ALONE, World


class Results:
    """The CSVs of a run: means over attributes in `path`, single attributes in `<path>_attributes.csv`.

    Args:
        path: the CSV; it need not exist. A benchmark without attributes writes no second one.
        world: processes of the run; rank 0 reads and writes.
        force: nothing counts as measured.
        one_file: rows that are no mean go to `path` too.

    Raises:
        UserError: a file of this name is there, and is none of ours.

    Attributes:
        touched: identity -> record of all that was found or added here, in that order: the rows of this run.
    """

    def __init__(self, path: Path, world: World = ALONE, *, force: bool = False, one_file: bool = False) -> None:
        self.path, self.world, self.force = path, world, force
        self.means = RecordFile(path)
        self.attributes = self.means if one_file else RecordFile(beside(path, "_attributes.csv"))
        self.touched: dict[Identity, Record] = {}
        if world.is_main:
            self.means.read(), self.attributes.read()

    def find(
        self, columns: Mapping[str, Any], metrics: Iterable[str], attributes: Sequence[str] = ("mean",)
    ) -> list[Record] | None:
        """What is measured already, see `RecordFile.find`; None unless all of it is. All processes must call this."""
        found = None
        if self.world.is_main and not self.force:
            metrics, named = tuple(metrics), [name for name in attributes if name != "mean"]
            means = self.means.find(columns, metrics) if "mean" in attributes else []
            single = self.attributes.find(columns, metrics, named) if named else []
            found = None if means is None or single is None else means + single
        found = self.world.broadcast(found)
        self._touch(found or ())
        return found

    def add(self, records: Sequence[Record]) -> None:
        """Write records to the file they belong to; attributes first, so that a mean never lacks its attributes.

        Of several processes, all take note and rank 0 writes.
        """
        self._touch(records)
        if self.world.is_main:
            single = [record for record in records if record.attribute != "mean"]
            means = [record for record in records if record.attribute == "mean"]
            for file, rows in ((self.attributes, single), (self.means, means)):
                if rows:
                    file.add(rows)

    def update(self, records: Sequence[Record]) -> None:
        """Write only the records that the files lack or have with another value."""
        self._touch(records)
        if self.world.is_main:
            old = {record.identity: record.value for file in (self.means, self.attributes) for record in file.read()}
            self.add([r for r in records if r.identity not in old or not _equal(old[r.identity], r.value)])

    def _touch(self, records: Iterable[Record]) -> None:
        self.touched |= {record.identity: record for record in records}


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def beside(path: Path, ending: str) -> Path:
    """`downstream.csv`, `_attributes.png` -> `downstream_attributes.png`."""
    return path.with_name(path.stem + ending)
