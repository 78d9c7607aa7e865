"""Which runs the tables in OUT are made of, and all that tables say of them: OUT's study.json.

Every call of the command adds its own, also while others are at it. Tables need no folder of a run: what was trained on
another machine, or removed since, is in them. A study of other images, units or network is kept beside the others.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.plan import SCALES, Training, kept
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
_REMEDY = "Remove the file: rows whose runs are there are in the tables again once their --rows are named."


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
            errors=training.compared(),
            hardware=read(training.checkpoint())[0].versions.get("hardware", ""),
            seconds=round(sum(logged["seconds"]) / images * training.images) if images else None,
            command=portable(training),
            points={images: sha256(training.folder.milestone(images)) for images in training.points()},
        )

    @classmethod
    def noted(cls, name: str, found: Any) -> Run:
        """One of study.json. Raises ValueError where it is not as `Run` is."""
        names = [field.name for field in dataclasses.fields(cls)]
        _require(isinstance(found, dict) and set(found) == set(names), f"{name}: expected {', '.join(names)}")
        row, seed = ROWS.get(found["row"]), found["seed"]
        named = row is not None and isinstance(seed, int) and name == row.run(seed)
        _require(named, f"{name}: expected its row, seed")
        points = {int(images): digest for images, digest in _mapping(found["points"])}
        whole = [found["images"], found["seconds"] or 0]
        _require(all(isinstance(n, int) for n in whole), f"{name}: expected whole numbers of images and seconds")
        _require(found["images"] in points, f"{name}: expected a checkpoint after all of its images among its points")
        numbers = [found["learning_rate"], *(error for _, error in _mapping(found["errors"]))]
        _require(all(isinstance(n, int | float) for n in numbers), f"{name}: expected numbers as rate and errors")
        texts = [found["hardware"], found["command"], found["frozen_network"] or "", *points.values()]
        _require(all(isinstance(text, str) for text in texts), f"{name}: expected texts")
        return cls(**found | {"points": points})

    @property
    def name(self) -> str:
        return self.of_row.run(self.seed)

    @property
    def of_row(self) -> Row:
        return ROWS[self.row]


class Register:
    """The complete runs of one study: these images, this network, so many units a row.

    The file has several studies, where several used the folder; the one that a run was added to last is the last.

    Args:
        out: folder of the tables.
        study: what runs of one study share (`Plan.study`, and its units); None: the last of the file.
        groups: of attributes that are averaged apart from now on; none: those that the file has.

    Raises:
        UserError: the file is damaged, or there is none and no `study`.
    """

    def __init__(
        self, out: Path, study: Mapping[str, Any] | None = None, groups: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.out, self.path = out, out / "study.json"
        studies = self._studies()
        if study is None and not studies:
            raise UserError(f"{self.path}: expected the runs of a study, found none. Name the --out of one.")
        self.study: dict[str, Any] = {name: (studies[-1] if study is None else study)[name] for name in SHARED}
        self._given = {name: list(attributes) for name, attributes in (groups or {}).items()}
        if studies and (other := [name for name in SHARED if studies[-1][name] != self.study[name]]):
            log.warning("%s: of a study with other %s; its rows leave the tables", self.path, ", ".join(other))

    def runs(self) -> dict[str, Run]:
        """Name -> run, of all of this study that are noted by now."""
        return self._mine(self._studies())["runs"]

    def groups(self) -> dict[str, list[str]]:
        """Groups of attributes that are averaged apart: name -> attributes."""
        return self._given or self._mine(self._studies())["groups"]

    def add(self, run: Run) -> None:
        """Note a complete run. Those of its row at another learning rate or on another network are not beside it."""

        def beside(other: Run) -> bool:
            alike = (other.learning_rate, other.frozen_network) == (run.learning_rate, run.frozen_network)
            return other.row != run.row or alike

        with locked(self.path):
            studies = self._studies()
            mine = self._mine(studies)
            runs = {name: other for name, other in mine["runs"].items() if beside(other)}
            if lost := mine["runs"].keys() - runs.keys():
                log.warning(
                    "%s: %s leave the tables: %s has another learning rate, or frozen network", self.path,
                    ", ".join(sorted(lost)), run.name,
                )  # fmt: skip
            mine = self.study | {"groups": self._given or mine["groups"], "runs": runs | {run.name: run}}
            others = [study for study in studies if not self._is_mine(study)]
            with atomic_path(self.path) as temporary:
                temporary.write_text(json.dumps({"studies": [*others, mine]}, indent=1, default=dataclasses.asdict))

    def _mine(self, studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The study among those of the file; a new one has the groups of the last."""
        new = self.study | {"groups": studies[-1]["groups"] if studies else {}, "runs": {}}
        return next((study for study in studies if self._is_mine(study)), new)

    def _is_mine(self, study: Mapping[str, Any]) -> bool:
        return all(study[name] == value for name, value in self.study.items())

    def _studies(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            return [_study(found) for found in kept(self.path, _REMEDY).get("studies", [None])]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.path}: damaged, or of another version: {error}. {_REMEDY}") from error


def _study(found: Any) -> dict[str, Any]:
    """A study of the file, its runs as `Run`. Raises ValueError where it is none."""
    names = (*SHARED, "groups", "runs")
    _require(isinstance(found, dict) and set(found) == set(names), f"expected studies of {', '.join(names)}")
    for name, kinds in zip(SHARED, (str, str, int, list, int), strict=True):
        _require(isinstance(found[name], kinds), f"{name}: found {found[name]!r}")
    _require(found["preset"] in {scale.preset for scale in SCALES.values()}, f"preset: found {found['preset']!r}")
    _require(found["units"] > 0, f"units: found {found['units']}")
    for name, attributes in _mapping(found["groups"]):
        _require(isinstance(attributes, list), f"groups: {name}: expected a list of attributes, found {attributes!r}")
    return found | {"runs": {name: Run.noted(name, run) for name, run in _mapping(found["runs"])}}


def _mapping(found: Any) -> list[tuple[str, Any]]:
    _require(isinstance(found, Mapping), f"expected a name each, found {found!r}")
    return [*found.items()]


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


def portable(training: Training) -> str:
    """The command with the names of data and folders that it has on any machine."""
    runs, pretrained = Path("RUNS"), training.pretrained
    pretrained = pretrained and runs / pretrained.relative_to(training.runs)
    data = parse_source(training.data).portable
    told = dataclasses.replace(training, data=data, runs=runs, pretrained=pretrained)
    return " ".join(["python", *told.command(training.images)])
