"""`--precision auto`: whether training is faster in bfloat16 here is measured, since it depends on the processor.

Some CPUs have fast bfloat16 products (1.6 to 2 times fp32's speed was seen), some are slower with autocast than without
(.6). What is timed is the gradient of one micro-batch, in a copy of the model, in turns; bf16 has to gain a tenth.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dbae.checkpoints import own as checkpoint
from dbae.support.cli import device as named_device
from dbae.support.distributed import world
from dbae.support.precision import Precision, autocast
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.objective import Objective, Stream

GAIN = 1.1
"""Times as fast as fp32 that bf16 has to be: autocast rounds more, which has to be worth it."""
SECONDS = 1.0
log = logging.getLogger(__name__)


def decided(
    config: TrainConfig,
    model: nn.Module,
    objective: Objective,
    stream: Stream,
    prepare: Callable[[Tensor], Tensor],
    out: Path,
    *,
    resume: bool,
) -> TrainConfig:
    """`config` with a precision for "auto": that of the run in `out` if it is resumed, else the faster one.

    Of several processes the first decides. What it chose, and the times, are logged.

    Args:
        model, objective, stream, prepare, out: as of `dbae.training.loop.fit`.
    """
    if config.precision != "auto":
        return config
    where = named_device(config.device)
    processes = world(where)
    newest = RunFolder(out).checkpoints()[-1:] if resume else []
    if newest:
        chosen = checkpoint.read_tensors(newest[0], "card")[1]["training"]["precision"]
        log.info("--precision auto: %s, as the run that is resumed", chosen)
        return dataclasses.replace(config, precision=chosen)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    trial: nn.Module = copy.deepcopy(model).to(where).to(memory_format=layout).train()  # type: ignore[call-overload]
    batches = stream.batches(0, rank=processes.rank, size=processes.size)
    _, images = next(batches)
    if hasattr(batches, "close"):
        batches.close()
    part = images.to(where).chunk(config.micro_batches(processes.size))[0]
    x0 = prepare(part).contiguous(memory_format=layout)

    def gradient(precision: Precision) -> None:
        with autocast(where, precision):
            loss = objective(trial, x0, torch.Generator(where).manual_seed(0)).loss
        loss.mean().backward()
        trial.zero_grad(set_to_none=True)
        if where.type == "cuda":
            torch.cuda.synchronize(where)

    with torch.random.fork_rng([where] if where.type == "cuda" else []):
        seconds = in_turns({name: lambda name=name: gradient(name) for name in ("fp32", "bf16")})  # type: ignore[misc]
    faster: Precision = processes.broadcast("bf16" if seconds["fp32"] > GAIN * seconds["bf16"] else "fp32")
    log.info(
        "--precision auto: the gradient of %d images takes %.3g s in fp32 and %.3g s in bf16, so training is in %s",
        len(x0), seconds["fp32"], seconds["bf16"], faster,
    )  # fmt: skip
    return dataclasses.replace(config, precision=faster)


def in_turns(functions: dict[str, Callable[[], None]], *, seconds: float = SECONDS) -> dict[str, float]:
    """The shortest time of each, called in turns for about `seconds` after a first call that does not count.

    Each is called twice or more; no oftener if the clock stands. Other programs can only add to a time, and in turns
    they add to all.
    """
    for function in functions.values():
        function()
    best = dict.fromkeys(functions, float("inf"))
    begin, rounds = time.perf_counter(), 0
    while rounds < 2 or 0 < time.perf_counter() - begin < seconds:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
        rounds += 1
    return best
