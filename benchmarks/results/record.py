"""What a result is: one measured number with everything needed to trust it, and the CSV that keeps many.

A results file is tidy (one number a row), sorted by identity and byte-stable: the same records give the same bytes,
whatever the order in which they arrived. Cells: None is empty, bool is true/false, a float is written with the fewest
digits that read back to the same float64. A row is identified by every column but `value, stderr, versions, revision,
seconds, peak_mib`; a record with the identity of an older row replaces it.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Identity = tuple[object, ...]

_MEASURED = frozenset({"value", "stderr", "versions", "revision", "seconds", "peak_mib"})
COUNTED = ("nfe", "encode_nfe")
"""Functions of the sampler and of z: identify a row, but are often known only after measuring."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One number. An empty string or None says that a column does not apply.

    Attributes:
        task: family of tables ("downstream", ...); protocol: "paper", "standard", ...; task_version: raised when the
            meaning of the task's numbers changes, so that old and new rows never mix.
        model: name of the model, or random, untrained, pca, prevalence, pixels, factors in control rows;
            method: e.g. "DBAE"; variant: e.g. "stochastic"; train_data: what the weights were trained on.
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

    @functools.cached_property
    def identity(self) -> Identity:
        """The cells that say which number this is."""
        return tuple(self.identity_cells.values())

    def line(self, columns: Sequence[str]) -> str:
        """Its row in a file of these columns, `COLUMNS` or more."""
        return self._line if len(columns) == len(COLUMNS) else f"{self._line[:-1]},{cell_text(self.n_train)}\n"

    @functools.cached_property
    def _line(self) -> str:
        return csv_line(cell_text(getattr(self, name)) for name in COLUMNS)

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
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Record)}
COLUMNS: tuple[str, ...] = tuple(name for name in DEFAULTS if name not in LATER)
_IDENTIFYING = tuple(name for name in COLUMNS if name not in _MEASURED)
ASKED = tuple(name for name in (*_IDENTIFYING, *LATER) if name not in COUNTED and name != "better")


def columns_of(records: Iterable[Record]) -> tuple[str, ...]:
    """The columns of a file of these records."""
    return COLUMNS + (LATER if any(record.n_train is not None for record in records) else ())


def csv_line(cells: Iterable[str]) -> str:
    """A row of a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def cell_text(value: object) -> str:
    """A cell as it stands in a file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(float(value)) if isinstance(value, float) else str(value)  # float(): NumPy's repr names its type


def order(record: Record) -> list[tuple[bool, object]]:
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


PARSERS = {name: _parser(hint) for name, hint in typing.get_type_hints(Record).items()}
