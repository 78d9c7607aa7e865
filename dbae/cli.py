"""What every command line shares: parsing, logging, devices, and how it fails."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from dbae.errors import UserError

Options = TypeVar("Options")


def run(
    main: Callable[[Options], Any],
    options: type[Options],
    *,
    module: str,
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line into `options`, call `main`, and return the exit status.

    Args:
        options: a dataclass; each field is an option, its docstring the help.
        module: name after `python -m`.
        description: head of --help; a module docstring with examples that can be run as they are.
        arguments: instead of `sys.argv[1:]`.

    Returns:
        0; 2 after a `UserError`, whose message alone goes to stderr; 130 after Ctrl-C.
    """
    import tyro

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff)
    try:
        parsed = tyro.cli(
            options,
            prog=f"python -m {module}",
            description=description,
            args=arguments,
            config=config,
        )
        main(parsed)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; what was finished is kept.", file=sys.stderr)
        return 130
    return 0


def device(name: str) -> torch.device:
    """The torch device called `name`; "auto" is CUDA where there is one, else the CPU.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: not usable on this machine ({reason}). Use --device auto.") from error
