"""Which runs the tables in OUT are made of, and all that tables say of them: OUT's study.json.

Every call of the command adds its own, also while others are at it. Tables need no folder of a run: what was trained on
another machine, or removed since, is in them.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.plan import Training, kept
from benchmarks.study.rows import ROWS, Row
from dbae.checkpoints.own import read
from dbae.data import parse_source
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, sha256
from dbae.support.locking import locked
from dbae.training.folder import read_log

log = logging.getLogger(__name__)
SHARED = ("data", "preset", "batch", "flags", "units")
"""What runs of one study have in common; `data` is the fingerprint of its images."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A complete training, as study.json has it.

    Attributes:
        row: key of its row (`ROWS`).
        frozen_network: the file it builds on, in the folder of the runs; None for rows that build on none.
        errors: learning rate -> validation error after a tenth of the images, where rates were compared.
        hardware: that trained it; seconds: that it took, None where its log is lost.
        command: with the names of data and folders that it has on any machine.
        points: images -> hash of the checkpoint that was measured after so many.
    """

    row: str
    seed: int
    learning_rate: float
    images: int
    frozen_network: str | None
    errors: Mapping[str, float]
    hardware: str
    seconds: int | None
    command: str
    points: Mapping[int, str]

    @classmethod
    def of(cls, training: Training) -> Run:
        """A training whose folder is there."""
        logged = read_log(training.folder.log_file)
        images = max(logged["images"], default=0)  # the last steps of a run of an earlier version have no row
        base = training.pretrained
        return cls(
            row=training.row.key,
            seed=training.seed,
            learning_rate=training.rate,
            images=training.images,
            frozen_network=None if base is None else base.relative_to(training.runs).as_posix(),
            errors=training.errors(),
            hardware=read(training.checkpoint())[0].versions.get("hardware", ""),
            seconds=round(sum(logged["seconds"]) / images * training.images) if images else None,
            command=portable(training),
            points={images: sha256(training.folder.milestone(images)) for images in training.points()},
        )

    @classmethod
    def noted(cls, found: Any) -> Run:
        """One of study.json. Raises ValueError where it is not as `Run` is."""
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(found, dict) or set(found) != set(names) or found["row"] not in ROWS:
            raise ValueError(f"expected a row of the study with {', '.join(names)}, found {found}")
        return cls(**found | {"points": {int(images): digest for images, digest in found["points"].items()}})

    @property
    def name(self) -> str:
        """Of the model, in rows of results."""
        return f"{self.row}-seed{self.seed}"

    @property
    def of_row(self) -> Row:
        return ROWS[self.row]


class Register:
    """The complete runs of one study: these images, this network, so many units a row.

    Args:
        out: folder of the tables.
        study: what runs of one study share (`Plan.study`, and its units); None: whatever the folder is about.

    Raises:
        UserError: the file is damaged, or there is none and no `study`.
    """

    def __init__(self, out: Path, study: Mapping[str, Any] | None = None) -> None:
        self.out, self.path = out, out / "study.json"
        found = kept(self.path) if self.path.exists() else {}
        if study is None and not found:
            raise UserError(f"{self.path}: expected the runs of a study, found no such file. Name the --out of one.")
        self.study: dict[str, Any] = {name: (found if study is None else study).get(name) for name in SHARED}
        if other := self._other(found):
            log.warning("%s: of a study with other %s; its rows leave the tables", self.path, ", ".join(sorted(other)))
        self.runs()

    def runs(self) -> dict[str, Run]:
        """Name -> run, of all that are noted by now; none where the file is of another study."""
        try:
            return {name: Run.noted(run) for name, run in self._noted("runs").items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise self._damaged(str(error)) from error

    def groups(self) -> dict[str, list[str]]:
        """Groups of attributes that are averaged apart: name -> attributes."""
        return self._noted("groups")

    def add(self, run: Run) -> None:
        """Note a complete run. Those of its row at another learning rate or on another network are not beside it."""

        def beside(other: Run) -> bool:
            alike = (other.learning_rate, other.frozen_network) == (run.learning_rate, run.frozen_network)
            return other.row != run.row or alike

        with locked(self.path):
            runs = {name: other for name, other in self.runs().items() if beside(other)} | {run.name: run}
            self._write(self.groups(), runs)

    def group(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Average these groups apart from now on."""
        with locked(self.path):
            self._write(groups, self.runs())

    def _write(self, groups: Mapping[str, Sequence[str]], runs: Mapping[str, Run]) -> None:
        noted = {"groups": groups, "runs": {name: dataclasses.asdict(run) for name, run in runs.items()}}
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.study | noted, indent=1))

    def _noted(self, name: str) -> dict[str, Any]:
        found = kept(self.path) if self.path.exists() else {}
        noted = {} if self._other(found) else found.get(name, {})
        if not isinstance(noted, dict):
            raise self._damaged(f"expected {name} with a name each, found {noted}")
        return noted

    def _damaged(self, why: str) -> UserError:
        return UserError(
            f"{self.path}: damaged, or of another version ({why}). Remove the file: each row is in the tables again "
            "once its --rows are named."
        )

    def _other(self, found: Mapping[str, Any]) -> set[str]:
        """In what the study of the file is another one."""
        return {name for name in SHARED if found and found.get(name) != self.study[name]}


def portable(training: Training) -> str:
    """The command with the names of data and folders that it has on any machine."""
    runs, pretrained = Path("RUNS"), training.pretrained
    pretrained = pretrained and runs / pretrained.relative_to(training.runs)
    data = parse_source(training.data).portable
    told = dataclasses.replace(training, data=data, runs=runs, pretrained=pretrained)
    return " ".join(["python", *told.command(training.images)])
