"""Options that benchmarks have in common."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from dbae.data import require_apart
from dbae.support.errors import UserError
from dbae.support.precision import Precision


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of every benchmark."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints to measure: files or names."""
    out: Path = Path("runs/results.csv")
    """The results file; rows are added to what it has."""
    batch_size: int = 64
    """Images at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Arithmetic of the model's networks."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1."""
    force: bool = False
    """Measure again what OUT already has."""

    least: ClassVar[dict[str, int]] = {"batch_size": 1, "workers": 0, "seeds": 0}
    """Smallest values of numeric options; a family adds its own."""
    different: ClassVar[tuple[str, ...]] = ("ckpt", "data", "protocol", "seeds")
    """Options that need one or more different values."""

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        for name in self.different:
            values = getattr(self, name, None)
            if values is not None and (not values or len(set(values)) < len(values)):
                raise UserError(f"{_flag(name)}: expected one or more different values, found {list(values)}.")
        if self.out.suffix != ".csv":
            raise UserError(f"--out {self.out}: expected a file name that ends in .csv.")
        for name, least in self.least.items():
            given = getattr(self, name, None)
            for value in given if isinstance(given, tuple) else (given,):
                if isinstance(value, int | float) and value < least:
                    raise UserError(f"{_flag(name)} {value}: expected {least} or more.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(ModelOptions):
    """Options of benchmarks that measure models on images."""

    data: tuple[str, ...] = ("faces",)
    """Data sets to measure on, KIND:ROOT[?size=..&n=..]."""

    def check(self) -> None:
        """Raises UserError naming the option that cannot be, or a folder that is both read and written."""
        super().check()
        require_apart(self.data, self.out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingOptions(DataOptions):
    """Options of benchmarks that read every image of a data set."""

    limit: int | None = None
    """Use only the first LIMIT images of every split."""
    workers: int = 0
    """Processes that read images; 0 reads in a thread."""

    least: ClassVar[dict[str, int]] = {**DataOptions.least, "limit": 2}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
