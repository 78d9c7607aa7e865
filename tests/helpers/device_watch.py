"""Counts what would make a GPU wait, on tensors of the host or of the meta device."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Watch(TorchDispatchMode):
    """Keeps the names of operations that read a number out of a tensor, and of those that touch two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.crossed: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = str(function)
        self.read += [name] * (name.split(".")[1] in ("_local_scalar_dense", "equal", "is_nonzero", "nonzero"))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        self.crossed += [name] * (len({tensor.device for tensor in tensors}) > 1)
        return result


def watch_copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the copies to the host that a dispatcher does not see, as they are made."""
    copied: list[str] = []
    for name in ("tolist", "numpy", "cpu"):
        method = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, n=name, m=method: (copied.append(n), m(self))[1])
    return copied
