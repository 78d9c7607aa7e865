"""torch.compile for the networks of a model.

It pays where a GPU waits for Python, in long runs: the first call in every mode (training, evaluation) and of every
batch size compiles for minutes. On CPUs it gives nothing that channels_last does not give already.
"""

from __future__ import annotations

import os
import shutil

from torch import nn

from dbae.support.errors import UserError


def compile_networks(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile every network (child) of `model` in place, when it is first called.

    State dicts stay as they are, results change by rounding.

    Args:
        model: e.g. a `DBAE`; moved to its device and memory layout before.
        backend: of torch.compile; "eager" traces and generates no code.

    Raises:
        UserError: no C++ compiler, which `inductor` needs on CPUs and GPUs alike.
    """
    if backend == "inductor" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise UserError("--compile: expected a C++ compiler (g++ or clang++, or $CXX), found none. Leave it out.")
    for network in model.children():
        network.compile(backend=backend, dynamic=False)
