"""What the loop finds out about an objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import processes
import pytest
import torch
from small_model import narrow_celeba64, small_model
from torch import nn

from dbae.losses import objective
from dbae.model import DBAE
from dbae.training.objective import Losses, reaches_all


def frozen_in_part() -> nn.Module:
    model = processes.Partly()
    model.unused.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "function", "expected"),
    [
        (small_model, objective, True),
        (lambda: DBAE.initialised(narrow_celeba64(8), 0, name="published"), objective, False),
        (processes.Partly, processes.partly_used, False),
        (frozen_in_part, processes.partly_used, True),
    ],
)
def test_weights_that_no_loss_reaches_are_found(model: Callable[[], Any], function: Any, expected: bool) -> None:
    made = model().train()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    x0 = torch.rand(2, 3, getattr(made, "image_size", 8), getattr(made, "image_size", 8)) * 2 - 1
    assert reaches_all(Losses(made, function), x0, torch.Generator().manual_seed(0)) == expected
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert all(weight.grad is None for weight in made.parameters())
