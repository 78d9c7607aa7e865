r"""Trajectories: how straight a moving picture's path is in the codes of a model.

Faces and disks are drawn whose factors move; or frames of your own videos are read. Of every sequence: the mean cosine
of successive steps (straightness) and the mean angle between them (curvature), with intervals over sequences. Beside a
model stand the pixels, PCA of them, the same encoder untrained, random codes and, of what is drawn, the factors that
were moved: when they move on straight lines, which straightness do the codes have?

The built-in model on drawn faces and disks:

    python -m benchmarks.trajectories

The same with factors that swing there and back, which makes ellipses of their paths:

    python -m benchmarks.trajectories --path closed

Your videos, as a folder (or zip) with a sub-folder of frames for each:

    python -m benchmarks.trajectories --ckpt ema_0.9999_1020000.pt --data folder:videos --out results/mine/videos.csv

A straight line has straightness 1, a random walk 0, codes that have nothing to do with each other -1/2. The numbers
depend on how far frames are apart. PCA is fitted to other drawn sequences, and to the frames themselves of a folder.
OUT has the means, OUT_images/ the numbers of every sequence, OUT_paths.png four paths, each about its own middle, in
the plane of the first two principal components of all of them. A killed run continues where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from baselines.interface import LoadedModel
from benchmarks.results import beside
from benchmarks.runner import Benchmark, DataOptions, Load, OpenData, Session
from benchmarks.subjects import subjects_of
from benchmarks.subjects.given import HasLatents
from benchmarks.trajectories.drawn import DrawnSequences, PathShape
from benchmarks.trajectories.report import draw_paths, format_rows
from benchmarks.trajectories.sequences import sequences_of
from benchmarks.trajectories.study import Measured, TrajectoryStudy, references
from dbae.data import ImageDataset, parse_source
from dbae.data.source import DRAWN
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrajectoriesOptions(DataOptions):
    """Options of the command."""

    data: tuple[str, ...] = ("faces", "disks")
    """What moves: faces or disks (perhaps ?seed=..), or a folder or zip with a sub-folder for each video."""
    out: Path = Path("runs/trajectories.csv")
    """The results file; rows are added to what it has."""
    path: PathShape = "open"
    """How the factors of drawn sequences move: along a line (open), or there and back in an ellipse (closed)."""
    sequences: int = 32
    """Drawn sequences to measure; as many others are drawn to fit PCA to."""
    frames: int = 24
    """Frames of a drawn sequence."""
    batch_size: int = 128
    """Images encoded at a time; changes no number beyond rounding."""
    workers: int = 0
    """Processes that read images; 0 reads in a thread."""

    least: ClassVar[dict[str, int]] = {**DataOptions.least, "sequences": 1, "frames": 3}


class Trajectories(Benchmark[TrajectoriesOptions, Measured]):
    """Every subject on every set of sequences."""

    name, options = "trajectories", TrajectoriesOptions

    def measured(
        self, options: TrajectoriesOptions, session: Session, load: Load, open_data: OpenData
    ) -> list[Measured]:
        """As every benchmark, but that drawn kinds are drawn as sequences."""

        def opened(source: str, *, size: int) -> ImageDataset:
            return drawn(source, size, options) or open_data(source, size=size)

        return super().measured(options, session, load, opened)

    def measure(
        self,
        loaded: LoadedModel,
        dataset: ImageDataset,
        session: Session,
        options: TrajectoriesOptions,
        shared: Any,
    ) -> list[Measured]:
        """The model, its controls, and what it is seen beside."""
        sequences = sequences_of(dataset)
        train = dataset.splits.get("train", sequences.images)
        subjects = subjects_of(loaded, dataset, train, session.latents(options.batch_size))
        if not isinstance(loaded.model, HasLatents):
            subjects += references(dataset)
        study = TrajectoryStudy(sequences, session)
        return [study.measured(subject) for subject in subjects]

    def report(self, options: TrajectoriesOptions, found: Sequence[Measured]) -> list[Path]:
        """The means as a table, some paths as a figure."""
        print(format_rows([row for measured in found for row in measured.rows]))
        figure = beside(options.out, "_paths.png")
        draw_paths([measured.panel for measured in found], figure)
        return [beside(options.out, "_images"), figure]


def drawn(source: str, size: int, options: TrajectoriesOptions) -> DrawnSequences | None:
    """The sequences that a source of a drawn kind means; None of other sources.

    Raises:
        UserError: the source says what `options` say: how many, or which split.
    """
    if source.partition("?")[0].partition(":")[0] not in DRAWN:
        return None
    parsed = parse_source(source)
    if parsed.root or parsed.split is not None or parsed.n is not None:
        raise UserError(
            f"{source}: expected {parsed.kind}, perhaps with ?seed=.., since sequences are drawn whenever they are "
            "read; found a folder, split or n. Write --sequences and --frames."
        )
    return DrawnSequences(
        parsed.kind,
        parsed.size or size,
        sequences=options.sequences,
        frames=options.frames,
        shape=options.path,
        seed=parsed.seed or 0,
    )


TRAJECTORIES = Trajectories()
run, command = TRAJECTORIES.run, TRAJECTORIES.command
