"""Torture: kills, damaged files, two writers and a full disk, from a seed, for as many minutes as are given.

Examples:
  python tests/torture --minutes 20
  python tests/torture --minutes 5 --seed 7 --only labels cards
  python tests/torture --only cards --seed 7 --number 41

Prints how many attempts of each kind held. An attempt is a function of the seed, its kind and its number (the last
example repeats one), but for the moments of kills, which are shares of a run's time. Inputs of failures are kept. Ends
with status 1 if anything failed.
"""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import cache_kinds
import checkpoint_kinds
import data_kinds
import run_kinds
import torch
from kind import Kind, SkippedError, generator
from tqdm import tqdm

from dbae.support import cli
from dbae.support.errors import UserError

KINDS: tuple[type[Kind], ...] = (
    *(checkpoint_kinds.Weights, checkpoint_kinds.Cards, checkpoint_kinds.Pickles),
    *(data_kinds.Images, data_kinds.Lmdbs, data_kinds.Labels),
    *(cache_kinds.Caches, cache_kinds.Beside),
    *(run_kinds.KilledTraining, run_kinds.KilledBenchmarks, run_kinds.TwoWriters, run_kinds.FullDisk),
)
_IMPORTED = (
    *("dbae.train", "dbae.encode", "dbae.data.check", "dbae.data.kinds", "baselines.load", "baselines.inspect"),
    *("benchmarks.compare", "sklearn.linear_model", "pandas", "scipy.stats", "skimage.metrics", "lmdb"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
)
"""So that a fork has them."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    minutes: float = 18.0
    """How long to go on; what is begun is ended, and preparing takes two minutes more on two cores."""
    seed: int = 0
    """Of everything that is drawn."""
    only: tuple[str, ...] = ()
    """Kinds to try; default: all."""
    number: int | None = None
    """Repeat this attempt of each kind, and nothing else."""
    attempts: int | None = None
    """At most so many attempts of a kind."""
    keep: Path | None = None
    """Folder for the inputs of failures. Default: a new one in the folder of temporary files."""


@dataclasses.dataclass
class Tried:
    """A kind at work: its attempts so far."""

    kind: Kind
    number: int = 0
    failed: int = 0
    seconds: float = 0.0


def torture(options: Options) -> None:
    """Run the command."""
    kinds = {kind.name: kind for kind in KINDS}
    if unknown := set(options.only) - set(kinds):
        raise UserError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(kinds)}.")
    torch.set_num_threads(1)
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in run_kinds.BENCHMARKS:
        importlib.import_module(f"benchmarks.{name}.command")
    keep = options.keep or Path(tempfile.mkdtemp(prefix="torture-failed-"))
    with tempfile.TemporaryDirectory(prefix="torture-") as work:
        home = Path(work)
        tried = _prepared([kinds[name] for name in options.only or kinds], home)
        _all(tried, options, home / "attempt", keep)
    for one in tried:
        kind, held = one.kind, one.number - one.failed
        print(f"{kind.name:18} tried {one.number:5}  held {held:5}  failed {one.failed:4}   ({kind.held})")
    failed = sum(one.failed for one in tried)
    print(f"seed {options.seed}: {sum(one.number for one in tried)} tried, {failed} failed")
    if failed:
        print(f"inputs of what failed: {keep}")
        raise SystemExit(1)


def _prepared(kinds: Sequence[type[Kind]], home: Path) -> list[Tried]:
    found = []
    for kind in tqdm(kinds, desc="preparing", unit="kind", mininterval=10):
        try:
            found.append(Tried(kind(home / kind.name.replace(" ", "-"))))
        except (SkippedError, ImportError) as reason:  # ImportError: an extra that is not installed
            print(f"{kind.name}: skipped: {reason}")
    return found


def _all(tried: list[Tried], options: Options, folder: Path, keep: Path) -> None:
    """Attempts in turn: next is the kind that has had the least of its share of the time."""
    end, started = 60 * options.minutes, time.monotonic()
    most = 1 if options.number is not None else options.attempts
    with tqdm(total=round(end), unit="s", desc="torture", mininterval=10) as bar:
        while left := [one for one in tried if most is None or one.number < most]:
            if time.monotonic() - started > end:
                break
            one = min(left, key=lambda one: one.seconds / one.kind.share)
            number = one.number if options.number is None else options.number
            began = time.monotonic()
            what, complaint = _attempt(one.kind, options.seed, number, folder)
            one.seconds += time.monotonic() - began
            one.number += 1
            if complaint:
                one.failed += 1
                kept = keep / f"{one.kind.name.replace(' ', '-')}-{number}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                bar.write(f"{one.kind.name}, seed {options.seed}, number {number}: {what}\n    {complaint}\n    {kept}")
            bar.set_postfix(tried=sum(t.number for t in tried), failed=sum(t.failed for t in tried), refresh=False)
            bar.update(min(round(time.monotonic() - started), bar.total) - bar.n)


def _attempt(kind: Kind, seed: int, number: int, folder: Path) -> tuple[str, str]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        return kind.attempt(generator(seed, kind.name, number), folder)
    except Exception:
        return "an error of the attempt itself", traceback.format_exc()


def main() -> int:
    """The command line; returns the exit status."""
    return cli.run(torture, Options, module="tests.torture", description=__doc__)
