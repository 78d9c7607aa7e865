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
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dbae import checkpoint
from dbae.cli import device
from dbae.data.loader import TrainingStream
from dbae.ema import EMA
from dbae.errors import UserError
from dbae.images import to_float
from dbae.noise import mixed_seed
from dbae.runfolder import RunFolder, state_path

Precision = Literal["fp32", "bf16", "fp16"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Options of training. The defaults are the paper's.

    Attributes:
        images: how many images to train on, repetitions counted.
        batch_size: images an optimiser step.
        accumulate: micro-batches a step; batch norm sees one of them at a time (the reference's hold 32).
        lr: learning rate of RAdam, constant.
        ema_rate: see `dbae.ema.EMA`.
        ema_warmup: see `dbae.ema.EMA`.
        precision: of the networks, by autocast; parameters stay float32.
        clip_grad: largest gradient norm; None leaves gradients alone, as the reference does.
        flip: mirror training images left-right with probability 1/2.
        seed: of initial weights, data order and noise.
        workers: processes that read images.
        log_every: steps between rows of the log.
        save_every: images between checkpoints.
        preview_every: images between pictures of reconstructions.
        milestone_every: images between snapshots that are kept for ever.
        keep: checkpoints kept beside the milestones.
        channels_last: memory layout of images and weights; the faster one on CPU and GPU alike.
        tensorboard: write event files too (needs the `tensorboard` package).
        device: "auto" takes a GPU if there is one.
    """

    images: int = 130_000_000
    batch_size: int = 128
    accumulate: int = 4
    lr: float = 1e-4
    ema_rate: float = 0.9999
    ema_warmup: bool = False
    precision: Precision = "fp32"
    clip_grad: float | None = None
    flip: bool = True
    seed: int = 0
    workers: int = 0
    log_every: int = 50
    save_every: int = 1_280_000
    preview_every: int = 1_280_000
    milestone_every: int = 10_000_000
    keep: int = 2
    channels_last: bool = True
    tensorboard: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise UserError(
                f"expected a batch size that {self.accumulate} micro-batches share evenly, found {self.batch_size}; "
                "change --batch-size or --accumulate."
            )


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
        self.folder.remove_leftovers()
        found = self.folder.checkpoints()
        if not resume:
            self.folder.require_new()
        elif found:
            self._restore(found[-1])
        self.folder.start_log(self.images)
        if self.config.tensorboard:
            self.writer = _summary_writer(self.folder.path)
        self.bar = tqdm(total=self.config.images, initial=self.images, unit="img", unit_scale=True, desc="training")
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
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.precision, torch.bfloat16)
        with torch.autocast(self.device.type, low, enabled=self.config.precision != "fp32"):
            result = self.objective(self.model, x0, generator)
        loss = result.loss.mean() / self.config.accumulate
        self.scaler.scale(loss).backward()
        self.sums[0] += loss.detach()
        self.sums[1] += result.mse.mean() / self.config.accumulate

    def _log(self) -> None:
        """Write a row of means since the last one, and stop if the loss is no longer finite."""
        steps, seconds = self.step - self.logged_step, time.perf_counter() - self.clock
        loss, mse, grad_norm = (self.sums / steps).tolist()
        rate = steps * self.config.batch_size / seconds
        self._require_finite(loss)
        row = {"images": self.images, "step": self.step, "loss": loss, "mse": mse, "grad_norm": grad_norm}
        self.folder.append_log(row | {"images_per_second": round(rate, 1), "seconds": round(seconds, 2)})
        self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} img/s")
        if self.writer:
            for key in ("loss", "mse", "grad_norm"):
                self.writer.add_scalar(key, row[key], self.images)
        self.sums.zero_()
        self.clock, self.logged_step = time.perf_counter(), self.step

    def _require_finite(self, loss: float) -> None:
        if loss - loss == 0:
            return
        good = self.folder.checkpoints()
        where = (
            f"The last good checkpoint is {good[-1]}; --resume goes on from it" if good else "No checkpoint was saved"
        )
        raise UserError(
            f"the training loss became {loss} between step {self.logged_step} and {self.step}. {where}; "
            "a smaller --lr, --clip-grad 1 or --precision fp32 usually helps."
        )

    def save(self) -> Path:
        """Write a checkpoint of this step, if it has none yet, and prune the old ones."""
        path = self.folder.checkpoint(self.images)
        if path not in self.folder.checkpoints():
            if self.step > self.logged_step:
                self._require_finite(float(self.sums[0]))
            self.folder.save_state(self.images, *_flatten(self.optimizer.state_dict(), self.step, self.scaler))
            path = self.folder.save(self.images, self.current_card(), self.model.state_dict(), self.ema.state_dict())
            self.folder.prune(self.config.keep)
        return path

    def save_milestone(self) -> None:
        path = self.folder.milestone(self.images)
        checkpoint.save(path, self.current_card(), ema=self.ema.state_dict())

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
        optimizer_tensors, state = checkpoint.read_tensors(state_path(path), "state")
        self.optimizer.load_state_dict(_unflatten(optimizer_tensors, state))
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]

    def _require_same_run(self, path: Path, values: dict[str, Any]) -> None:
        """A resumed run may train longer or save more often; model, data, batch and seed must be the same."""
        fixed = ("batch_size", "accumulate", "seed", "flip", "lr", "ema_rate", "ema_warmup", "precision")
        now = dataclasses.asdict(self.config)
        differ = [
            f"{k} was {values['training'].get(k)}, is {now[k]}" for k in fixed if values["training"].get(k) != now[k]
        ]
        differ += ["another model configuration"] * (values["config"] != _as_json(self.card.config))
        differ += ["other training data"] * (values["train_data"] != _as_json(self.card.train_data))
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
        live = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        trainer.model.load_state_dict(trainer.ema.state_dict())
        preview(trainer.model.eval(), trainer.folder.preview(trainer.images))
        trainer.model.load_state_dict(live)
        trainer.model.train()


def _flatten(state: dict[str, Any], step: int, scaler: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimiser state as named tensors and JSON values."""
    tensors = {f"{i}.{key}": value for i, entry in state["state"].items() for key, value in entry.items()}
    return tensors, {"step": step, "groups": state["param_groups"], "scaler": scaler.state_dict()}


def _unflatten(tensors: dict[str, Tensor], values: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = [group | {"betas": tuple(group["betas"])} for group in values["groups"]]
    return {"state": state, "param_groups": groups}


def _as_json(value: Any) -> Any:
    """What `value` looks like after a round trip through JSON (tuples become lists)."""
    if isinstance(value, dict):
        return {k: _as_json(v) for k, v in value.items()}
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value


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
