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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from baselines.interface import LoadedModel, RepresentationModel
from benchmarks.cost.jobs import FEW, MANY, Bench
from benchmarks.cost.report import format_costs
from benchmarks.cost.rows import Measured, Number, Sheet, processor
from benchmarks.cost.subjects import objective_of, open_subject
from benchmarks.cost.timing import Times, interleaved
from benchmarks.results import Record
from benchmarks.runner import Family, Load, ModelOptions, OpenData, Session
from benchmarks.subjects import on_device, require_names
from dbae.data import ImageDataset
from dbae.model import parameter_counts
from dbae.support import distributed
from dbae.training.objective import Objective

Measure = Literal["parameters", "operations", "sampling", "training"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostOptions(ModelOptions):
    """Options of the command."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints, or architectures: untrained:PRESET of DBAE, untrained:METHOD:PRESET of another method."""
    out: Path = Path("runs/cost.csv")
    """The results file; rows are added to what it has."""
    measure: tuple[Measure, ...] = ("parameters", "operations", "sampling", "training")
    """What to measure; sampling includes encoding and x_T."""
    batch_size: int = 8
    """Images at a time."""
    repeats: int = 11
    """How often each time is taken, after a first one that is not counted."""
    infer_steps: tuple[int, ...] = (250,)
    """Steps of inferring x_T; the paper has 250 for DiffAE and 500 for PDAE."""

    least: ClassVar[dict[str, int]] = {**ModelOptions.least, "repeats": 1, "infer_steps": 2}

    def check(self) -> None:
        """Raises UserError naming the option that cannot be, or several processes."""
        super().check()
        distributed.require_alone("benchmarks.cost")


class Cost(Family[CostOptions, Record]):
    """All models in one process, timed in turn."""

    name, options, one_file = "cost", CostOptions, True

    def open(self, source: str, load: Load) -> LoadedModel:
        """A checkpoint, or an architecture."""
        return open_subject(source, load)

    def work(self, options: CostOptions, model: RepresentationModel, dataset: ImageDataset | None) -> tuple[int, int]:
        """Of every repetition: two runs of decoding, two of inferring x_T, a training step as three evaluations."""
        sampling = (FEW + MANY) * (1 + ("inferred" in model.endpoints)) if "sampling" in options.measure else 0
        training = 3 if "training" in options.measure else 0
        return options.batch_size * (options.repeats + 1), sampling + training

    def measured(self, options: CostOptions, session: Session, load: Load, open_data: OpenData) -> list[Record]:
        """One record a model and quantity; all are measured unless all are in the results."""
        subjects = [require_names(self.open(source, load)) for source in options.ckpt]
        benches = [
            Bench(on_device(s.model, session.device), _objective(s.model, options), options.batch_size, session.device,
                  options.precision)
            for s in subjects
        ]  # fmt: skip
        sheet = Sheet(subjects, processor(session.device), options.batch_size, options.precision, options.infer_steps)
        lines = sheet.lines(
            [_numbers(bench, options) for bench in benches], [_jobs(bench, options) for bench in benches]
        )
        find = session.results.find
        stored = [find(line.cells, [line.cells["metric"]], [line.cells["attribute"]]) for line in lines]
        if all(stored):
            return [row for rows in stored for row in rows or ()]
        counts = [_counts(bench, options) for bench in benches]
        measured = Measured(counts, sheet.times(_seconds(benches, options)))
        rows = [line.row(measured) for line in lines]
        session.results.add(rows)
        return rows

    def report(self, options: CostOptions, found: Sequence[Record]) -> list[Path]:
        """One table, a column a model."""
        print(format_costs(found))
        return []


def _objective(model: RepresentationModel, options: CostOptions) -> Objective | None:
    """Its loss, where training is to be timed."""
    return objective_of(model, options.batch_size) if "training" in options.measure else None


def _parameters(bench: Bench, options: CostOptions) -> dict[Number, float]:
    """Of the whole model and of its parts, in millions."""
    if "parameters" not in options.measure or not isinstance(bench.model, nn.Module):
        return {}
    counts = parameter_counts(bench.model)
    found = {("parameters_M", "mean" if part == "total" else part): count / 1e6 for part, count in counts.items()}
    trained = sum(p.numel() for p in bench.model.parameters() if p.requires_grad)
    return found | {("trainable_parameters_M", "mean"): trained / 1e6}


def _numbers(bench: Bench, options: CostOptions) -> list[Number]:
    """Names of what `_counts` gives."""
    operations = bench.operations if "operations" in options.measure else ()
    return [*_parameters(bench, options), *((name, "mean") for name in operations)]


def _counts(bench: Bench, options: CostOptions) -> dict[Number, float]:
    """Numbers of no machine: parameters in millions, operations in 10^9."""
    flops = bench.gflops() if "operations" in options.measure else {}
    return _parameters(bench, options) | {(name, "mean"): value for name, value in flops.items()}


def _jobs(bench: Bench, options: CostOptions) -> list[str]:
    """Names of what is timed of a model."""
    names = list(bench.jobs()) if "sampling" in options.measure else []
    return names + (["train"] if bench.objective is not None else [])


def _seconds(benches: list[Bench], options: CostOptions) -> list[dict[str, Times]]:
    """Seconds of every job of every model."""
    jobs: dict[tuple[int, str], Callable[[], object]] = {}
    for i, bench in enumerate(benches):
        own = bench.jobs()
        if bench.objective is not None:  # it takes the memory of training
            own["train"] = bench.training_job(bench.objective)
        jobs |= {(i, name): own[name] for name in _jobs(bench, options)}
    found = interleaved(jobs, options.repeats, benches[0].device, title="cost")
    return [{name: times for (i, name), times in found.items() if i == wanted} for wanted in range(len(benches))]


COST = Cost()
run, command = COST.run, COST.command
