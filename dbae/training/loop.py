"""The training loop, the same for every method.

One optimiser step: gradients of `accumulate` micro-batches are averaged, clipped if asked, applied; then the
EMA follows. All randomness of step k comes from a generator seeded by (seed, k) and batches are a function of
(seed, k), so a resumed run is the same run, bit for bit on one CPU.

Of several processes (`dbae.support.distributed`), each takes its part of every batch and of its micro-batches, with a
generator seeded by (seed, k, rank); gradients are averaged over them. Batch norm sees the micro-batches of one process;
its running statistics are those of rank 0, which all processes take over at the start of a step. Rank 0 writes all
files.

DEVIATION: DBAE's reference sums the gradients of its micro-batches; RAdam is invariant to that factor but for eps and
its first, unadapted steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dbae.checkpoints import own as checkpoint
from dbae.images import to_device, to_float
from dbae.noise import mixed_seed
from dbae.support.cli import device
from dbae.support.compiling import compile_networks
from dbae.support.distributed import world
from dbae.support.errors import DivergedError
from dbae.support.locking import alone
from dbae.support.precision import Precision, autocast
from dbae.support.stopping import sigterm
from dbae.training import precision
from dbae.training.config import TrainConfig
from dbae.training.ema import EMA
from dbae.training.folder import RunFolder, require_same_run, resuming
from dbae.training.log import TrainingLog
from dbae.training.objective import Losses, Objective, Stream, reaches_all

log = logging.getLogger(__name__)

AGREE_EVERY = 5
"""Steps after which several processes ask each other for a SIGTERM: once a step would make a GPU wait."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "radam": torch.optim.RAdam,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def fit(
    model: nn.Module,
    objective: Objective,
    stream: Stream,
    config: TrainConfig,
    out: Path,
    card: checkpoint.Card,
    *,
    prepare: Callable[[Tensor], Tensor] = to_float,
    preview: Callable[[Any, Path], None] | None = None,
    resume: bool = False,
) -> Path:
    """Train `model` and return the path of its last checkpoint.

    SIGTERM ends training as if it were done: the state is saved and the function returns. Of several processes, it
    ends all of them, whichever receives it.

    Args:
        objective: see `Objective`.
        stream: training batches of `config.batch_size`.
        out: folder of the run (`dbae.training.folder`).
        card: describes the model; images seen are filled in.
        prepare: from a micro-batch of the stream, on its device, to what the objective takes.
        preview: writes a picture of what the (EMA) model does to the path it is given.
        resume: go on from the newest checkpoint in `out`, if there is one.

    Raises:
        DivergedError: the loss becomes NaN or infinite (names the last good checkpoint).
        UserError: another process is at work in `out`; it holds a run and `resume` is False; a file cannot be written
            or an image not read; processes cannot share a batch evenly.
    """
    config = precision.decided(config, model, objective, stream, prepare, out, resume=resume)
    trainer = Trainer(model, objective, config, RunFolder(out), card, prepare)
    with contextlib.ExitStack() as stack:
        if trainer.world.is_main:
            stack.enter_context(alone(out))
        trainer.start(resume)
        stack.enter_context(contextlib.closing(trainer.log))
        stopped = stack.enter_context(sigterm())
        batches = stream.batches(trainer.step, rank=trainer.world.rank, size=trainer.world.size)
        for _, images in batches:
            if trainer.images >= config.images or trainer.agree(stopped()):
                break
            trainer.train_step(images)
            _due_files(trainer, preview)
        if hasattr(batches, "close"):
            batches.close()
        saved = trainer.save()
        trainer.log.finish(trainer.step)
    ended = "" if trainer.images >= config.images else f" of {config.images}: stopped by a signal, --resume goes on"
    log.info("%s: the checkpoint after %d images%s", saved, trainer.images, ended)  # below the bar, which is closed
    return saved


class Trainer:
    """State of a run between two steps: model, EMA, optimiser, step number, log."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: TrainConfig,
        folder: RunFolder,
        card: checkpoint.Card,
        prepare: Callable[[Tensor], Tensor] = to_float,
    ) -> None:
        self.config, self.folder, self.card, self.prepare = config, folder, card, prepare
        if config.precision == "auto":
            raise ValueError("the precision has to be decided first, by `dbae.training.precision.decided`")
        self.precision: Precision = config.precision
        self.device = device(config.device)
        self.world = world(self.device)
        self.micro_batches = config.micro_batches(self.world.size)
        self.format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model = model.to(self.device).to(memory_format=self.format).train()  # type: ignore[call-overload]
        if config.compile:
            compile_networks(self.model)
        self.losses: nn.Module = Losses(self.model, objective)
        self.joined = self.world.size == 1
        self.ema = EMA(self.model, config.ema_rate, warmup=config.ema_warmup)
        # One pass over weights and averages where PyTorch has it, which for RAdam it has not.
        kernel = "foreach" if config.optimizer == "radam" else "fused"
        options = {"lr": config.lr, "weight_decay": config.weight_decay, kernel: True}
        self.optimizer = OPTIMIZERS[config.optimizer](self.model.parameters(), **options)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.step, self.saved = 0, -1
        self.processes_before: list[int] = []  # other numbers of them that parts of this run had
        self.log = TrainingLog(folder, config, self.world, self.device)

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.config.batch_size

    def start(self, resume: bool) -> None:
        """Prepare the folder, or take up the newest checkpoint in it."""
        self.folder.require_usable(resume=resume)
        if self.world.is_main:
            self.folder.remove_leftovers()
        self.log.restore(None, 0)
        for newest in self.world.broadcast(self.folder.checkpoints()[-1:]):
            with resuming(newest):
                self._restore(newest)
        self.log.start(self.step)

    def train_step(self, images: Tensor) -> None:
        """One optimiser step on the part of a batch of the stream that this process has."""
        rank = (self.world.rank,) if self.world.rank else ()  # a trailing 0 would change no seed
        seed = mixed_seed(self.config.seed, "step", self.step, *rank)
        generator = torch.Generator(self.device).manual_seed(seed)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # dropout masks come from the global generators
            *parts, last = to_device(images, self.device).chunk(self.micro_batches)
            if not self.joined:
                self._join(last)
            torch.manual_seed(seed)
            with self.world.unsynchronised(self.losses):
                for part in parts:
                    self._backward(part, generator)
            self._backward(last, generator)
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_grad or float("inf")
        self.log.sums[2] += nn.utils.clip_grad_norm_(self.model.parameters(), limit).detach()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(self.images)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.step)
        self.log.bar.update(self.config.batch_size)
        if self.step % self.config.log_every == 0:
            self.require_finite()
            self.log.write(self.step)

    def _join(self, images: Tensor) -> None:
        """From now on gradients are averaged over processes."""
        assert isinstance(self.losses, Losses)
        with autocast(self.device, self.precision):
            generator = torch.Generator(self.device).manual_seed(0)
            unused = not reaches_all(self.losses, self._prepared(images), generator)
        self.losses, self.joined = self.world.parallel(self.losses, unused=self.world.any(unused)), True

    def _prepared(self, images: Tensor) -> Tensor:
        return self.prepare(images).contiguous(memory_format=self.format)

    def _backward(self, images: Tensor, generator: torch.Generator) -> None:
        x0 = self._prepared(images)
        with autocast(self.device, self.precision):
            losses, mse = self.losses(x0, generator)
        loss = losses.mean() / self.micro_batches
        self.scaler.scale(loss).backward()
        self.log.sums[0] += loss.detach()
        self.log.sums[1] += mse.mean() / self.micro_batches

    def require_finite(self) -> None:
        """Raise DivergedError unless loss and gradients that were applied were finite since the last log row."""
        loss, _, grad_norm = self.log.totals()
        if math.isfinite(loss) and (math.isfinite(grad_norm) or self.scaler.is_enabled()):
            return  # with fp16 the scaler leaves out steps whose gradient overflows
        good = self.folder.checkpoints()
        raise DivergedError(
            "the training loss or its gradient became NaN or infinite in steps "
            f"{self.log.logged_step + 1} to {self.step}. "
            + (f"The last good checkpoint is {good[-1]}. " if good else "No checkpoint was saved. ")
            + "Training with a smaller --lr"
            + (" or --clip-grad 1" if self.precision == "fp32" else ", --clip-grad 1 or --precision fp32")
            + " usually helps."
        )

    def save(self) -> Path:
        """Write a checkpoint of this step, if it has none yet, and prune the old ones."""
        if self.saved != self.step:
            self.require_finite()
            about_log = self.log.state()
            if self.world.is_main:
                state = {"step": self.step, "scaler": self.scaler.state_dict(), "log": about_log}
                self.folder.save_state(self.images, self.optimizer.state_dict(), state)
                self.folder.save(self.images, self.current_card(), self.model.state_dict(), self.ema.state_dict())
                self.folder.prune(self.config.keep)
            self.saved = self.step
        return self.folder.checkpoint(self.images)

    def save_milestone(self) -> None:
        """Write a snapshot of the averaged weights that is never pruned."""
        self.require_finite()
        if self.world.is_main:
            checkpoint.save(self.folder.milestone(self.images), self.current_card(), ema=self.ema.state_dict())

    def agree(self, stopped: bool) -> bool:
        """Whether to stop because some process received SIGTERM: the same answer on all of them."""
        if self.world.size > 1 and self.step % AGREE_EVERY:
            return False
        return self.world.any(stopped)

    def current_card(self) -> checkpoint.Card:
        """The card with images seen, options and processes as they are now."""
        training = dataclasses.asdict(self.config)
        if self.processes_before:
            training["processes_before"] = self.processes_before
        return dataclasses.replace(self.card, images_seen=self.images, training=training, processes=self.world.size)

    def _restore(self, path: Path) -> None:
        tensors, values = checkpoint.read_tensors(path, "card")
        require_same_run(path, values, self.current_card())
        self.processes_before = list(values["training"].get("processes_before", []))
        if (before := values.get("processes", 1)) != self.world.size:
            self.processes_before.append(before)
            log.warning("%s: trained by %d processes, goes on with %d and other noise", path, before, self.world.size)
        targets: dict[str, nn.Module | EMA] = {"raw.": self.model, "ema.": self.ema}
        for prefix, target in targets.items():
            target.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        optimizer, state = self.folder.load_state(path)
        self.optimizer.load_state_dict(optimizer)
        for parameter, averages in self.optimizer.state.items():  # in the layout of the weights, as in an unbroken run
            averages |= {k: torch.empty_like(parameter).copy_(v) for k, v in averages.items() if v.ndim}
        self.scaler.load_state_dict(state["scaler"])
        self.step = self.saved = state["step"]
        self.log.restore(state.get("log"), self.step)


def _due_files(trainer: Trainer, preview: Callable[[Any, Path], None] | None) -> None:
    """Milestone, picture and checkpoint, each where its interval was just completed.

    The checkpoint comes last: a run killed before it makes the others again.
    """

    def due(every: int) -> bool:
        return trainer.images // every > (trainer.images - trainer.config.batch_size) // every

    if due(trainer.config.milestone_every):
        trainer.save_milestone()
    if preview and trainer.world.is_main and due(min(trainer.config.preview_every, trainer.config.end)):
        with trainer.ema.applied():
            preview(trainer.model.eval(), trainer.folder.preview(trainer.images))
        trainer.model.train()
    if due(trainer.config.save_every):
        trainer.save()
