"""The folder of a training run.

checkpoints/images-000128000.safetensors          raw and EMA weights with their card
checkpoints/images-000128000.state.safetensors    optimiser state: with it the run goes on
milestones/images-000100000.safetensors           kept for ever
previews/images-000064000.png                     x0, x_T and reconstruction
log.csv                                           one row every few steps
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card
from dbae.support.distributed import is_main
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, remove
from dbae.support.locking import require_free
from dbae.training.config import FIXED, TrainConfig

LOG_COLUMNS = ("images", "step", "loss", "mse", "grad_norm", "images_per_second", "seconds")


class RunFolder:
    """Names, writes and finds the files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.log_file = self.path / "log.csv"

    def checkpoint(self, images: int) -> Path:
        """Where the checkpoint after so many images goes."""
        return self.path / "checkpoints" / f"images-{images:09d}.safetensors"

    def milestone(self, images: int) -> Path:
        """Where the snapshot after so many images goes."""
        return self.path / "milestones" / f"images-{images:09d}.safetensors"

    def milestones(self, upto_images: int) -> list[int]:
        """After how many images there is a snapshot, fewest first, those of a run that went on further left out."""
        found = (self.path / "milestones").glob("images-*.safetensors")
        return sorted(n for path in found if (n := int(path.stem.removeprefix("images-"))) <= upto_images)

    def preview(self, images: int) -> Path:
        """Where the picture after so many images goes."""
        return self.path / "previews" / f"images-{images:09d}.png"

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first: those whose state file is there too."""
        found = sorted((self.path / "checkpoints").glob("images-*.safetensors"))
        return [p for p in found if not p.name.endswith(".state.safetensors") and state_path(p).exists()]

    def save_state(self, images: int, optimizer: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Write the state file of a checkpoint: an optimiser's `state_dict()` and other JSON values."""
        tensors = {f"{i}.{key}": v for i, entry in optimizer["state"].items() for key, v in entry.items()}
        header = {"state": json.dumps({"groups": optimizer["param_groups"], **values})}
        checkpoint.write_tensors(state_path(self.checkpoint(images)), tensors, header)

    def load_state(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `save_state` was given for the checkpoint at `path`."""
        tensors, values = checkpoint.read_tensors(state_path(path), "state")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        groups = [group | {"betas": tuple(group["betas"])} for group in values.pop("groups")]
        return {"state": state, "param_groups": groups}, values

    def save(self, images: int, card: Card, raw: Mapping[str, Tensor], ema: Mapping[str, Tensor]) -> None:
        """Write the weights of a checkpoint (its state file comes first, so that a checkpoint seen is complete)."""
        checkpoint.save(self.checkpoint(images), card, raw=raw, ema=ema)

    def prune(self, keep: int) -> None:
        """Delete all but the `keep` newest checkpoints; milestones stay."""
        for path in self.checkpoints()[:-keep]:
            path.unlink()
            state_path(path).unlink()

    def remove_leftovers(self) -> None:
        """Delete what a killed run left behind: temporary files, and state files without their checkpoint.

        Only for a process that is alone in the folder: those of a living run look the same.
        """
        patterns = (".log.csv.*.tmp", "*/.images-*.tmp", "*/.images-*.d", "*/.tmp??????")  # the last: of safetensors
        leftovers = [path for pattern in patterns for path in self.path.glob(pattern)]
        wanted = {state_path(path) for path in self.checkpoints()}
        states = (self.path / "checkpoints").glob("images-*.state.safetensors")
        for leftover in [*leftovers, *(path for path in states if path not in wanted)]:
            remove(leftover)

    def start_log(self, upto_images: int) -> None:
        """Make `log.csv` end at `upto_images`, dropping rows that a resumed run will write again."""
        rows: list[list[str]] = []
        if self.log_file.exists():
            try:
                complete = _complete_rows(self.log_file.read_text(encoding="utf-8"))
            except (UnicodeDecodeError, csv.Error) as error:
                raise UserError(
                    f"{self.log_file}: expected the log of a training run, found other bytes ({error}). Move the file "
                    "away to go on without its rows."
                ) from error
            rows = [r for r in complete if int(r[0]) <= upto_images]
        with atomic_path(self.log_file) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([LOG_COLUMNS, *rows])

    def append_log(self, row: Mapping[str, Any]) -> None:
        """Add a row of `LOG_COLUMNS` to log.csv."""
        with open(self.log_file, "a", newline="") as file:
            csv.writer(file).writerow([row[column] for column in LOG_COLUMNS])

    def require_usable(self, *, resume: bool) -> None:
        """Raise UserError if another process is at work in the folder, or if it holds a run and is not to resume it."""
        if is_main():
            require_free(self.path)
        if not resume and self.checkpoints():
            raise UserError(
                f"{self.path}: holds a run already (newest: {self.checkpoints()[-1].name}). "
                "Add --resume to go on with it, or name another --out."
            )

    def require_resumable(self, card: Card) -> None:
        """Raise UserError unless the newest checkpoint, where there is one, is of the run that `card` describes."""
        for newest in self.checkpoints()[-1:]:
            with resuming(newest):
                require_same_run(newest, checkpoint.read_tensors(newest, "card")[1], card)


@contextlib.contextmanager
def resuming(path: Path) -> Iterator[None]:
    """Raise UserError for what reading a damaged checkpoint raises."""
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be resumed, it or its .state file is damaged ({type(error).__name__}: {error}). "
            "Remove both to go on from the checkpoint before."
        ) from error


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a run's log.csv, `LOG_COLUMNS`, without a row that was cut off in writing or has no numbers."""
    rows = []
    for row in _complete_rows(path.read_text(encoding="utf-8", errors="replace")):
        with contextlib.suppress(ValueError):
            rows.append([float(cell) for cell in row])
    return {name: [row[i] for row in rows] for i, name in enumerate(LOG_COLUMNS)}


def _complete_rows(text: str) -> list[list[str]]:
    rows = list(csv.reader(text.splitlines()))
    if not text.endswith("\n"):
        rows = rows[:-1]
    return [row for row in rows if len(row) == len(LOG_COLUMNS) and row[0].isdecimal()]


def state_path(path: Path) -> Path:
    """The state file that belongs to a checkpoint."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".state.safetensors")


def require_same_run(path: Path, values: Mapping[str, Any], card: Card) -> None:
    """Raise UserError unless the checkpoint at `path`, whose card has `values`, is of the run that `card` describes.

    A resumed run may train longer or save more often; what decides the weights must be the same.
    """
    defaults = dataclasses.asdict(TrainConfig())
    was, now = (defaults | dict(options) for options in (values["training"], card.training))
    fixed = (*FIXED, "images") if was["lr_schedule"] == "cosine" else FIXED
    differ = [f"{k} was {was[k]}, is {now[k]}" for k in fixed if was[k] != now[k]]
    if values.get("processes", 1) != card.processes and not now["allow_processes"]:
        were = values.get("processes", 1)
        differ.append(f"the number of processes was {were}, is {card.processes} (--allow-processes goes on with it)")
    differ += ["another objective"] * (values.get("objective", {}) != checkpoint.as_json(card.objective))
    differ += ["another model configuration"] * (not _agree(values["config"], checkpoint.as_json(card.config)))
    differ += ["other training data"] * (values["train_data"] != checkpoint.as_json(card.train_data))
    if differ:
        raise UserError(
            f"{path}: cannot be resumed with these options: {'; '.join(differ)}. "
            "Repeat the options of the first command, or start a new run with another --out."
        )


def _agree(was: Any, now: Any) -> bool:
    """Whether two configurations are one; an option that an older program did not have had today's default."""
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() <= now.keys() and all(_agree(value, now[key]) for key, value in was.items())
    return bool(was == now)
