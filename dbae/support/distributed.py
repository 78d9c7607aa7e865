"""Several processes, one a GPU, on one machine or many: `torchrun` starts them, Lightning Fabric connects them.

    world = distributed.world(device)               # of one process, unless torchrun started several
    mine = world.share(indices, block=batch_size)   # this process's images
    values = {"MSE": errors_of(mine)}               # one value an image
    values = world.gather(values)                   # of all images, in the order of `indices`
    if world.is_main: write(values)

A world of one process does nothing and loads nothing. In a larger one every process runs the same program, and calls
`share`, `gather`, ... in the same order; process `rank` of `size` works on its share, and rank 0, the main one, alone
writes files, logs and shows progress. CPUs talk by gloo, GPUs by NCCL.

A process that fails says why, with its rank, and ends at once; torchrun then ends the others and exits with a status
that is not 0. Processes on other machines learn it from the broken connection, at the latest after `TIMEOUT`.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dbae.support.errors import UserError

TIMEOUT = datetime.timedelta(hours=2)
"""How long a process waits for the others: rank 0 may be at work that is not shared."""

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Items = TypeVar("_Items", bound=Sequence[Any] | np.ndarray)
_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def processes() -> int:
    """How many torchrun started; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def require_alone(command: str) -> None:
    """Raises UserError where torchrun started several processes of a command that works in one."""
    if launched():
        raise UserError(f"{command} works in one process: start it with python -m, without torchrun.")


def local_device() -> torch.device:
    """The GPU that belongs to this process, else the CPU.

    Raises:
        UserError: there are GPUs, but fewer than processes on this machine.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if not launched():
        return torch.device("cuda")
    index, processes = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if processes > torch.cuda.device_count():
        raise UserError(
            f"expected a GPU for each of the {processes} processes on this machine, found "
            f"{torch.cuda.device_count()}. Give torchrun a smaller --nproc-per-node, or the command --device cpu."
        )
    return torch.device("cuda", index)


class World:
    """The processes of a run, seen from one of them.

    Args:
        fabric: a launched `lightning_fabric.Fabric`; None is a world of one process.
    """

    def __init__(self, fabric: Any = None) -> None:
        self._fabric = fabric
        self.rank: int = fabric.global_rank if fabric else 0
        self.size: int = fabric.world_size if fabric else 1

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def share(self, items: _Items, block: int = 1) -> _Items:
        """The contiguous part of `items` that this process works on; the parts of all ranks, joined, are `items`.

        Args:
            block: cut only at multiples of it, so that batches of that size hold the same images as in a world of
                one, and numbers agree to the last bit. Where there are fewer blocks than processes, cut anywhere.

        Raises:
            UserError: fewer items than processes.
        """
        if len(items) < self.size:
            raise UserError(
                f"expected at least as many images as processes, found {len(items)} for {self.size}. "
                "Give torchrun a smaller --nproc-per-node."
            )
        block = block if -(-len(items) // block) >= self.size else 1
        blocks = -(-len(items) // block)
        start, stop = (block * (blocks * r // self.size) for r in (self.rank, self.rank + 1))
        return items[start:stop]  # type: ignore[return-value]

    def collect(self, part: _T) -> list[_T]:
        """What each process gave, in the order of ranks, on all of them. `part` is anything that can be pickled."""
        if self.size == 1:
            return [part]
        return [self._fabric.broadcast(part, src=source) for source in range(self.size)]

    def gather(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays over the shares of all processes, joined along the first axis, on all of them."""
        parts = self.collect(dict(arrays))
        return {name: parts[0][name] if self.size == 1 else np.concatenate([p[name] for p in parts]) for name in arrays}

    def broadcast(self, value: _T) -> _T:
        """The value that rank 0 gave."""
        return self._fabric.broadcast(value, src=0) if self.size > 1 else value

    def any(self, flag: bool) -> bool:
        """Whether some process gave True."""
        return bool(self.mean(torch.tensor(float(flag))) > 0) if self.size > 1 else flag

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over processes of a floating tensor of the same shape on all; a copy on the tensor's device."""
        if self.size == 1:
            return tensor
        return self._fabric.all_reduce(tensor.to(self._fabric.device, copy=True), reduce_op="mean").to(tensor.device)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            self._fabric.barrier()

    def parallel(self, module: nn.Module, *, unused: bool = True) -> nn.Module:
        """`module`, which is on its device already, such that `backward` averages gradients over processes (DDP).

        Weights become those of rank 0 now, buffers (running statistics of batch norm) at the start of every step.

        Args:
            unused: whether a loss may leave parameters out that have a gradient. Looking for them takes time in every
                step, and DDP warns where there are none; where there are some and it does not look, it raises.
        """
        if self.size == 1:
            return module
        # A 1x1 convolution in channels_last has strides that mean the same and differ: DDP need not say so.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        self._fabric.strategy._ddp_kwargs["find_unused_parameters"] = unused  # Fabric asks before there is a module
        return self._fabric.setup_module(module, move_to_device=False)

    def unsynchronised(self, module: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Within the block, `backward` through a `parallel` module keeps its gradients to this process."""
        if self.size == 1:
            return contextlib.nullcontext()
        return self._fabric.no_backward_sync(module)


ALONE = World()
"""One process."""

_world = ALONE


def world(device: torch.device | None = None) -> World:
    """The world of this process; the first call in a process that torchrun started waits for all the others.

    Args:
        device: what this process computes on; decides between gloo and NCCL. None takes `local_device()`.

    Raises:
        UserError: Lightning Fabric is not installed, or machines run different numbers of processes.
    """
    global _world
    if launched() and _world.size == 1:
        _world = World(_launch(device or local_device()))
    return _world


def _launch(device: torch.device) -> Any:
    size, local = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if size % local:
        raise UserError(
            f"expected the same number of processes on every machine, found {local} here and {size} in all. "
            "Give torchrun the same --nproc-per-node everywhere."
        )
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import TorchElasticEnvironment
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise UserError("several processes need Lightning Fabric: pip install lightning-fabric") from error
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=size // local,
        strategy=DDPStrategy(timeout=TIMEOUT),
        plugins=TorchElasticEnvironment(),
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # of all it says, one line is of use: ours
    fabric.launch()
    log.info("%d processes on %d machine(s), %s", size, size // local, device.type)
    return fabric


def fail(error: BaseException, message: str, status: int) -> NoReturn:
    """End this process, one of several, with a message that names its rank, once where several have the same to say.

    Nothing is waited for: a handler at exit that talked to the other processes might wait for ever. But one that only
    lost the connection to another process leaves it to torchrun to end it, whose summary then names the cause.
    """
    detail = ""
    if _lost_another(error):
        time.sleep(5)
        message, status = "another process of this run has ended or cannot be reached, so this one ends too.", 1
        reason, _, _ = str(error).partition("\n")
        detail = f" ({reason})"
    if _is_first_to_say(message):
        print(f"rank {rank()} of {os.environ['WORLD_SIZE']}: {message}{detail}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _lost_another(error: BaseException) -> bool:
    """Whether `error` says that the connection to another process broke: a consequence, not a cause."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)


def _is_first_to_say(message: str) -> bool:
    """Ask the key-value store that torchrun keeps; where it is gone already, speak."""
    key = f"said {os.environ['TORCHELASTIC_RESTART_COUNT']} {hashlib.sha256(message.encode()).hexdigest()}"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = torch.distributed.TCPStore(
            address, port, is_master=False, wait_for_workers=False, timeout=datetime.timedelta(seconds=5)
        )
        return store.add(key, 1) == 1
    except RuntimeError:  # torch.distributed.DistError is one
        return True
