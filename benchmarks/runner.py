"""What every benchmark shares: its common options, the loop over models and data, who prints, and the Python call.

A family of tables is one object. `RECONSTRUCTION.command()` is its command line, `RECONSTRUCTION.run(options, load)`
the same without printing, and `benchmarks.reconstruction.measure(model, ...)` takes a model that is there already:

    class Reconstruction(Benchmark[ReconstructionOptions, Record]):
        def begin(self, options, session): ...         what all models share
        def measure(self, model, dataset, ...): ...    one model on one data set
        def report(self, options, found): ...          print, draw; the files that were written

Rows that `session.results` has are not measured again, so a killed run continues where it stopped. Of several processes
all measure, and rank 0 writes and speaks.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from baselines.interface import LoadedModel, RepresentationModel
from benchmarks.results import Results
from benchmarks.subjects import require_names, require_size
from dbae.data import ImageDataset, open_data, require_apart
from dbae.latents import LatentCache, default_folder
from dbae.support import cli, distributed
from dbae.support.distributed import World
from dbae.support.errors import UserError
from dbae.support.precision import Precision

log = logging.getLogger(__name__)

Load = Callable[[str], LoadedModel]
OpenData = Callable[..., ImageDataset]


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


@dataclasses.dataclass(frozen=True)
class Session:
    """What all measurements of a run share.

    Attributes:
        device: where networks run.
        world: processes that share the work; the first writes.
        results: what is measured, and where new rows go.
    """

    device: torch.device
    world: World
    results: Results
    precision: Precision = "fp32"
    batch_size: int = 64
    workers: int = 0

    def latents(self, batch_size: int = 128) -> LatentCache:
        """Latents on disk, computed on demand, so many images at a time."""
        return LatentCache(default_folder(), self.device, batch_size, self.workers, self.precision, progress=True)

    @classmethod
    def of(cls, options: ModelOptions, *, one_file: bool = False) -> Session:
        """Of a command; the first call in a process that torchrun started waits for all the others."""
        device = cli.device(options.device)
        world = distributed.world(device)
        results = Results(options.out, world, force=options.force, one_file=one_file)
        workers = getattr(options, "workers", 0)
        return cls(device, world, results, options.precision, options.batch_size, workers)


@dataclasses.dataclass(frozen=True)
class Lack:
    """Something that a run needs or could use, and that is not there.

    Attributes:
        what: the thing; without: what is left out for want of it; remedy: how to get it.
        metric: beginning of the names of the metrics that want it; "" where all do.
    """

    what: str
    without: str
    remedy: str
    metric: str = ""


Chosen = TypeVar("Chosen", bound=ModelOptions)
OnData = TypeVar("OnData", bound=DataOptions)
Found = TypeVar("Found")


class Family(Generic[Chosen, Found]):
    """A family of tables: what its command does around measuring.

    Attributes:
        name: of the package, as in `python -m benchmarks.NAME`.
        options: the class of its options; a field is an option of the command line.
        one_file: whether rows of single attributes or parts stand among the means.
    """

    name: ClassVar[str]
    options: type[Chosen]
    one_file: ClassVar[bool] = False

    def measured(self, options: Chosen, session: Session, load: Load, open_data: OpenData) -> list[Found]:
        """All that the options ask for."""
        raise NotImplementedError

    def report(self, options: Chosen, found: Sequence[Found]) -> Sequence[Path]:
        """Print the tables and draw the figures of a run; the files they are in. Called on rank 0."""
        raise NotImplementedError

    def open(self, source: str, load: Load) -> LoadedModel:
        """The model that --ckpt names."""
        return load(source)

    def possible(
        self, options: Chosen, loaded: LoadedModel, dataset: ImageDataset | None
    ) -> tuple[Chosen | None, list[Lack]]:
        """What of the options can be measured of a model with what is there (None: nothing), and what is not there."""
        return options, []

    def work(self, options: Chosen, model: RepresentationModel, dataset: ImageDataset | None) -> tuple[int, int]:
        """Images, and network evaluations of each, as far as known beforehand."""
        raise NotImplementedError

    def run(self, options: Chosen, load: Load, open_data: OpenData = open_data) -> list[Found]:
        """Measure; what the report shows.

        Args:
            options: the command line.
            load: checkpoint file or name -> model.
            open_data: (source, size=pixels) -> data set.

        Raises:
            UserError: an option, a file or the data is not usable; what was measured before is in the results.
        """
        options.check()
        return self.measured(options, self.session(options), load, open_data)

    def session(self, options: Chosen) -> Session:
        """A new session, with the rows that OUT has."""
        return Session.of(options, one_file=self.one_file)

    def main(self, options: Chosen) -> None:
        """Run and report."""
        from baselines.load import load

        found = self.run(options, load)
        if found and distributed.is_main():
            log.info("%s", ", ".join(map(str, [options.out, *self.report(options, found)])))

    def command(self, arguments: Sequence[str] | None = None) -> int:
        """The command line; returns the exit status."""
        return cli.run(
            self.main,
            self.options,
            module=f"benchmarks.{self.name}",
            description=sys.modules[type(self).__module__].__doc__,
            arguments=arguments,
        )


class Benchmark(Family[OnData, Found]):
    """A family that measures one model on one data set at a time."""

    def begin(self, options: OnData, session: Session) -> Any:
        """What all models share, besides the session; before any is loaded."""

    def measure(
        self, loaded: LoadedModel, dataset: ImageDataset, session: Session, options: OnData, shared: Any
    ) -> list[Found]:
        """All of one model on one data set, from the results where they are complete, else measured now and added."""
        raise NotImplementedError

    def work(self, options: OnData, model: RepresentationModel, dataset: ImageDataset | None) -> tuple[int, int]:
        """All images are encoded."""
        images, limit = len(dataset or ()), getattr(options, "limit", None)
        return min(images, limit or images), model.encode_nfe

    def measured(self, options: OnData, session: Session, load: Load, open_data: OpenData) -> list[Found]:
        """Every checkpoint on every data set."""
        shared = self.begin(options, session)
        found: list[Found] = []
        for source in options.ckpt:
            loaded = require_names(load(source))
            for data in options.data:
                dataset = open_data(data, size=loaded.model.image_size)
                require_size(loaded, dataset)
                found += self.measure(loaded, dataset, session, options, shared)
        return found


def family(name: str) -> Family[Any, Any]:
    """The benchmark `python -m benchmarks.NAME`."""
    found: Family[Any, Any] = getattr(importlib.import_module(f"benchmarks.{name}.command"), name.upper())
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
