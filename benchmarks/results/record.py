"""What a result is: one measured number with everything needed to trust it, and the CSV that keeps many.

A results file is tidy (one number a row), sorted by identity and byte-stable: the same records give the same bytes,
whatever the order in which they arrived. Cells: None is empty, bool is true/false, a float is written with the fewest
digits that read back to the same float64. A row is identified by every column but `value, stderr, versions, revision,
seconds, peak_mib`; a record with the identity of an older row replaces it.

"Is it measured already?" is answered by `RecordFile.find`, from the cells that are known beforehand.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import os
import re
import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.locking import locked

Identity = tuple[object, ...]

_MEASURED = frozenset({"value", "stderr", "versions", "revision", "seconds", "peak_mib"})
_COUNTED = ("nfe", "encode_nfe")
"""Functions of the sampler and of z: identify a row, but are often known only after measuring."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One number. An empty string or None says that a column does not apply.

    Attributes:
        task: family of tables ("downstream", ...); protocol: "paper", "standard", ...; task_version: raised when the
            meaning of the task's numbers changes, so that old and new rows never mix.
        model: name of the model, or random, untrained, pca, prevalence in control rows; method: e.g. "DBAE";
            variant: e.g. "stochastic"; train_data: what the weights were trained on.
        dataset, split: what was measured on. A split named "...-selected" also chose the reported epoch.
        attribute: name of the attribute, or "mean" over all of them.
        metric, value, stderr: the number and the standard error over seeds; better: which direction is good.
        n: number of images measured; n_train: labelled images that a probe was given, None for all.
        nfe_requested, nfe: network evaluations an image, budget and counted; sampler ... end_data: the sampler;
            x_T: where the endpoint comes from; encode_nfe: evaluations spent on inferring it.
        latent_dim: length of z; z: "mean" or "sampled"; of an encoder that is told a time also "mean at t=100 300".
        seed: seed of the run, or "mean of 0 1 2" for the average over several.
        precision: of the networks ("fp32", "bf16", "fp16"); weights: trained, untrained or control.
        checkpoint_sha256, data_sha256: content of the weights and fingerprint of the data.
        versions, revision, seconds, peak_mib: circumstances (see `benchmarks.results.circumstances`).

    Raises:
        ValueError: a field outside its range, NaN in an identifying column, or a line break in a text.
    """

    task: str
    protocol: str
    task_version: int
    model: str
    method: str = ""
    variant: str = ""
    train_data: str = ""
    dataset: str
    split: str
    attribute: str = "mean"
    metric: str
    value: float
    stderr: float | None = None
    better: Literal["higher", "lower"]
    n: int
    nfe_requested: int | None = None
    nfe: int | None = None
    sampler: str = ""
    grid: str = ""
    churn: float | None = None
    eta: float | None = None
    boot_noise: bool | None = None
    end_data: float | None = None
    x_T: str = ""
    encode_nfe: int | None = None
    latent_dim: int | None = None
    z: str = ""
    seed: str = ""
    precision: str = "fp32"
    weights: Literal["trained", "untrained", "control"]
    checkpoint_sha256: str = ""
    data_sha256: str
    versions: str = ""
    revision: str = ""
    seconds: float | None = None
    peak_mib: int | None = None
    n_train: int | None = None

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better is 'higher' or 'lower', not {self.better!r}")
        if self.weights not in ("trained", "untrained", "control"):
            raise ValueError(f"weights is 'trained', 'untrained' or 'control', not {self.weights!r}")
        if self.n < 1:
            raise ValueError(f"n is the number of images measured, not {self.n}")
        for name in ("task", "protocol", "model", "dataset", "split", "attribute", "metric"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        for name in COLUMNS:
            cell = getattr(self, name)
            if isinstance(cell, str) and ("\n" in cell or "\r" in cell):
                raise ValueError(f"{name} has a line break: {cell!r}")
            if isinstance(cell, float) and math.isnan(cell) and name not in _MEASURED:
                raise ValueError(f"{name} identifies the row and cannot be NaN")

    @property
    def identity(self) -> Identity:
        """The cells that say which number this is."""
        return tuple(self.identity_cells.values())

    @property
    def diagnostic(self) -> bool:
        """Whether the number is about others: how they were obtained ("probe_...", TC_weight), or their intervals."""
        is_end = self.metric.endswith(("_low", "_high"))
        return self.metric.startswith("probe_") or is_end or self.protocol == "training"

    @property
    def identity_cells(self) -> dict[str, object]:
        """The identity with the names of its columns."""
        cells = {name: getattr(self, name) for name in _IDENTIFYING}
        return cells if self.n_train is None else cells | {"n_train": self.n_train}

    @property
    def at(self) -> str:
        """At which times z is ("t=100 300", "best t"), where they are not the model's own."""
        return self.z.partition(" at ")[2]

    @property
    def partial(self) -> bool:
        """Whether this is of some labels or times only, beside the number that all of them give."""
        return self.n_train is not None or bool(self.at)


LATER = ("n_train",)
"""Columns that a file has only where a row fills them."""
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Record)}
COLUMNS: tuple[str, ...] = tuple(name for name in _DEFAULTS if name not in LATER)
_IDENTIFYING = tuple(name for name in COLUMNS if name not in _MEASURED)
_ASKED = tuple(name for name in (*_IDENTIFYING, *LATER) if name not in _COUNTED and name != "better")


def columns_of(records: Iterable[Record]) -> tuple[str, ...]:
    """The columns of a file of these records."""
    return COLUMNS + (LATER if any(record.n_train is not None for record in records) else ())


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
                self._asked[tuple(getattr(record, name) for name in _ASKED)].append(record)
        counted = [name for name in _COUNTED if name in columns]
        found = []
        for metric in metrics:
            for attribute in attributes:
                cells = {**_DEFAULTS, **columns, "metric": metric, "attribute": attribute}
                same = self._asked.get(tuple(cells[name] for name in _ASKED), [])
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
            merged = dict(sorted((self._current() | new).items(), key=lambda item: _order(item[1])))
            with atomic_path(self.path) as temporary:
                _write(temporary, merged.values())
            self._keep(merged, self._signature())

    def _current(self) -> dict[Identity, Record]:
        """The rows of the file as it is now."""
        signature = self._signature()
        if signature is None:
            self._keep({}, None)
        elif signature != self._seen:
            try:
                with open(self.path, newline="", encoding="utf-8") as file:
                    rows = self._parsed(csv.reader(file, strict=True))
                self._keep({record.identity: record for record in rows}, signature)
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                raise UserError(
                    f"{self.path}: cannot be read as a results file ({error}). Name another --out."
                ) from error
        return self._rows

    def _keep(self, rows: dict[Identity, Record], signature: tuple[int, int, int] | None) -> None:
        self._rows, self._seen, self._asked = rows, signature, None

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes with the file: every writer replaces it. None where there is none."""
        try:
            about = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read as a results file ({error}). Name another --out.") from error
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _parsed(self, rows: Any) -> list[Record]:
        header = next(rows, None)
        if header is None or header not in ([*COLUMNS], [*COLUMNS, *LATER]):
            found = f"the {len(header)} columns {', '.join(header)[:60]} ..." if header else "an empty file"
            raise UserError(
                f"{self.path}: expected a results file with the {len(COLUMNS)} columns {', '.join(COLUMNS[:4])} ...; "
                f"found {found}. Nothing was changed. Name another --out, or move this file away."
            )
        records = []
        for row in rows:
            try:
                cells = zip(header, row, strict=True)
                records.append(Record(**{name: _PARSERS[name](cell) for name, cell in cells}))
            except (ValueError, KeyError) as error:
                raise UserError(f"{self.path}, line {rows.line_num}: not a result row ({error}). Repair it.") from error
        return records


def _write(path: Path, records: Iterable[Record]) -> None:
    columns = columns_of(records := list(records))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(getattr(record, name)) for name in columns] for record in records)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(float(value)) if isinstance(value, float) else str(value)  # float(): NumPy's repr names its type


def _order(record: Record) -> list[tuple[bool, object]]:
    """Sort key: missing cells first; digits in texts count as numbers, so that seed 10 comes after seed 2."""
    return [(cell is not None, _natural(cell) if isinstance(cell, str) else cell) for cell in record.identity]


@functools.lru_cache(maxsize=4096)  # most cells of a file are the same few texts
def _natural(text: str) -> tuple[str | int, ...]:
    """Text and numbers in turn: "mean of 0 1" -> ("mean of ", 0, " ", 1, "")."""
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"([0-9]+)", text)))


def _parser(hint: Any) -> Any:
    """Function from a CSV cell to a value of a column's type."""
    if typing.get_origin(hint) is Literal:
        return str
    if isinstance(hint, types.UnionType):  # X | None
        (kind,) = (_parser(a) for a in typing.get_args(hint) if a is not type(None))
        return lambda cell: None if cell == "" else kind(cell)
    return {"true": True, "false": False}.__getitem__ if hint is bool else hint


_PARSERS = {name: _parser(hint) for name, hint in typing.get_type_hints(Record).items()}
