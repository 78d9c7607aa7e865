"""Measure on a GPU, within about ten minutes, what `docs/speed.md` says of CPUs, and write its table there:

    python tests/speed/gpu.py                              # on the first CUDA device
    python tests/speed/gpu.py --device cpu --preset small --seconds 0.01 --out -      # only to see that it runs

Every line is the fastest of several repetitions, after one that does not count. Lines that no longer fit into
`--minutes` are left out, by name. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from small_model import Pixels, small_card, small_config

from dbae.data import TrainingStream
from dbae.model import DBAE, DBAEConfig, faces64, ffhq128
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.precision import Precision, autocast
from dbae.train import objective
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.loop import Trainer

PRESETS: dict[str, Callable[[], DBAEConfig]] = {"small": small_config, "faces64": faces64, "ffhq128": ffhq128}
BATCH = {"small": 4, "faces64": 128, "ffhq128": 32}
NFE, SAMPLES = 20, 50_000
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"


@dataclasses.dataclass(frozen=True)
class Args:
    """Options.

    Attributes:
        device: what to measure; "cuda" or "cpu".
        preset: models to measure.
        out: the file whose table is replaced; "-" prints alone.
        seconds: for a line, beside its first call.
        minutes: for all of them.
        compile: measure torch.compile too.
    """

    device: str = "cuda"
    preset: tuple[Literal[tuple(PRESETS)], ...] = ("faces64", "ffhq128")  # type: ignore[valid-type]
    out: str = "docs/speed.md"
    seconds: float = 5.0
    minutes: float = 10.0
    compile: bool = True


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of the table: `value` with its unit, or why there is none."""

    what: str
    value: str


class Bench:
    """Times functions on a device until the time for all of them is over."""

    def __init__(self, args: Args) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.end = time.monotonic() + 60 * args.minutes
        self.lines: list[Line] = []

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, function: Callable[[], object]) -> float:
        """The shortest time of one call."""
        function()
        best, stop = math.inf, time.monotonic() + self.args.seconds
        while best == math.inf or time.monotonic() < min(stop, self.end):
            self.wait()
            start = time.perf_counter()
            function()
            self.wait()
            best = min(best, time.perf_counter() - start)
        return best

    def line(self, what: str, measure: Callable[[], str]) -> None:
        """Adds a row. What fails is a row too: the others are worth having."""
        if time.monotonic() > self.end:
            self.lines.append(Line(what, "no time left"))
            return
        try:
            value = measure()
        except (RuntimeError, UserError) as error:
            value = f"failed: {str(error).splitlines()[0][:100]}"
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self.lines.append(Line(what, value))


def images_of(config: DBAEConfig, n: int) -> Tensor:
    size = config.image_size
    return TrainingStream(Pixels(n, size), torch.arange(n).numpy(), n, seed=0).batch(0)[1]


@contextlib.contextmanager
def trainer_of(config: DBAEConfig, bench: Bench, **options: object) -> Iterator[Trainer]:
    model = DBAE.initialised(config, 0)
    loop = TrainConfig(accumulate=1, device=str(bench.device), log_every=10**9, **options)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, objective, loop, RunFolder(Path(folder)), small_card(model))
        trainer.start(resume=False)
        with contextlib.closing(trainer.log):
            yield trainer


def step(config: DBAEConfig, bench: Bench, batch: int, **options: object) -> str:
    """Images a second, and the peak memory where there is a GPU."""
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    with trainer_of(config, bench, batch_size=batch, **options) as trainer:
        images = images_of(config, batch)
        seconds = bench.seconds(lambda: trainer.train_step(images))
    memory = ""
    if bench.device.type == "cuda":
        memory = f", {torch.cuda.max_memory_allocated(bench.device) / 2**30:.1f} GiB"
    return f"{batch / seconds:.4g} images/s{memory}"


@torch.no_grad()
def encoding(config: DBAEConfig, bench: Bench, batch: int, precision: Precision) -> str:
    model = DBAE.initialised(config, 0).eval().to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.zeros(batch, 3, config.image_size, config.image_size, device=bench.device)
    x = x.contiguous(memory_format=torch.channels_last)
    with autocast(bench.device, precision):
        return f"{batch / bench.seconds(lambda: model.encode(x)):.4g} images/s"


@torch.no_grad()
def sampling(config: DBAEConfig, bench: Bench, batch: int, precision: Precision) -> str:
    """Images a second, and the time of 50,000 images at this speed."""
    model = DBAE.initialised(config, 0).eval().to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    z = torch.zeros(batch, model.latent_dim, device=bench.device)
    sampler = SamplerConfig("dbim", nfe=NFE, boot_noise=False)
    with autocast(bench.device, precision):
        rate = batch / bench.seconds(lambda: model.decode(z, sampler=sampler))
    return f"{rate:.4g} images/s; {SAMPLES:,} would take {SAMPLES / rate / 60:.4g} min"


def resumed_bits(config: DBAEConfig, bench: Bench, batch: int) -> str:
    """Whether four steps are, bit for bit, two, a checkpoint, and two more, under deterministic algorithms."""
    images = images_of(config, batch)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with trainer_of(config, bench, batch_size=batch) as whole:
            for step in range(4):
                if step == 2:
                    middle = whole.save()
                whole.train_step(images)
            expected = {k: v.clone() for k, v in whole.model.state_dict().items()}
            again = Trainer(
                DBAE.initialised(config, 1), objective, whole.config, RunFolder(middle.parents[1]), whole.card
            )
            again.start(resume=True)
            with contextlib.closing(again.log):
                for _ in range(2):
                    again.train_step(images)
            found = again.model.state_dict()
    finally:
        torch.use_deterministic_algorithms(before)
    differing = sum(not torch.equal(found[key], value) for key, value in expected.items())
    return "bit for bit" if not differing else f"{differing} of {len(expected)} tensors differ"


def process_group(bench: Bench) -> str:
    """Seconds until a group of one process has summed its first tensor."""
    backend = "nccl" if bench.device.type == "cuda" else "gloo"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    torch.distributed.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        torch.distributed.all_reduce(torch.ones(1, device=bench.device))
        bench.wait()
    finally:
        torch.distributed.destroy_process_group()
    return f"{time.perf_counter() - start:.2g} s ({backend})"


def measure(args: Args) -> list[Line]:
    """All lines, cheap ones first."""
    bench = Bench(args)
    bench.line("start of a process group, first all-reduce", lambda: process_group(bench))
    for name in args.preset:
        config, batch = PRESETS[name](), BATCH[name]
        head = f"{name}, batch {batch}: "
        for p in ("fp32", "bf16"):
            bench.line(f"{head}encode, {p}", lambda c=config, b=batch, p=p: encoding(c, bench, b, p))
            bench.line(f"{head}sample, dbim {NFE} NFE, {p}", lambda c=config, b=batch, p=p: sampling(c, bench, b, p))
        ways: dict[str, dict[str, object]] = {
            "fp32": {"precision": "fp32"},
            "fp32, contiguous": {"precision": "fp32", "channels_last": False},
            "bf16": {"precision": "bf16"},
        }
        ways |= {"bf16, compiled": {"precision": "bf16", "compile": True}} if args.compile else {}
        for way, options in ways.items():
            bench.line(f"{head}training step, {way}", lambda c=config, b=batch, o=options: step(c, bench, b, **o))
        bench.line(f"{head}resumed training", lambda c=config, b=batch: resumed_bits(c, bench, min(b, 8)))
    return bench.lines


def table(args: Args, lines: list[Line]) -> str:
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    rows = "\n".join(f"| {line.what} | {line.value} |" for line in lines)
    return f"{device}, PyTorch {torch.__version__}:\n\n| | |\n|---|---|\n{rows}\n"


def written(text: str, new: str) -> str:
    """`text` with the table between its two marks replaced."""
    if not (BEGIN in text and END in text):
        raise UserError(f"expected the marks {BEGIN} and {END} for the table, found none; put them in or use --out -.")
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{new}{END}", text, flags=re.DOTALL)


def main(args: Args) -> None:
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: expected a CUDA device, found none; --device cpu --out - only shows that it runs."
        )
    new = table(args, measure(args))
    sys.stdout.write(new)
    if args.out != "-":
        path = Path(args.out)
        text = written(path.read_text(encoding="utf-8"), new)
        with atomic_path(path) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from dbae.support import cli

    sys.exit(cli.run(main, Args, module="tests.speed.gpu", description=__doc__))
