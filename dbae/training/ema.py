"""Exponential moving average of a module's parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class EMA:
    """shadow <- rate_k shadow + (1 - rate_k) parameter after optimiser step k = 1, 2, ...

    Starts as a copy of the initial parameters. Buffers are not averaged (as in the reference).

    Args:
        rate: r.
        warmup: rate_k = min(r, (1 + k) / (10 + k)), so that a short run is not averaged with its start;
            False, as in the reference: rate_k = r.
    """

    def __init__(self, module: nn.Module, rate: float, *, warmup: bool) -> None:
        self.module, self.rate, self.warmup = module, rate, warmup
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the parameters after optimiser step `step`, from 1."""
        rate = min(self.rate, (1 + step) / (10 + step)) if self.warmup else self.rate
        parameters = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(list(self.shadow.values()), parameters, 1 - rate)

    def state_dict(self) -> dict[str, Tensor]:
        """A whole state dict: averaged parameters, live buffers."""
        return self.module.state_dict() | self.shadow

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the averages of `state`; buffers are the module's own."""
        for name, value in self.shadow.items():
            value.copy_(state[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the module has the averaged parameters."""
        live = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self._assign(self.shadow)
        try:
            yield
        finally:
            self._assign(live)

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.copy_(values[name])
