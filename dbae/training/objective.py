"""What a method gives the training loop: an objective, and the batches it is computed on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Loss(Protocol):
    """Per-image results of an objective: `loss` has a gradient, `mse` is for the log."""

    @property
    def loss(self) -> Tensor:
        """(b,), with a gradient."""

    @property
    def mse(self) -> Tensor:
        """(b,), without."""


@runtime_checkable
class Stream(Protocol):
    """Training batches without end, each a function of its number (`dbae.data.TrainingStream` is one)."""

    def batches(self, start: int = 0, *, rank: int = 0, size: int = 1) -> Iterator[tuple[Any, Tensor]]:
        """(anything, tensor) of batches `start`, `start + 1`, ...: the part that process `rank` of `size` has."""
        ...


Objective = Callable[[Any, Tensor, torch.Generator], Loss]
"""(model, x0 float32 (b, 3, s, s) in [-1, 1], generator on the device of x0) -> losses of the b images. Where training
is not on images, x0 is what `prepare` of `fit` gives. Which weights the loss depends on is the same in every step."""


class Losses(nn.Module):
    """(x0, generator) -> loss (b,) and mse (b,): an objective as a module, which is what can be run in parallel."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """loss (b,) and mse (b,) of images x0."""
        result = self.objective(self.model, x0, generator)
        return result.loss, result.mse


def reaches_all(losses: Losses, x0: Tensor, generator: torch.Generator) -> bool:
    """Whether the loss depends on every weight that has a gradient.

    Tried on a copy of the model: weights, running statistics and counters stay as they are.
    """
    trial = copy.deepcopy(losses.model)
    loss = losses.objective(trial, x0, generator).loss
    found, left, seen = set(), [loss.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(getattr(node, "variable", None))  # of the nodes where a weight's gradient arrives
            left += [before for before, _ in node.next_functions]
    return found >= {weight for weight in trial.parameters() if weight.requires_grad}
