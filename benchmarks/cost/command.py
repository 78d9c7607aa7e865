r"""Cost: parameters, time of a training step, of an evaluation and of x_T, operations (DBAE, Tables 5 and 8).

The built-in model; nothing is downloaded:

    python -m benchmarks.cost

The paper's models at their size, with fresh weights, since cost does not depend on weights; as medians and as ratios to
the first one named:

    python -m benchmarks.cost --ckpt untrained:ffhq128 untrained:diffae:ffhq128 untrained:pdae:ffhq128 \
        untrained:ddim:ffhq128 --batch-size 32 --infer-steps 250 500 --out results/mine/cost.csv

Only what needs little time:

    python -m benchmarks.cost --ckpt untrained:ffhq128 --measure parameters operations

All models are timed in one process, in turn, so that whatever else the machine does meets all of them alike; compare
ratios rather than times. OUT has one row a model and quantity (units: `benchmarks/cost/jobs.py`); a row's protocol
names the machine's processor, `n` is the batch size. A run that is in OUT already is shown and not repeated.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from benchmarks.cost.jobs import Bench
from benchmarks.cost.report import format_costs
from benchmarks.cost.rows import Sheet, processor
from benchmarks.cost.subjects import objective_of, open_subject
from benchmarks.cost.timing import Times, interleaved
from benchmarks.results.record import Record, RecordFile
from benchmarks.subjects.decoding import on_device
from benchmarks.subjects.subject import Loaded
from dbae.model import parameter_counts
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.precision import Precision

Measure = Literal["parameters", "operations", "sampling", "training"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints, or architectures: untrained:PRESET of DBAE, untrained:METHOD:PRESET of another method."""
    out: Path = Path("runs/cost.csv")
    """The results file; rows are added to what it has."""
    measure: tuple[Measure, ...] = ("parameters", "operations", "sampling", "training")
    """sampling includes encoding and x_T."""
    batch_size: int = 8
    """Images at a time."""
    repeats: int = 11
    """How often each time is taken, after a first one that is not counted."""
    infer_steps: tuple[int, ...] = (250,)
    """Steps of inferring x_T; the paper has 250 for DiffAE and 500 for PDAE."""
    precision: Precision = "fp32"
    """Of the networks."""
    device: str = "auto"
    """Where they run: auto, cpu, cuda, cuda:1."""
    force: bool = False
    """Measure again what OUT already has."""

    def check(self) -> None:
        """Raises UserError naming the option that cannot be."""
        for name, least in (("batch_size", 1), ("repeats", 1), ("infer_steps", 2)):
            values = getattr(self, name)
            lowest = min(values) if isinstance(values, tuple) and values else values
            if not isinstance(lowest, int) or lowest < least:
                raise UserError(f"--{name.replace('_', '-')}: expected {least} or more, found {lowest}.")
        if len(set(self.ckpt)) < len(self.ckpt) or not self.ckpt:
            raise UserError(f"--ckpt: expected one or more different models, found {list(self.ckpt)}.")
        distributed.require_alone("benchmarks.cost")


def run(options: Options, load: Callable[[str], Loaded]) -> list[Record]:
    """Measure every model; all rows of this command.

    Args:
        options: the command line.
        load: checkpoint file or name -> model.

    Raises:
        UserError: an option or a file is not usable.
    """
    options.check()
    device, results = cli.device(options.device), RecordFile(options.out)
    subjects = [open_subject(source, load) for source in options.ckpt]
    benches = [
        Bench(on_device(s.model, device), objective_of(s.model), options.batch_size, device, options.precision)
        for s in subjects
    ]
    sheet = Sheet(subjects, processor(device), options.batch_size, options.precision, options.infer_steps)
    stored = {record.identity: record for record in results.read()}
    expected = sheet.rows(_counts(benches, options, count=False), _seconds(benches, options, repeats=0))
    if not options.force and all(record.identity in stored for record in expected):
        return [stored[record.identity] for record in expected]
    rows = sheet.rows(_counts(benches, options), _seconds(benches, options, repeats=options.repeats))
    results.add(rows)
    return rows


def _counts(benches: list[Bench], options: Options, *, count: bool = True) -> list[dict[tuple[str, str], float]]:
    """(metric, part) -> number, of every model: parameters in millions, operations in 10^9 (NaN without `count`)."""
    found: list[dict[tuple[str, str], float]] = []
    for bench in benches:
        numbers = {}
        if "parameters" in options.measure and isinstance(bench.model, nn.Module):
            for part, parameters in parameter_counts(bench.model).items():
                numbers["parameters_M", "mean" if part == "total" else part] = parameters / 1e6
            trained = sum(p.numel() for p in bench.model.parameters() if p.requires_grad)
            numbers["trainable_parameters_M", "mean"] = trained / 1e6
        if "operations" in options.measure:
            flops = bench.gflops() if count else dict.fromkeys(bench.operations, float("nan"))
            numbers |= {(name, "mean"): value for name, value in flops.items()}
        found.append(numbers)
    return found


def _seconds(benches: list[Bench], options: Options, *, repeats: int) -> list[dict[str, Times]]:
    """Seconds of every job of every model; with `repeats` 0, their names alone, with NaN."""
    jobs: dict[tuple[int, str], Callable[[], object]] = {}
    for i, bench in enumerate(benches):
        own = bench.jobs() if "sampling" in options.measure else {}
        if "training" in options.measure and bench.objective is not None:
            own["train"] = bench.training_job(bench.objective) if repeats else _nothing
        jobs |= {(i, name): job for name, job in own.items()}
    unknown = torch.full((1,), float("nan"), dtype=torch.float64).numpy()
    found = interleaved(jobs, repeats, benches[0].device, title="cost") if repeats else dict.fromkeys(jobs, unknown)
    return [{name: times for (i, name), times in found.items() if i == wanted} for wanted in range(len(benches))]


def _nothing() -> None:
    """In place of a job that is only named."""


def main(options: Options) -> None:
    """Run, print the table."""
    from baselines.load import load

    rows = run(options, load)
    print(format_costs(rows))
    log.info("%s", options.out)


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.cost`; returns the exit status."""
    return cli.run(main, Options, module="benchmarks.cost", description=__doc__, arguments=arguments)
