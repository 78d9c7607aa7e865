"""What the study trains: every row for as many trunk units, from one seed or several."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.rows import ROWS, Row, arguments, units
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar
from dbae.training.folder import RunFolder

POINTS = 2
"""Every run is measured after this share of its images, and after all of them. Even, as a frozen network that is paid
for has half of the units."""
TENTH = 10
"""The learning rate is chosen after this share of the images."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large a study is.

    Attributes:
        preset: architecture of every row; size: of the images.
        units: trunk units a row.
        batch: images a step; flags: other options of every training command.
        rates: learning rates to choose among; rate_of: key of a row -> the one it has without a choice.
        seeds: of the rows that are repeated; others have the first.
        images: test images that are reconstructed.
    """

    preset: str
    size: int
    units: int
    batch: int
    flags: tuple[str, ...] = ()
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    seeds: tuple[int, ...] = (0, 1)
    images: int = 500
    rate_of: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def choices(self, row: str) -> tuple[float, ...]:
        """Learning rates to choose among for the row of this key; a single one is taken without a trial."""
        return (self.rate_of[row],) if row in self.rate_of else self.rates


SCALES = {
    "cpu": Scale("faces32", 32, 110_000, 16),
    "gpu": Scale("faces64s", 64, 10_000_000, 256, ("--precision", "bf16", "--compile"), (2e-4, 4e-4, 8e-4)),
}


@dataclasses.dataclass(frozen=True)
class Training:
    """One run of a training command.

    Attributes:
        images: to train on, a multiple of `POINTS` batches.
        runs: folder of all runs of the study.
    """

    row: Row
    seed: int
    rate: float
    images: int
    scale: Scale
    data: str
    runs: Path
    pretrained: Path | None = None

    @property
    def name(self) -> str:
        return self.row.run(self.seed)

    @property
    def base(self) -> str:
        """What tells files apart by the frozen network that the row builds on: one of more images is another."""
        return "" if self.pretrained is None else f"-on-{self.pretrained.parents[1].name}-{self.pretrained.stem}"

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.runs / self.row.key / f"seed{self.seed}-lr{self.rate:g}{self.base}")

    def checkpoint(self, part: int = POINTS) -> Path:
        """The weights after `part` of `POINTS` parts of the images."""
        return self.folder.milestone(self.images * part // POINTS)

    def points(self) -> list[int]:
        """Of the learning curve, in images: where weights were kept, also by a study of fewer units that went on."""
        return self.folder.milestones(self.images)

    @property
    def first_images(self) -> int:
        """Images after which learning rates are compared."""
        return max(1, round(self.images / TENTH / self.scale.batch)) * self.scale.batch

    @property
    def errors_file(self) -> Path:
        """Validation errors after a tenth of the images, {learning rate: error}, where rates were compared."""
        return self.runs / self.row.key / f"errors-seed{self.seed}-images{self.first_images}{self.base}.json"

    def errors(self) -> dict[str, float]:
        """What is in `errors_file` so far."""
        return kept(self.errors_file) if self.errors_file.exists() else {}

    def compared(self) -> dict[str, float]:
        """The errors by which this study chose the learning rate among its own; none where it was given."""
        rates = [f"{rate:g}" for rate in self.scale.choices(self.row.key)]
        return {rate: error for rate, error in self.errors().items() if rate in rates and len(rates) > 1}

    def command(self, images: int) -> list[str]:
        """The command that trains up to so many images, after `python`."""
        loop = {
            "batch-size": self.scale.batch,
            "lr": f"{self.rate:g}",
            "seed": self.seed,
            "images": images,
            "milestone-every": self.images // POINTS,
            "save-every": max(self.scale.batch, self.images // 4),
            "preview-every": self.images,
            "name": self.name,
        }
        flags = [text for name, value in loop.items() for text in (f"--{name}", str(value))]
        flags += ["--pretrained", str(self.pretrained)] if self.pretrained else []
        own = arguments(self.row, self.scale.preset, str(self.folder.path), self.data)
        return ["-m", self.row.module, *own, *flags, *self.scale.flags, "--resume"]


def kept(path: Path, remedy: str = "Remove it: it is made again.") -> dict[str, Any]:
    """What the study noted in a file of its own. Raises UserError naming one that is damaged, and what then helps."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object, found a damaged file. {remedy}")
    return found


@dataclasses.dataclass(frozen=True)
class Plan:
    """The study: its rows in an order in which what a row builds on comes before it.

    Attributes:
        halves: keys of rows that nobody asked for: others build on half of the run, and no more of it is trained.
    """

    rows: tuple[Row, ...]
    scale: Scale
    data: str
    runs: Path
    halves: frozenset[str] = frozenset()

    def study(self, data: str) -> dict[str, Any]:
        """What all runs of one study share, as JSON has it: images (their fingerprint), network and training."""
        scale = self.scale
        return {"data": data, "preset": scale.preset, "batch": scale.batch, "flags": list(scale.flags)}

    def seeds(self, row: Row) -> tuple[int, ...]:
        return self.scale.seeds if row.repeated else self.scale.seeds[:1]

    def count_operations(self) -> None:
        """Count those of every row, which takes seconds a row and is kept."""
        with progress_bar(len(self.rows), "counting operations", unit="rows") as bar:
            for row in self.rows:
                units(row, self.scale.preset)
                bar.update(1)

    def training(self, row: Row, seed: int, rate: float, base: Training | None = None) -> Training:
        """A run; `base` is that of the row it builds on."""
        own = self.scale.units * (1 if base is None or row.free else 0.5)
        step = self.scale.batch * POINTS
        images = max(1, round(own / units(row, self.scale.preset) / step)) * step
        pretrained = None if base is None else base.checkpoint(POINTS if row.free else POINTS // 2)
        return Training(row, seed, rate, images, self.scale, self.data, self.runs, pretrained)

    def all(self) -> Iterator[tuple[Row, int]]:
        """Rows and seeds in the order of the work: every row once before any is repeated."""
        for number in range(len(self.scale.seeds)):
            yield from ((row, self.seeds(row)[number]) for row in self.rows if number < len(self.seeds(row)))

    def rates(self, row: Row) -> tuple[float, ...]:
        """Learning rates to choose among; a single one is taken without a trial."""
        return self.scale.choices(row.key)

    @property
    def chooses(self) -> bool:
        """Whether any row's learning rate is chosen."""
        return any(len(self.rates(row)) > 1 for row in self.rows)

    def searched(self, row: Row) -> float:
        """Images, as a share of a run's, that the choice of its learning rate costs beyond the run itself."""
        return (len(self.rates(row)) - 1) / TENTH


def planned(names: Sequence[str], scale: Scale, data: str, runs: Path) -> Plan:
    """The plan of rows of these names (none: all), and of those they build on.

    Raises:
        UserError: there is no such row, or a number is out of range.
    """
    for option, name in [*(("--rows", name) for name in names), *(("--rate-of", name) for name in scale.rate_of)]:
        if name not in ROWS:
            raise UserError(f"{option} {name}: expected names of rows, which are {', '.join(ROWS)}.")
    if scale.units < 1:
        raise UserError(f"--units {scale.units}: expected 1 or more.")
    for option, values, good, what in (
        ("--rates", scale.rates, [0 < rate < math.inf for rate in scale.rates], "positive numbers"),
        ("--seeds", scale.seeds, [seed >= 0 for seed in scale.seeds], "whole numbers of 0 or more"),
    ):
        if not values or not all(good) or len(set(values)) < len(values):
            raise UserError(f"{option}: expected one or more different {what}, found {list(values)}.")
    if not all(0 < rate < math.inf for rate in scale.rate_of.values()):
        raise UserError(f"--rate-of: expected positive numbers, found {dict(scale.rate_of)}.")
    wanted = dict.fromkeys(names or ROWS)
    whole = wanted.keys() | {ROWS[name].builds_on for name in wanted if ROWS[name].free}
    halves = {ROWS[name].builds_on for name in wanted} - whole - {""}
    rows = [row for key, row in ROWS.items() if key in whole | halves]
    return Plan(tuple(sorted(rows, key=lambda row: bool(row.builds_on))), scale, data, runs, frozenset(halves))
