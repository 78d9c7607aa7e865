"""Which runs the tables in OUT are made of: its study.json, to which every call of the command adds its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from benchmarks.study.plan import Plan, Training, kept
from benchmarks.study.rows import ROWS
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

log = logging.getLogger(__name__)


class Register:
    """The runs of one study (these images, this network, so many units a row), those of earlier calls among them.

    Runs of another study that used the same folder, and runs that are no longer there, are left out with a warning.

    Args:
        data: fingerprint of the images.

    Attributes:
        trainings: name of the run -> the run.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, plan: Plan, out: Path, data: str) -> None:
        self.plan, self.path = plan, out / "study.json"
        self.study = plan.study(data) | {"units": plan.scale.units}
        self.trainings = self._earlier()

    def add(self, training: Training) -> None:
        """Note a complete run. Those of its row at another learning rate or on another network are not beside it."""

        def beside(other: Training) -> bool:
            alike = (other.rate, other.pretrained) == (training.rate, training.pretrained)
            return other.row is not training.row or alike

        others = {name: other for name, other in self.trainings.items() if beside(other)}
        self.trainings = others | {training.name: training}
        runs = {name: self._noted(run) for name, run in self.trainings.items()}
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.study | {"runs": runs}, indent=1))

    def _noted(self, training: Training) -> dict[str, Any]:
        frozen = training.pretrained and training.pretrained.relative_to(self.plan.runs).as_posix()
        about = {"row": training.row.key, "seed": training.seed, "learning_rate": training.rate}
        return about | {"images": training.images, "frozen_network": frozen}

    def _earlier(self) -> dict[str, Training]:
        found = kept(self.path) if self.path.exists() else {}
        other = {name for name, value in self.study.items() if found.get(name) != value}
        if found and other:
            log.warning("%s: of a study with other %s; its rows leave the tables", self.path, ", ".join(sorted(other)))
        trainings = {}
        for name, noted in {} if other else found.get("runs", {}).items():
            try:
                training = self._training(noted)
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path}: {name}: expected row, seed, learning_rate, images and frozen_network, found "
                    f"{noted} ({error!r}). Remove the file: each row is in the tables again once its --rows are named."
                ) from error
            if training.checkpoint().exists():
                trainings[name] = training
            else:
                log.warning("%s: not in the tables, %s is not there", name, training.checkpoint())
        return trainings

    def _training(self, noted: dict[str, Any]) -> Training:
        row, frozen = ROWS[noted["row"]], noted["frozen_network"]
        pretrained = None if frozen is None else self.plan.runs / frozen
        about = (noted["seed"], noted["learning_rate"], noted["images"])
        return Training(row, *about, self.plan.scale, self.plan.data, self.plan.runs, pretrained)
