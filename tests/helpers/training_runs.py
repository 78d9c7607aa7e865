"""A network of a few numbers and short training runs of it."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from small_model import Pixels
from torch import Tensor, nn

from dbae.checkpoints.own import Card
from dbae.data import TrainingStream
from dbae.training.config import TrainConfig
from dbae.training.loop import fit

CONFIG = TrainConfig(
    images=80, batch_size=8, accumulate=1, lr=1e-2, log_every=2, save_every=32, preview_every=32, milestone_every=40
)


class Net(nn.Module):
    """A linear map with dropout: training needs the generator's state at every step."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, 1, 1, generator=generator))
        self.dropout = nn.Dropout(0.5)


def denoising(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
    noisy = x0 + torch.randn(x0.shape, generator=generator)
    error = (nn.functional.conv2d(model.dropout(noisy), model.weight) - x0).square().mean((1, 2, 3))
    return SimpleNamespace(loss=error, mse=error.detach())


def plain(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
    """Without noise and dropout, so that a batch may be cut anywhere."""
    error = (nn.functional.conv2d(x0, model.weight) - 1).square().mean((1, 2, 3))
    return SimpleNamespace(loss=error, mse=error.detach())


def breaks_at(step: int, how: str) -> Callable[..., SimpleNamespace]:
    """`plain`, but one step has a loss or a gradient that is not finite."""
    calls = []

    def objective(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
        calls.append(None)
        result = plain(model, x0, generator)
        if len(calls) == step:
            zero = (model.weight * 0).abs().sum()
            result.loss = result.loss + (zero.sqrt() if how == "gradient" else zero + float(how))
        return result

    return objective


def run(
    out: Path, *, objective: Callable[..., Any] = denoising, model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, Path]:
    """A run of `CONFIG` with other options; gives the model and the last checkpoint."""
    resume, preview = options.pop("resume", False), options.pop("preview", None)
    card = options.pop("card", Card(method="net", name="net", config={"sizes": (3, 3)}))
    config = dataclasses.replace(CONFIG, **options)
    model = model or Net()
    stream = TrainingStream(Pixels(), np.arange(24), config.batch_size, seed=config.seed, flip=config.flip)
    return model, fit(model, objective, stream, config, out, card, preview=preview, resume=resume)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))
