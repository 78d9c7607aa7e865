"""What every command line shares: parsing, logging, devices, and how it fails."""

from __future__ import annotations

import inspect
import io
import logging
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, TypeVar

import torch

from dbae.support import distributed
from dbae.support.allocator import keep_freed_memory
from dbae.support.errors import UserError
from dbae.support.failures import explain

Options = TypeVar("Options")


def run(
    main: Callable[[Options], Any],
    options: type[Options] | UnionType,
    *,
    module: str,
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line into `options`, call `main`, and return the exit status.

    Args:
        options: a dataclass; each field is an option, its docstring the help. A union of some is a command with a
            sub-command for each.
        module: name after `python -m`.
        description: head of --help; a module docstring with examples that can be run as they are.
        arguments: instead of `sys.argv[1:]`.

    Returns:
        0; the `status` of a `UserError`, 2 after what `dbae.support.failures` explains, of which one line goes to
        stderr; 130 after Ctrl-C; 141, silently, where the reader of the output has gone (`| head`). `$DBAE_DEBUG=1`
        adds the traceback. One of several processes (`dbae.support.distributed`) logs only errors unless it is the
        main one, and does not return from a failure: it ends.
    """
    import tyro

    from dbae.support.words import REGISTRY

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # `dbae-bench`, while it imported the command
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _print_any_name()
    keep_freed_memory()
    # Of images that are read all the same; larger ones are refused by their names.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    level = logging.INFO if distributed.is_main() else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    config = (tyro.conf.HelptextFromCommentsOff,)

    def parse_and_run() -> None:
        parsed = tyro.cli(
            options,  # type: ignore[arg-type]
            prog=f"python -m {module}",
            description=description,
            args=arguments,
            config=config,
            console_outputs=distributed.is_main(),
            registry=REGISTRY,
        )
        main(parsed)

    return _status(parse_and_run)


def script(main: Callable[..., Any]) -> int:
    """Call `main` with the words of the command line, as text, and return the exit status: what an example ends in.

    --help prints what the script says of itself.

    Returns:
        2 where `main` takes fewer words, or more; one line on stderr says which. Otherwise as `run`.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(inspect.cleandoc(sys.modules[main.__module__].__doc__ or ""))
        return 0
    signature = inspect.signature(main)
    try:
        signature.bind(*words)
    except TypeError:
        usage = " ".join(map(_usage, signature.parameters.values()))
        print(f"Usage: python {sys.argv[0]} {usage}", file=sys.stderr)
        return 2
    return _status(lambda: main(*words))


def _usage(parameter: inspect.Parameter) -> str:
    name = parameter.name.upper()
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"[{name} ...]"
    return name if parameter.default is parameter.empty else f"[{name}]"


def _status(call: Callable[[], Any]) -> int:
    """The exit status of a call; see `run`."""
    try:
        call()
        sys.stdout.flush()
    except UserError as error:
        return _failed(error, str(error), error.status)
    except KeyboardInterrupt as error:
        return _failed(error, "Stopped; what was finished is kept.", 130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return 141
        message = explain(error)
        if message is not None:
            return _failed(error, message, 2)
        if not distributed.launched():
            raise
        return _failed(error, traceback.format_exc(), 1)
    return 0


def _print_any_name() -> None:
    """Names of files may be any bytes: what the output cannot show is printed as an escape, and ends no run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _reader_has_gone() -> bool:
    """Whether it is standard output that nobody reads; then nothing more is written to it, at exit neither."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # a test's
        return False
    poll = select.poll()
    poll.register(output, select.POLLERR)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone


def _failed(error: BaseException, message: str, status: int) -> int:
    if os.environ.get("DBAE_DEBUG") == "1":
        traceback.print_exception(error)
    if distributed.launched():
        distributed.fail(error, message, status)
    print(message, file=sys.stderr)
    return status


def device(name: str) -> torch.device:
    """The torch device called `name`; "auto" is CUDA where there is one, else the CPU.

    Of several processes on a machine, each gets a GPU of its own for "auto" and "cuda".

    Raises:
        UserError: no such device on this machine, or one GPU for several processes.
    """
    if name == "auto":
        return distributed.local_device()
    if distributed.launched() and name.startswith("cuda"):
        if name != "cuda":
            raise UserError(f"--device {name}: expected a GPU for every process. Use --device cuda, or auto.")
        name = str(distributed.local_device()).replace("cpu", "cuda")  # without a GPU, fail as for one process
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: not usable on this machine ({reason}). Use --device auto.") from error
