r"""Train every method on one trunk for as much work, measure all of them, and make tables shaped like the paper's.

The whole study on drawn faces, 32 px, for processors; what it would do first, with its time:

    python -m benchmarks.study faces --dry-run
    python -m benchmarks.study faces

On your images, some rows, two trainings at a time:

    python -m benchmarks.study zip:photos.zip --rows dbae diffae pdae vae --jobs 2

A small one that takes minutes, or more work for a study that is there, which goes on where it stopped:

    python -m benchmarks.study faces --units 2000 --rates 0.001 --rows dbae vae
    python -m benchmarks.study zip:photos.zip --units 220000

Tables and figure once more, of what OUT has:

    python -m benchmarks.study --tables --out results/study-utkface64-cpu

Work is counted in trunk units: the operations of one forward and backward pass of the unconditional U-Net on one image.
Every row has as many. A method that builds on a frozen network pays for it with half of them; a row "at no cost" does
not. The learning rate of a row is the one of three whose z tells most of held-out pictures after a tenth of its images.

OUT (results/study-DATA-SCALE) has table1.csv, table2.csv, table3.csv, curve.csv and training.csv, differences.csv where
a row has several seeds, groups.csv of --groups, the results files behind them, and a figure of the learning curves.
Runs lie in RUNS. A killed study goes on where it stopped: a step whose output is there is skipped, and tables have the
rows of earlier calls for as many units too, whether or not their runs are still there. Several calls with other --rows
can share OUT, one a GPU. docs/study.md has the protocol.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tyro.conf import Positional

from benchmarks.downstream.trial import Images
from benchmarks.results.evidence import forget
from benchmarks.study.figure import draw_curves
from benchmarks.study.measure import measure, without_code
from benchmarks.study.plan import SCALES, Plan, Scale, Training, planned
from benchmarks.study.register import Register, Run
from benchmarks.study.rows import ROWS, fresh, units
from benchmarks.study.tables import write_tables
from benchmarks.study.work import Worker, require_same_study
from dbae.data import ImageDataset, open_data, parse_source, require_apart
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.locking import locked
from dbae.support.text import columns, duration

log = logging.getLogger(__name__)
BETWEEN = 9
"""Tables are written after new rows, but not before so many times as long has passed as writing them took."""


@dataclasses.dataclass(frozen=True)
class StudyOptions:
    """Options of the command."""

    data: Positional[str] = "faces"
    """Images with labels and the splits train, val (where rates are chosen) and test, KIND:ROOT[?n=..&seed=..]."""
    scale: Literal["cpu", "gpu"] = "cpu"
    """cpu: 32 px, 110,000 units a row, about 20 minutes of a core; gpu: 64 px, 10 million."""
    rows: tuple[str, ...] = ()
    """Rows of the tables (dbae, diffae, ...; --dry-run lists them); default: all. What they build on is trained too, as
    far as they pay for it."""
    units: int | None = None
    """Trunk units a row, where not those of the scale."""
    rates: tuple[float, ...] | None = None
    """Learning rates to choose among; a single one is taken without a trial."""
    rate_of: dict[str, float] | None = None
    """Rows whose learning rate is given and not chosen: ROW RATE ..., as vae 0.004 diffae 0.002."""
    seeds: tuple[int, ...] | None = None
    """Seeds of the rows that are repeated; the others are trained from the first."""
    jobs: int = 1
    """Trainings at a time; each has its share of the processor's cores."""
    groups: tuple[str, ...] = ()
    """Groups of attributes that are averaged apart too, NAME=ATTRIBUTE,ATTRIBUTE..., as who=Male,Young light=Dark.
    Later calls keep them."""
    out: Path | None = None
    """Folder of the tables; default: results/study-DATA-SCALE."""
    runs: Path | None = None
    """Folder of the runs; default: runs/study-DATA-SCALE."""
    tables: bool = False
    """Only make the tables and the figure of --out again, from what is in it."""
    dry_run: bool = False
    """Print the rows with their units, images and an estimate of the time; train nothing."""


def main(options: StudyOptions) -> None:
    """Plan, train, measure, write tables."""
    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: expected 1 or more.")
    if options.tables:
        show(Register(tables_of(options)))
        return
    scale = SCALES[options.scale]
    given = {name: getattr(options, name) for name in ("units", "rates", "rate_of", "seeds")}
    scale = dataclasses.replace(scale, **{name: value for name, value in given.items() if value is not None})
    if options.dry_run and parse_source(options.data).kind == "faces":  # they lack nothing; drawing them takes a while
        groups_of(options.groups, open_data("faces:?n=8", size=scale.size))
        print(describe(planned(options.rows, scale, options.data, Path("runs"))))
        return
    dataset = open_data(options.data, size=scale.size)
    name = f"study-{dataset.name}-{options.scale}"
    out, runs = options.out or Path("results", name), options.runs or Path("runs", name)
    plan = planned(options.rows, scale, options.data, runs)
    require_data(plan, dataset, out)
    groups = groups_of(options.groups, dataset)
    if options.dry_run:
        print(describe(plan))
        return
    out.mkdir(parents=True, exist_ok=True)
    require_same_study(plan, dataset.fingerprint)
    register = Register(out, plan.study(dataset.fingerprint) | {"units": scale.units}, groups)
    due = 0.0

    def measured(training: Training) -> None:
        nonlocal due
        before = _written(out)
        measure(training, out)
        register.add(Run.of(training))
        started = time.monotonic()
        if _written(out) != before and started >= due:
            report(register)
            due = time.monotonic() + BETWEEN * (time.monotonic() - started)

    failed = Worker(plan, measured, options.jobs).run()
    show(register)
    print(f"runs: {runs}")
    if failed:
        raise UserError(
            "\n".join([f"{len(failed)} runs failed, the others are in {out}:", *map(": ".join, failed.items())])
        )


def tables_of(options: StudyOptions) -> Path:
    """The folder whose tables are asked for, by --out alone. Raises UserError where another option is beside it."""
    if options.out is None:
        raise UserError("--tables: expected --out with the folder of a study, found none.")
    for field in dataclasses.fields(options):
        if field.name not in ("tables", "out") and getattr(options, field.name) != field.default:
            raise UserError(f"--tables: expected --out alone, found {field.name} beside it. Leave that out.")
    return options.out


def require_data(plan: Plan, dataset: ImageDataset, out: Path) -> None:
    """Raise UserError if these images cannot train and measure the plan's rows, before hours are spent on it."""
    for folder in (plan.runs, out):
        require_apart([plan.data], folder)
    if all(without_code(row) for row in plan.rows):
        for split in ("train", "test"):
            dataset.split(split)
    else:
        Images(dataset)  # which refuses what cannot be probed
    if plan.chooses and "val" not in dataset.splits:
        raise UserError(
            f"{dataset.name}: expected a split val, on which learning rates are chosen, found "
            f"{', '.join(dataset.splits)}. Name splits (?split=train:0.8,val:0.1,test:0.1), or a single --rates 0.001."
        )


def _written(out: Path) -> dict[Path, int]:
    """Results files and when each was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("*.csv")}


def groups_of(texts: Sequence[str], dataset: ImageDataset) -> dict[str, list[str]]:
    """Name -> attributes, of texts NAME=ATTRIBUTE,ATTRIBUTE. Raises UserError where one is not so, or no label."""
    labels = dataset.attributes
    known = [*labels.binary_names, *labels.continuous_names] if labels is not None else []
    found = {}
    for text in texts:
        name, equals, attributes = text.partition("=")
        if not name or not equals:
            raise UserError(f"--groups {text}: expected NAME=ATTRIBUTE,ATTRIBUTE..., found no name before a '='.")
        found[name] = attributes.split(",")
        for attribute in found[name]:
            if attribute not in known:
                raise UserError(f"--groups {text}: {dataset.name} has no {attribute!r}; it has {', '.join(known)}.")
    return found


def show(register: Register) -> None:
    """Write tables and figure, and print the first table."""
    print(columns(_lines(report(register) if register.runs() else None)))
    print(f"tables: {register.out}")


def report(register: Register) -> Any:
    """Write tables and figure of the runs that are complete; the first table. One process does so at a time."""
    forget()  # what others have measured since is read too
    with locked(register.out / "tables"):
        tables = write_tables(register)
        if "curve" in tables:
            draw_curves(tables["curve"], tables["table1"], register.out / "curve.png")
        else:
            (register.out / "curve.png").unlink(missing_ok=True)
    return tables.get("table1")


def _lines(table: Any) -> list[list[str]]:
    if table is None:
        return [["no row has latents to probe"]]
    shown = {"row": "", "latent_dim": ".0f", "AP": ".4f", "AP_se": ".4f", "Pearson_r": ".4f", "Pearson_r_se": ".4f"}
    return [
        list(shown),
        *(
            [
                "-" if cell is None or cell != cell else format(cell, spec)
                for cell, spec in zip(line, shown.values(), strict=True)
            ]
            for line in table[list(shown)].values
        ),
    ]


def describe(plan: Plan) -> str:
    """The plan in words, with the time that trainings would take here one after the other."""
    lines, total = [["row", "seeds", "units an image", "images", "minutes"]], 0.0
    first: dict[str, Training] = {}
    second = seconds_a_unit(plan.scale)
    plan.count_operations()
    for row in plan.rows:
        run = plan.training(row, plan.scale.seeds[0], plan.rates(row)[0], first.get(row.builds_on))
        first[row.key] = run
        images, seeds = run.images // 2 if row.key in plan.halves else run.images, plan.seeds(row)
        cost = units(row, plan.scale.preset)
        minutes = second * cost * (images * len(seeds) + run.images * plan.searched(row)) / 60
        total += minutes
        lines.append([row.key, " ".join(map(str, seeds)), f"{cost:.3f}", f"{images:,}", f"{minutes:.1f}"])
    threads = torch.get_num_threads()
    return (
        f"{columns(lines)}\n\n{plan.scale.units:,} units a row; about {duration(60 * total)} of training here, on "
        f"{threads} {'thread' if threads == 1 else 'threads'}, measuring not counted."
    )


def seconds_a_unit(scale: Scale) -> float:
    """Of an image of the unconditional U-Net's training here, without the optimiser's: the better of two steps."""
    model, objective = fresh(ROWS["ddim"], scale.preset)
    model = model.to(memory_format=torch.channels_last).train()
    batch = min(scale.batch, 16)
    x = torch.zeros(batch, 3, scale.size, scale.size).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        objective(model, x, torch.Generator().manual_seed(0)).loss.mean().backward()
        times.append(time.perf_counter() - started)
    return min(times[1:]) / batch


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.study`; returns the exit status."""
    return cli.run(main, StudyOptions, module="benchmarks.study", description=__doc__, arguments=arguments)
