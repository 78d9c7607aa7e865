"""Runs that are killed, meet another run, or find the disk full."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import sandbox
from cache_kinds import DATA, DOWNSTREAM, GENERATION, RECONSTRUCTION, other_rows, rows_of
from damage import pick
from kind import Kind, first, undisturbed

from dbae.checkpoints import own
from dbae.training.folder import RunFolder, state_path

TRAIN = (
    "dbae.train --preset faces32 --data 'faces:?n=40&size=32' --batch-size 4 --images 40 --save-every 8 "
    "--preview-every 16 --log-every 3 --device cpu"
)
BENCHMARKS = {
    "downstream": DOWNSTREAM,
    "reconstruction": RECONSTRUCTION,
    "generation": GENERATION,
    "variation": f"benchmarks.variation --data {DATA} --device cpu --draws 4 --draw-images 3 --nfe 2",
    "disentanglement": f"benchmarks.disentanglement --data {DATA} --device cpu --limit 40 --factors Male",
    "cost": "benchmarks.cost --device cpu --batch-size 1 --repeats 1 --infer-steps 2",
}


def other_run(found: Path, expected: Path) -> str:
    """A complaint unless two training runs left the same weights, optimiser, log and pictures, and no scraps."""
    a, b = (RunFolder(folder).checkpoints() for folder in (found, expected))
    if [p.name for p in a] != [p.name for p in b]:
        return f"checkpoints {[p.name for p in a]}, expected {[p.name for p in b]}"
    for header, path in (("card", lambda p: p), ("state", state_path)):
        (left, _), (right, _) = (own.read_tensors(path(p[-1]), header) for p in (a, b))
        if left.keys() != right.keys() or any(not left[k].equal(v) for k, v in right.items()):
            return f"tensors of {path(a[-1]).name} differ"
    logs = [[line.split(",")[:5] for line in (f / "log.csv").read_text().splitlines()] for f in (found, expected)]
    if logs[0] != logs[1]:
        return "log.csv differs"
    pictures = [{p.name: p.read_bytes() for p in (f / "previews").glob("*.png")} for f in (found, expected)]
    if pictures[0] != pictures[1]:
        return f"previews differ: {sorted(pictures[0])}, expected {sorted(pictures[1])}"
    scraps = [p.name for p in found.rglob(".*")]
    return f"left behind: {scraps}" if scraps else ""


class KilledTraining(Kind):
    """SIGKILL at random moments, then --resume."""

    name = "killed training"
    held = "weights, optimiser, log and pictures bit-equal to an undisturbed run's, no temporary files left"
    share = 3.0

    def prepare(self) -> None:
        """The undisturbed run, twice: the second one, on drawn faces, says how long it takes."""
        for name in ("warm", "whole"):
            took = undisturbed(f"{TRAIN} --out {self.home / name}", self.home / "log", self.home / "cache")
        self.seconds = took.seconds

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One to three kills."""
        out, env = folder / "run", {"DBAE_CACHE": str(self.home / "cache")}
        moments = [float(m) for m in rng.uniform(0, 1, int(rng.integers(1, 4)))]
        complaints = []
        for moment in [*moments, None]:
            resume = " --resume" if RunFolder(out).checkpoints() else ""
            running = sandbox.start(f"{TRAIN} --out {out}{resume}", folder / "log", env=env)
            found = running.wait(kill_after=None if moment is None else moment * self.seconds)
            complaints.append("" if found.status == -9 and moment is not None else found.done())
        what = "killed at " + ", ".join(f"{m:.2f}" for m in moments) + f" of {self.seconds:.1f} s"
        return what, first([*complaints, other_run(out, self.home / "whole") if not first(complaints) else ""])


class KilledBenchmarks(Kind):
    """SIGKILL of each benchmark, then the same command again, with a cache that is cold at first."""

    name = "killed benchmarks"
    held = "rows bit-equal to an undisturbed run's, no temporary files left in the folder of results"
    share = 4.0

    def prepare(self) -> None:
        """Undisturbed runs."""
        self.expected, self.seconds = {}, {}
        for name, command in BENCHMARKS.items():
            out, cache = self.home / name, self.home / f"cache-{name}"
            took = undisturbed(f"{command} --out {out}/{name}.csv", self.home / "log", cache)
            self.expected[name], self.seconds[name] = rows_of(out), took.seconds
            shutil.rmtree(cache, ignore_errors=True)  # some need none

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One to three kills."""
        name = pick(rng, sorted(BENCHMARKS))
        out, env = folder / "out", {"DBAE_CACHE": str(folder / "cache")}
        moments = [float(m) for m in rng.uniform(0, 1, int(rng.integers(1, 4)))]
        complaints = []
        for moment in [*moments, None]:
            running = sandbox.start(f"{BENCHMARKS[name]} --out {out}/{name}.csv", folder / "log", env=env)
            found = running.wait(kill_after=None if moment is None else moment * self.seconds[name])
            complaints.append("" if found.status == -9 and moment is not None else found.done())
        scraps = [p.name for p in out.rglob(".*")]
        complaints += [f"left behind: {scraps}" if scraps else "", other_rows(out, self.expected[name])]
        return f"{name}, killed at " + ", ".join(f"{m:.2f}" for m in moments), first(complaints)


class TwoWriters(Kind):
    """Two processes on one CSV and one cold cache; two trainings in one folder."""

    name = "two writers"
    held = "both status 0 and all rows of both, as if alone; of two trainings one goes on and one is refused by a line"
    share = 2.0
    commands: ClassVar[tuple[str, str]] = (
        DOWNSTREAM,
        DOWNSTREAM.replace("--protocol standard", "--protocol paper"),
    )

    def prepare(self) -> None:
        """Both, one after the other."""
        for command in self.commands:
            undisturbed(f"{command} --out {self.home}/out/d.csv", self.home / "log", self.home / "cache")
        undisturbed(f"{TRAIN} --out {self.home}/whole", self.home / "log", self.home / "cache")
        self.expected = rows_of(self.home / "out")

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """The second begins a little later."""
        pause = float(rng.uniform(0, 2))
        env = {"DBAE_CACHE": str(folder / "cache")}
        out = folder / "out"
        training = bool(rng.random() < 0.3)
        both = [f"{TRAIN} --out {out}"] * 2 if training else [f"{c} --out {out}/d.csv" for c in self.commands]
        first_run = sandbox.start(both[0], folder / "first", env=env)
        time.sleep(pause)
        second = sandbox.start(both[1], folder / "second", env=env).wait()
        ended = first_run.wait()
        if not training:
            complaints = [ended.done(), second.done(), other_rows(out, self.expected)]
        else:
            if second.status == 0:  # the second was there first
                ended, second = second, ended
            complaints = [ended.done(), second.refused_or_done([out.name], allowed=()), ""]
            complaints.append(other_run(out, self.home / "whole") if not first(complaints) else "")
        return f"{'training' if training else 'downstream'}, {pause:.2f} s apart", first(complaints)


class FullDisk(Kind):
    """A disk of a few hundred KiB to a few MiB, for results and cache."""

    name = "full disk"
    held = "status 0 or 2 with one line; with room again, the same command gives the rows of an undisturbed run"

    def prepare(self) -> None:
        """Whether a disk can be made; undisturbed runs."""
        with _disk(1) as place:
            self.how = "a tmpfs" if place else "RLIMIT_FSIZE"
        undisturbed(f"{DOWNSTREAM} --out {self.home}/out/d.csv", self.home / "log", self.home / "cache")
        self.expected = rows_of(self.home / "out")

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """The run on the small disk; then its files are moved to a large one."""
        kib = int(np.exp(rng.uniform(np.log(8), np.log(3000))))
        roomy = folder / "roomy"
        with _disk(kib) as disk:
            place = disk or folder / "small"
            place.mkdir(exist_ok=True)
            limits = {} if disk else {"file_bytes": kib << 10}
            command, log = f"{DOWNSTREAM} --out {place}/out/d.csv", folder / "log"
            found = sandbox.run(command, log, env={"DBAE_CACHE": f"{place}/cache"}, **limits)
            complaint = found.refused_or_done([place.name, "cache", "out"])
            shutil.copytree(place, roomy)
        again = sandbox.run(
            f"{DOWNSTREAM} --out {roomy}/out/d.csv", folder / "again", env={"DBAE_CACHE": f"{roomy}/cache"}
        )
        complaints = [complaint, again.done(), other_rows(roomy / "out", self.expected)]
        return f"{kib} KiB by {self.how}", first(complaints)


@contextlib.contextmanager
def _disk(kib: int) -> Iterator[Path | None]:
    """A disk of so many KiB; None where this process may not mount one."""
    place = Path(tempfile.mkdtemp(prefix="torture-disk-"))
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = mounted and not subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            place.rmdir()
