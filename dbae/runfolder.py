"""The folder of a training run.

checkpoints/images-000128000.safetensors          raw and EMA weights with their card
checkpoints/images-000128000.state.safetensors    optimiser state: with it the run goes on
milestones/images-000100000.safetensors           kept for ever
previews/images-000064000.png                     x0, x_T and reconstruction
log.csv                                           one row every few steps
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dbae import checkpoint
from dbae.errors import UserError
from dbae.files import atomic_path

LOG_COLUMNS = ("images", "step", "loss", "mse", "grad_norm", "images_per_second", "seconds")


class RunFolder:
    """Names, writes and finds the files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.log_file = self.path / "log.csv"

    def checkpoint(self, images: int) -> Path:
        return self.path / "checkpoints" / f"images-{images:09d}.safetensors"

    def milestone(self, images: int) -> Path:
        return self.path / "milestones" / f"images-{images:09d}.safetensors"

    def preview(self, images: int) -> Path:
        return self.path / "previews" / f"images-{images:09d}.png"

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first: those whose state file is there too."""
        found = sorted((self.path / "checkpoints").glob("images-*.safetensors"))
        return [p for p in found if not p.name.endswith(".state.safetensors") and state_path(p).exists()]

    def save(self, images: int, card: checkpoint.Card, raw: Mapping[str, Tensor], ema: Mapping[str, Tensor]) -> Path:
        """Write the weights of a checkpoint (its state file comes first, so that a checkpoint seen is complete)."""
        path = self.checkpoint(images)
        checkpoint.save(path, card, raw=raw, ema=ema)
        return path

    def save_state(self, images: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        checkpoint.write_tensors(state_path(self.checkpoint(images)), tensors, {"state": json.dumps(state)})

    def prune(self, keep: int) -> None:
        """Delete all but the `keep` newest checkpoints; milestones stay."""
        for path in self.checkpoints()[:-keep]:
            path.unlink()
            state_path(path).unlink()

    def remove_leftovers(self) -> None:
        """Delete temporary files that a killed run left behind."""
        for leftover in self.path.glob("**/.*.tmp"):
            leftover.unlink()

    def start_log(self, upto_images: int) -> None:
        """Make `log.csv` end at `upto_images`, dropping rows that a resumed run will write again."""
        rows: list[list[str]] = []
        if self.log_file.exists():
            with open(self.log_file, newline="") as file:
                rows = [r for r in csv.reader(file) if r and r[0].isdigit() and int(r[0]) <= upto_images]
        with atomic_path(self.log_file) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([LOG_COLUMNS, *rows])

    def append_log(self, row: Mapping[str, Any]) -> None:
        with open(self.log_file, "a", newline="") as file:
            csv.writer(file).writerow([row[column] for column in LOG_COLUMNS])

    def require_new(self) -> None:
        """Raise UserError if the folder already holds a run."""
        if self.checkpoints():
            raise UserError(
                f"{self.path}: holds a run already (newest: {self.checkpoints()[-1].name}). "
                "Add --resume to go on with it, or name another --out."
            )


def state_path(path: Path) -> Path:
    """The state file that belongs to a checkpoint."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".state.safetensors")
