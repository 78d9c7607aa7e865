"""What every benchmark shares: the loop over models and data, going on where a run stopped, and who prints.

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
from benchmarks.runner.options import DataOptions, ModelOptions
from benchmarks.subjects import decodes, require_names, require_size
from dbae.data import ImageDataset, open_data
from dbae.latents import LatentCache, default_folder
from dbae.support import cli, distributed
from dbae.support.distributed import World
from dbae.support.precision import Precision

log = logging.getLogger(__name__)

Load = Callable[[str], LoadedModel]
OpenData = Callable[..., ImageDataset]


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
    """A family that measures one model on one data set at a time.

    Attributes:
        decoded: whether it is about images that a model decodes, and so n/a of one without a decoder.
    """

    decoded: ClassVar[bool] = False

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
            if self.decoded and not decodes(loaded, self.name):
                continue
            for data in options.data:
                dataset = open_data(data, size=loaded.model.image_size)
                require_size(loaded, dataset)
                found += self.measure(loaded, dataset, session, options, shared)
        return found


def family(name: str) -> Family[Any, Any]:
    """The benchmark `python -m benchmarks.NAME`."""
    found: Family[Any, Any] = getattr(importlib.import_module(f"benchmarks.{name}.command"), name.upper())
    return found
