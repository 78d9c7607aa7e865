"""Files that a run left for the next one, damaged: the cache, and what stands beside a CSV."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import sandbox
from damage import broken_bytes, pick
from kind import Kind, first, undisturbed

from benchmarks.results import RecordFile

Rows = dict[object, str]

DATA = "'faces:?n=80&size=32'"
DOWNSTREAM = f"benchmarks.downstream --data {DATA} --device cpu --protocol standard --seeds 0 1 2"
RECONSTRUCTION = f"benchmarks.reconstruction --data {DATA} --device cpu --limit 9 --nfe 2"
GENERATION = (
    f"benchmarks.generation --data {DATA} --device cpu --n 24 --nfe 2 --prior-nfe 5 --extractor faces --batch-size 8"
)


def rows_of(folder: Path) -> Rows:
    """Identity -> value and standard error of all rows in the CSVs of a folder; times are left out."""
    found: Rows = {}
    for path in sorted(folder.glob("*.csv")):
        for row in RecordFile(path).read():
            if row.task != "cost" or row.protocol == "architecture":
                found[row.identity] = f"{row.value!r} {row.stderr!r}"
    return found


def other_rows(folder: Path, expected: Rows) -> str:
    """A complaint about rows that are not the expected ones."""
    found = rows_of(folder)
    different = [key for key in expected if found.get(key) != expected[key]]
    if different or len(found) != len(expected):
        return f"{len(different)} of {len(expected)} rows differ or lack, {len(found)} found: {different[:1]}"
    return ""


def altered(rng: np.random.Generator, path: Path) -> str:
    """Damage a file in place: its bytes, or what an array is; how."""
    data = path.read_bytes()
    if path.suffix == ".npy" and rng.random() < 0.5:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        changes = {
            "float64": lambda: array.astype(np.float64),
            "float16": lambda: array.astype(np.float16),
            "int32": lambda: array.astype(np.int32),
            "one row fewer": lambda: array[:-1],
            "one dimension fewer": lambda: array.reshape(len(array), -1)[:, :-1],
            "transposed": lambda: np.ascontiguousarray(array.T),
            "objects": lambda: array.reshape(-1)[:4].astype(object),
            "other numbers": lambda: array + np.ones((), array.dtype),
            "no numbers": lambda: array * np.nan if array.dtype.kind == "f" else array * 0,
        }
        how = pick(rng, sorted(changes))
        np.save(path, changes[how](), allow_pickle=how == "objects")
        return f"{path.name}: {how}"
    data, how = broken_bytes(rng, data)
    path.write_bytes(data)
    return f"{path.name}: {how}"


class Caches(Kind):
    """Drawn faces, latents, principal components."""

    name = "caches"
    held = "status 0 and the rows of an undisturbed run, bit for bit (computed again), or status 2 with the file's name"
    share = 2.0

    def prepare(self) -> None:
        """A run, which fills the cache."""
        undisturbed(f"{DOWNSTREAM} --out {self.home}/out/d.csv", self.home / "log", self.home / "cache")
        self.expected = rows_of(self.home / "out")

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One or two files of the cache, then the run again into another folder."""
        cache, out = folder / "cache", folder / "out"
        shutil.copytree(self.home / "cache", cache)
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        chosen = [pick(rng, files) for _ in range(int(rng.integers(1, 3)))]
        how = "; ".join(altered(rng, path) for path in dict.fromkeys(chosen))
        found = sandbox.run(f"{DOWNSTREAM} --out {out}/d.csv", folder / "log", env={"DBAE_CACHE": str(cache)})
        names = [path.name for path in chosen]
        wrong = "" if found.status else other_rows(out, self.expected)
        return how, first([found.refused_or_done(names), wrong])


class Beside(Kind):
    """CSVs, values of single images, scores and generated parts, when `compare` and the next run read them."""

    name = "results"
    held = "compare and the same command again: status 0 to 2 without a traceback, 2 with the file's name"
    share = 2.0

    def prepare(self) -> None:
        """A run of three benchmarks."""
        for name, command in (("d", DOWNSTREAM), ("r", RECONSTRUCTION), ("g", GENERATION)):
            out = self.home / "out" / name / f"{name}.csv"
            undisturbed(f"{command} --out {out}", self.home / "log", self.home / "cache")

    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """One file, then both commands."""
        name, command = pick(rng, (("d", DOWNSTREAM), ("r", RECONSTRUCTION), ("g", GENERATION)))
        out = folder / name
        shutil.copytree(self.home / "out" / name, out)
        files = sorted(p for p in out.rglob("*") if p.is_file() and p.suffix != ".png")
        path = pick(rng, files)
        how = altered(rng, path)
        whole = self.home / "out" / name / f"{name}.csv"
        names, csv = [path.name, name + ".csv"], out / f"{name}.csv"
        compared = sandbox.run(f"benchmarks.compare {whole} {csv}", folder / "compare")
        again = sandbox.run(f"{command} --out {csv}", folder / "again", env={"DBAE_CACHE": str(self.home / "cache")})
        return how, first([compared.refused_or_done(names, allowed=(0, 1)), again.refused_or_done(names)])
