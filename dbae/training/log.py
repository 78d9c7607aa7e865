"""What a training run says of itself: log.csv, the progress bar, TensorBoard. Several processes speak as one."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from dbae.support.distributed import World
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder


class TrainingLog:
    """Means over the steps since the last row, and over processes.

    Attributes:
        sums: of loss, mse and gradient norm over the steps since the last row, on this process; to be added to.
        logged_step: step of the last row; timed_step: that from which this process has the time.
    """

    def __init__(self, folder: RunFolder, config: TrainConfig, world: World, device: torch.device) -> None:
        self.folder, self.config, self.world = folder, config, world
        self.sums = torch.zeros(3, device=device)
        self.bar: Any = None
        self.writer: Any = None

    def start(self, step: int) -> None:
        """Begin after `step` steps: 0, or those of the run that is resumed."""
        done = step * self.config.batch_size
        if self.world.is_main:
            self.folder.start_log(self.logged_step * self.config.batch_size)
            if self.config.tensorboard:
                self.writer = _summary_writer(self.folder.path)
        self.bar = progress_bar(self.config.images, "training", done=done)
        self.clock, self.timed_step = time.perf_counter(), step

    def state(self) -> dict[str, Any]:
        """What a checkpoint between two rows has to keep; to be asked for on all processes."""
        return {"step": self.logged_step, "totals": self.totals()}

    def restore(self, state: dict[str, Any] | None, step: int) -> None:
        """Go on from a `state`; None (checkpoints of old) begins a row at `step`."""
        self.logged_step = step if state is None else state["step"]
        self.sums.copy_(torch.zeros(3) if state is None else torch.tensor(state["totals"]))

    def totals(self) -> list[float]:
        """Sums of loss, mse and gradient norm since the last row, means over processes."""
        return self.world.mean(self.sums).tolist()

    def write(self, step: int) -> None:
        """Write a row."""
        steps, seconds = step - self.logged_step, time.perf_counter() - self.clock
        images = (step - self.timed_step) * self.config.batch_size
        rate = images / seconds if seconds > 0 else math.nan  # a clock may stand
        means = dict(zip(("loss", "mse", "grad_norm"), (total / steps for total in self.totals()), strict=True))
        if self.world.is_main:
            self._row(step, means, rate, seconds)
        self.sums.zero_()
        self.clock, self.logged_step, self.timed_step = time.perf_counter(), step, step

    def finish(self, step: int) -> None:
        """Write a row of the steps since the last one. A resumed run takes it back: the checkpoint has their sums."""
        if step > self.logged_step:
            self.write(step)

    def _row(self, step: int, means: dict[str, float], rate: float, seconds: float) -> None:
        images, loss = step * self.config.batch_size, means["loss"]
        about = {"images_per_second": round(rate, 1), "seconds": round(seconds, 2)}
        self.folder.append_log({"images": images, "step": step} | means | about)
        self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} img/s")
        if self.writer:
            for key, value in means.items():
                self.writer.add_scalar(key, value, images)

    def close(self) -> None:
        """Close the bar and TensorBoard's file."""
        self.bar.close()
        if self.writer:
            self.writer.close()


def _summary_writer(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs the package: pip install tensorboard") from error
    return SummaryWriter(str(path))
