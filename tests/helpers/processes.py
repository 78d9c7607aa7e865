"""What the tests of several processes run under torchrun: `processes.py FOLDER SCENARIO...`.

A scenario is a function of the world and a folder; what it returns is left in `FOLDER/SCENARIO.RANK.json`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from small_model import Pixels, small_card, small_model
from torch import Tensor, nn
from training_runs import CONFIG, Net, plain, run
from tyro.conf import Positional

sys.path.append(str(Path(__file__).parent))
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.downstream.command import DownstreamOptions
from benchmarks.downstream.command import run as downstream
from dbae.data import TrainingStream
from dbae.losses import bridge_loss
from dbae.model import DBAE
from dbae.noise import PerImageNoise
from dbae.support import cli, distributed
from dbae.support.distributed import World
from dbae.support.errors import UserError
from dbae.train import objective as dbae_objective
from dbae.training.loop import fit

Found = dict[str, Any]


# --- what is trained and measured -------------------------------------------------------------------------------------


class Watched(Pixels):
    """Pixels that remember which of them were read; reading number `broken_at` fails."""

    def __init__(self, broken_at: int | None = None) -> None:
        super().__init__()
        self.read: list[int] = []
        self.broken_at = broken_at

    def image(self, index: int) -> np.ndarray:
        self.read.append(int(index))
        if len(self.read) == self.broken_at:
            raise UserError(f"image {index} is broken")
        return super().image(index)


class Partly(nn.Module):
    """Two parameters, of which the objective `partly_used` reaches one."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))


def partly_used(model: Partly, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
    error = (x0 * model.used - 1).square().mean((1, 2, 3))
    return SimpleNamespace(loss=error, mse=error.detach())


def per_image(model: DBAE, x0: Tensor, generator: torch.Generator) -> Any:
    """DBAE's objective with time and noise a function of the image, and the decoder's batch norm in evaluation mode.

    The mean over a batch is then the same wherever the batch is cut.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    keys = [int(key) for key in (x0.double().sum((1, 2, 3)) * 1000).round().abs()]
    t = torch.tensor([0.1 + 0.8 * (key % 97) / 97 for key in keys])
    return bridge_loss(model, x0, t, noise=PerImageNoise(0, keys))


def train_net(out: Path, objective: Callable[..., Any] = plain, model: nn.Module | None = None, **options: Any) -> Any:
    """10 steps of 8 images."""
    return run(out, objective=objective, model=model or Net(), flip=False, channels_last=False, **options)[0]


def train_dbae(out: Path, objective: Callable[..., Any] = per_image, **options: Any) -> DBAE:
    """5 steps of 8 images."""
    model = small_model()
    options = dict(images=40, lr=1e-3, flip=False, save_every=1000) | options
    run(out, objective=objective, model=model, card=small_card(model), **options)
    return model


def watching(seen: list[float]) -> Callable[..., Any]:
    """DBAE's objective, which notes a running mean of batch norm before it is updated."""

    def objective(model: DBAE, x0: Tensor, generator: torch.Generator) -> Any:
        norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
        assert norm.running_mean is not None
        seen.append(norm.running_mean.double().sum().item())
        return dbae_objective(model, x0, generator)

    return objective


def terminated_at(step: int, rank: int) -> Callable[..., Any]:
    """`plain`, but process `rank` receives SIGTERM in one step."""
    calls: list[None] = []

    def objective(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
        calls.append(None)
        if len(calls) == step and distributed.rank() == rank:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(model, x0, generator)

    return objective


def measure_downstream(folder: Path, model: TinyModel | None = None, **options: Any) -> None:
    """The benchmark on small stand-ins."""
    os.environ["DBAE_CACHE"] = str(folder / "cache")
    loaded, squares = FakeLoaded(model or TinyModel()), Squares()
    chosen = dict(ckpt=("tiny",), data=("squares",), out=folder / "downstream.csv", batch_size=8, device="cpu")
    chosen |= dict(protocol=("paper",), seeds=(0, 1))
    downstream(DownstreamOptions(**chosen | options), lambda _: loaded, lambda _, size: squares)  # type: ignore[arg-type]


# --- scenarios --------------------------------------------------------------------------------------------------------


def sharing(world: World, folder: Path) -> Found:
    mine = world.share(np.arange(11) * 10, block=4)
    return {
        "share": mine.tolist(),
        "gathered": world.gather({"a": np.stack([mine, mine + 1], axis=1)})["a"].tolist(),
        "collected": world.collect("x" * (world.rank + 1)),
        "broadcast": world.broadcast(world.rank),
        "any": [world.any(world.rank == 1), world.any(False)],
        "mean": world.mean(torch.tensor([1.0, 3.0]) * world.rank).tolist(),
    }


def training(world: World, folder: Path) -> Found:
    """Parameters of every run, and the running mean of batch norm at every step of one."""
    seen: list[float] = []
    train_dbae(folder / "resumed", dbae_objective, images=24)
    models = {
        "plain": train_net(folder / "plain"),
        "accumulated": train_net(folder / "accumulated", accumulate=4),
        "partly": train_net(folder / "partly", partly_used, Partly()),
        "per image": train_dbae(folder / "per image"),
        "scaled": train_dbae(folder / "scaled", precision="fp16", clip_grad=0.5, accumulate=4),
        "dbae": train_dbae(folder / "dbae", watching(seen)),
        "resumed": train_dbae(folder / "resumed", dbae_objective, resume=True),
        "terminated": train_net(folder / "terminated", terminated_at(3, rank=1)),
    }
    found = {name: torch.cat([p.flatten() for p in model.parameters()]).tolist() for name, model in models.items()}
    return found | {"running mean": seen}


def reading(world: World, folder: Path) -> Found:
    """Which images are read in two steps of 8; the next batch is read before it turns out not to be needed."""
    data, model = Watched(), small_model()
    config = dataclasses.replace(CONFIG, images=16)
    fit(model, per_image, TrainingStream(data, np.arange(24), 8, seed=0), config, folder / "reading", small_card(model))
    return {"read": data.read}


def benchmark(world: World, folder: Path) -> Found:
    """A benchmark in two runs, of which the second finds the rows of one of two seeds."""
    first, second = TinyModel(), TinyModel()
    measure_downstream(folder, first, seeds=(0,))
    measure_downstream(folder, second)
    return {"encoded": first.calls, "encoded again": second.calls}


def unreadable(world: World, folder: Path) -> Found:
    """Rank 1 cannot read an image of step 4; every step saves."""
    data, model = Watched(broken_at=14 if world.rank == 1 else None), small_model()
    stream = TrainingStream(data, np.arange(24), 8, seed=0)
    fit(model, per_image, stream, dataclasses.replace(CONFIG, save_every=8), folder / "run", small_card(model))
    return {}


def killed(world: World, folder: Path) -> Found:
    """Rank 1 is killed while it encodes its second batch."""
    model = TinyModel()
    if world.rank == 1:
        encode = model.posterior

        def posterior(x: Tensor) -> tuple[Tensor, Tensor | None]:
            if model.calls == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(x)

        model.posterior = posterior  # type: ignore[method-assign]
    measure_downstream(folder, model)
    return {}


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    folder: Positional[Path]
    """Where results go."""
    scenarios: Positional[tuple[str, ...]]
    """Functions of this module."""


def main(options: Options) -> None:
    torch.set_num_threads(1)
    world = distributed.world(torch.device("cpu"))
    for name in options.scenarios:
        found = globals()[name](world, options.folder)
        (options.folder / f"{name}.{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="processes", description=__doc__))
