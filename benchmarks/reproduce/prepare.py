"""A plan made ready to run: what every step needs is looked for before the first one measures, and its time estimated.

A step whose checkpoint, labels, splits or prior are not there is left out, whole or in part, and said to be missing;
the others go on. The estimate takes the speed of this machine, here and now: a few evaluations of the network. In the
end the steps are run, and one that fails hides no other.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.reproduce.plan import Missing, Plan, Step
from benchmarks.results import Record, RecordFile
from benchmarks.results.record import Identity
from benchmarks.runner import Load, ModelOptions, family
from benchmarks.subjects import SettingOptions, on_device
from dbae.data import Faces, ImageDataset, open_data, parse_source
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support import cli, text
from dbae.support.errors import UserError
from dbae.support.files import cache_folder

log = logging.getLogger(__name__)

HEAD = ("benchmark", "checkpoint", "data", "options", "images", "NFE an image", "about")


@dataclasses.dataclass(frozen=True)
class Ready:
    """A step that can run.

    Attributes:
        options: of its benchmark, but the results file; without what is not there.
        lines: what `describe` says, a line a model.
    """

    step: Step
    options: ModelOptions
    lines: tuple[tuple[str, ...], ...] = ()


def prepare(
    found: Plan, given: Mapping[str, Any], load: Load, metrics: Iterable[str], *, estimate: bool
) -> tuple[list[Ready], list[Missing]]:
    """Every step that can run, and what is missing of the others.

    Args:
        given: options that all benchmarks get which have them.
        load: checkpoint file or name -> model; one is held at a time.
        metrics: published metrics; what only others want is not missed. None published: nothing is missed but what
            stops a step.
        estimate: fill in `Ready.lines`.
    """
    ready, missing, wanted = [], [], tuple(metrics)
    for step in found.steps:
        try:
            options = _options(step, given)
            options, lacks, lines = _checked(step, options, load, estimate)
        except UserError as error:
            missing.append(Missing(str(error), step.words, "the step is left out"))
            continue
        for lack in lacks:
            if options is None or any(name.startswith(lack.metric) for name in wanted):
                missing.append(Missing(lack.what, f"{step.words}: {lack.without}", lack.remedy))
        if options is not None:
            ready.append(Ready(step, options, tuple(lines)))
    return ready, list(dict.fromkeys(missing))


def require_writable(*folders: Path) -> None:
    """Raises UserError where a run could not write, before it measures for hours."""
    for folder in (*folders, cache_folder()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"{folder}: expected a folder that can be written, found {error.strerror}. Name another --out, or set "
                "DBAE_CACHE to another folder."
            ) from error


def describe(ready: Sequence[Ready]) -> str:
    """A table of the steps: images, network evaluations, and the time they take."""
    return text.columns([HEAD, *(line for step in ready for line in step.lines)])


def _options(step: Step, given: Mapping[str, Any]) -> ModelOptions:
    kind = family(step.run.benchmark).options
    known = {field.name for field in dataclasses.fields(kind)}
    shared = {name: value for name, value in given.items() if name in known and value is not None}
    data = {} if step.data is None else {"data": (step.data,)}
    options: ModelOptions = kind(**{**step.run.options, **shared, **data, "ckpt": step.checkpoints})
    options.check()
    return options


def _checked(step: Step, options: ModelOptions, load: Load, estimate: bool) -> tuple[Any, list[Any], list[Any]]:
    """Options of what is possible, what lacks, and lines of the description."""
    benchmark, lines, lacks = family(step.run.benchmark), [], []
    possible: ModelOptions | None = options
    for source in step.checkpoints:
        loaded = benchmark.open(source, load)
        dataset = None if step.data is None else _undrawn(step.data, loaded.model.image_size)
        possible, lacking = benchmark.possible(options, loaded, dataset)
        lacks += lacking
        if possible is not None and estimate:
            images, evaluations = benchmark.work(possible, loaded.model, dataset)
            seconds = images * sum(_seconds(on_device(loaded.model, cli.device(options.device)), evaluations))
            words = _words(step.run.options)
            row = (step.run.benchmark, source, step.data or "", words, str(images), str(evaluations))
            lines.append((*row, text.duration(seconds)))
    return possible, lacks, lines


def _undrawn(source: str, size: int) -> ImageDataset:
    """A data set to look at: of drawn faces, labels and splits are known before they are drawn, which takes minutes."""
    parsed = parse_source(source)
    if parsed.kind != "faces":
        return open_data(source, size=size)
    known: dict[str, Any] = {"n": parsed.n, "size": parsed.size or size, "seed": parsed.seed}
    return Faces(**{name: value for name, value in known.items() if value is not None})


@torch.inference_mode()
def _seconds(model: Any, evaluations: int) -> tuple[float, float]:
    """Of one image: of so many evaluations, and of encoding it."""
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    batch = 1 if device.type == "cpu" else 8
    z = torch.zeros(batch, model.latent_dim, device=device)
    x = torch.zeros(batch, 3, model.image_size, model.image_size, device=device)
    method = next((name for name in model.samplers if name != "one_step"), None)

    def decode(nfe: int) -> None:
        noise = PerImageNoise(0, range(batch), device=device)
        model.decode(z, sampler=SamplerConfig(method or "one_step", nfe), noise=noise)

    encode = 0.0
    if not model.encode_nfe:
        model.posterior(x[:1])  # the first call sets things up
        encode = _timed(lambda: model.posterior(x))
    if not evaluations:
        return 0.0, encode / batch
    few, many = (_timed(functools.partial(decode, nfe)) for nfe in ((2, 3) if method else (1, 1)))
    each = max(many - few, 0.0) or many / 3
    return evaluations * each / batch, encode / batch


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _words(options: Mapping[str, Any]) -> str:
    """Options as a person would type them."""
    flat = dict(options)
    if settings := flat.pop("settings", None):
        default = SettingOptions()
        flat |= {k: v for k, v in vars(settings).items() if v != getattr(default, k)}
    return " ".join(f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in flat.items())


def measure(ready: Sequence[Ready], path: Path, load: Load) -> tuple[list[Record], list[str]]:
    """Run every step into the records file `path`; the rows that they ask for, and what steps that failed said."""
    failed: list[str] = []
    asked: set[Identity] = set()
    for step in ready:
        try:
            _run(step, path, load, asked)
        except UserError as error:
            log.error("%s: %s", step.step.words, error)
            failed.append(f"{step.step.words}: {error}")
    return [row for row in RecordFile(path).read() if row.identity in asked], failed


def _run(step: Ready, path: Path, load: Load, asked: set[Identity]) -> None:
    """Run one step; what it found or measured is `asked` for, also where it fails later."""
    chosen, options = family(step.step.run.benchmark), dataclasses.replace(step.options, out=path)
    options.check()
    session = chosen.session(options)
    try:
        chosen.measured(options, session, load, open_data)
    finally:
        asked.update(session.results.touched)
