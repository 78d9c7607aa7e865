"""The training loop, the same for every method.

One optimiser step: gradients of `accumulate` micro-batches are averaged, clipped if asked, applied by RAdam; then the
EMA follows. All randomness of step k comes from a generator seeded by (seed, k) and batches are a function of
(seed, k), so a resumed run is the same run, bit for bit on one CPU.

DEVIATION: the reference sums the gradients of its micro-batches; RAdam is invariant to that factor but for eps and
its first, unadapted steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dbae import checkpoint
from dbae.cli import device
from dbae.data.loader import TrainingStream
from dbae.ema import EMA
from dbae.errors import UserError
from dbae.images import to_float
from dbae.noise import mixed_seed
from dbae.precision import autocast
from dbae.progress import progress_bar
from dbae.runfolder import RunFolder
from dbae.train_config import TrainConfig

__all__ = ["Loss", "Objective", "TrainConfig", "Trainer", "fit"]

log = logging.getLogger(__name__)


class Loss(Protocol):
    """Per-image results of an objective: `loss` has a gradient, `mse` is for the log."""

    @property
    def loss(self) -> Tensor: ...

    @property
    def mse(self) -> Tensor: ...


Objective = Callable[[Any, Tensor, torch.Generator], Loss]
"""(model, x0 float32 (b, 3, s, s) in [-1, 1], generator on the device of x0) -> losses of the b images."""


def fit(
    model: nn.Module,
    objective: Objective,
    stream: TrainingStream,
    config: TrainConfig,
    out: Path,
    card: checkpoint.Card,
    *,
    preview: Callable[[Any, Path], None] | None = None,
    resume: bool = False,
) -> Path:
    """Train `model` and return the path of its last checkpoint.

    SIGTERM ends training as if it were done: the state is saved and the function returns.

    Args:
        objective: see `Objective`.
        stream: training batches of `config.batch_size`.
        out: folder of the run (`dbae.runfolder`).
        card: describes the model; images seen are filled in.
        preview: writes a picture of what the (EMA) model does to the path it is given.
        resume: go on from the newest checkpoint in `out`, if there is one.

    Raises:
        UserError: `out` holds a run and `resume` is False; the loss becomes NaN or infinite (names the last good
            checkpoint); a file cannot be written or an image not read.
    """
    trainer = Trainer(model, objective, config, RunFolder(out), card)
    trainer.start(resume)
    with _sigterm() as stopped, contextlib.closing(trainer):
        batches = stream.batches(trainer.step)
        for _, images in batches:
            if trainer.images >= config.images or stopped():
                break
            trainer.train_step(images)
            _due_files(trainer, preview)
        if hasattr(batches, "close"):
            batches.close()
        return trainer.save()


class Trainer:
    """State of a run between two steps: model, EMA, optimiser, step number, log."""

    def __init__(
        self, model: nn.Module, objective: Objective, config: TrainConfig, folder: RunFolder, card: checkpoint.Card
    ) -> None:
        self.objective, self.config, self.folder, self.card = objective, config, folder, card
        self.device = device(config.device)
        self.format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = model.to(self.device).to(memory_format=self.format).train()  # type: ignore[call-overload]
        self.ema = EMA(self.model, config.ema_rate, warmup=config.ema_warmup)
        self.optimizer = torch.optim.RAdam(self.model.parameters(), lr=config.lr, foreach=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.step = 0
        self.sums = torch.zeros(3, device=self.device)  # loss, mse, gradient norm since the last log row
        self.bar: Any = None
        self.writer: Any = None

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.config.batch_size

    def start(self, resume: bool) -> None:
        """Prepare the folder, or take up the newest checkpoint in it."""
        if not resume:
            self.folder.require_new()
        self.folder.remove_leftovers()
        if found := self.folder.checkpoints():
            self._restore(found[-1])
        self.folder.start_log(self.images)
        if self.config.tensorboard:
            self.writer = _summary_writer(self.folder.path)
        self.bar = progress_bar(self.config.images, "training", done=self.images)
        self.clock, self.logged_step = time.perf_counter(), self.step

    def train_step(self, images: Tensor) -> None:
        """One optimiser step on uint8 images (b, 3, s, s)."""
        seed = mixed_seed(self.config.seed, "step", self.step)
        generator = torch.Generator(self.device).manual_seed(seed)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # dropout masks come from the global generators
            torch.manual_seed(seed)
            for part in images.to(self.device, non_blocking=True).chunk(self.config.accumulate):
                self._backward(to_float(part).contiguous(memory_format=self.format), generator)
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_grad or float("inf")
        self.sums[2] += nn.utils.clip_grad_norm_(self.model.parameters(), limit).detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.step)
        self.bar.update(self.config.batch_size)
        if self.step % self.config.log_every == 0:
            self._log()

    def _backward(self, x0: Tensor, generator: torch.Generator) -> None:
        with autocast(self.device, self.config.precision):
            result = self.objective(self.model, x0, generator)
        loss = result.loss.mean() / self.config.accumulate
        self.scaler.scale(loss).backward()
        self.sums[0] += loss.detach()
        self.sums[1] += result.mse.mean() / self.config.accumulate

    def _log(self) -> None:
        """Write a row of means since the last one, and stop if the loss is no longer finite."""
        steps, seconds = self.step - self.logged_step, time.perf_counter() - self.clock
        self.require_finite()
        loss, mse, grad_norm = (self.sums / steps).tolist()
        rate = steps * self.config.batch_size / seconds
        row = {"images": self.images, "step": self.step, "loss": loss, "mse": mse, "grad_norm": grad_norm}
        self.folder.append_log(row | {"images_per_second": round(rate, 1), "seconds": round(seconds, 2)})
        self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} img/s")
        if self.bar.disable:
            log.info("%d of %d images, loss %.4f, %.0f img/s", self.images, self.config.images, loss, rate)
        if self.writer:
            for key in ("loss", "mse", "grad_norm"):
                self.writer.add_scalar(key, row[key], self.images)
        self.sums.zero_()
        self.clock, self.logged_step = time.perf_counter(), self.step

    def require_finite(self) -> None:
        """Raise UserError if the loss, or a gradient that was applied, has not been finite since the last log row."""
        loss, _, grad_norm = self.sums.tolist()
        if math.isfinite(loss) and (math.isfinite(grad_norm) or self.scaler.is_enabled()):
            return  # with fp16 the scaler leaves out steps whose gradient overflows
        good = self.folder.checkpoints()
        raise UserError(
            f"the training loss or its gradient became NaN or infinite in steps {self.logged_step + 1} to {self.step}. "
            + (f"The last good checkpoint is {good[-1]}. " if good else "No checkpoint was saved. ")
            + "Training with a smaller --lr, --clip-grad 1 or --precision fp32 usually helps."
        )

    def save(self) -> Path:
        """Write a checkpoint of this step, if it has none yet, and prune the old ones."""
        path = self.folder.checkpoint(self.images)
        if path not in self.folder.checkpoints():
            self.require_finite()
            self.folder.save_state(
                self.images, self.optimizer.state_dict(), {"step": self.step, "scaler": self.scaler.state_dict()}
            )
            self.folder.save(self.images, self.current_card(), self.model.state_dict(), self.ema.state_dict())
            self.folder.prune(self.config.keep)
        return path

    def save_milestone(self) -> None:
        """Write a snapshot of the averaged weights that is never pruned."""
        self.require_finite()
        checkpoint.save(self.folder.milestone(self.images), self.current_card(), ema=self.ema.state_dict())

    def current_card(self) -> checkpoint.Card:
        return dataclasses.replace(self.card, images_seen=self.images, training=dataclasses.asdict(self.config))

    def close(self) -> None:
        self.bar.close()
        if self.writer:
            self.writer.close()

    def _restore(self, path: Path) -> None:
        tensors, values = checkpoint.read_tensors(path, "card")
        self._require_same_run(path, values)
        targets: dict[str, nn.Module | EMA] = {"raw.": self.model, "ema.": self.ema}
        for prefix, target in targets.items():
            target.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        optimizer, state = self.folder.load_state(path)
        self.optimizer.load_state_dict(optimizer)
        for parameter, averages in self.optimizer.state.items():  # in the layout of the weights, as in an unbroken run
            averages |= {k: torch.empty_like(parameter).copy_(v) for k, v in averages.items() if v.ndim}
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]

    def _require_same_run(self, path: Path, values: dict[str, Any]) -> None:
        """A resumed run may train longer or save more often; what decides the weights must be the same."""
        fixed = ("batch_size", "accumulate", "lr", "ema_rate", "ema_warmup", "precision", "clip_grad", "flip", "seed")
        now = dataclasses.asdict(self.config)
        differ = [
            f"{k} was {values['training'].get(k)}, is {now[k]}" for k in fixed if values["training"].get(k) != now[k]
        ]
        differ += ["another model configuration"] * (values["config"] != checkpoint.as_json(self.card.config))
        differ += ["other training data"] * (values["train_data"] != checkpoint.as_json(self.card.train_data))
        if differ:
            raise UserError(
                f"{path}: cannot be resumed with these options: {'; '.join(differ)}. "
                "Repeat the options of the first command, or start a new run with another --out."
            )


def _due_files(trainer: Trainer, preview: Callable[[Any, Path], None] | None) -> None:
    """Checkpoint, milestone and picture, each where its interval was just completed."""

    def due(every: int) -> bool:
        return trainer.images // every > (trainer.images - trainer.config.batch_size) // every

    if due(trainer.config.milestone_every):
        trainer.save_milestone()
    if due(trainer.config.save_every):
        trainer.save()
    if preview and due(trainer.config.preview_every):
        with trainer.ema.applied():
            preview(trainer.model.eval(), trainer.folder.preview(trainer.images))
        trainer.model.train()


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM only sets a flag, which the yielded function reads."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    except ValueError:  # not the main thread: leave signals alone
        yield lambda: False
        return
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


def _summary_writer(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs the package: pip install tensorboard") from error
    return SummaryWriter(str(path))
