"""What this installation has, what it lacks, what for, and how to get it.

Examples:
  python -m benchmarks.reproduce.validate
  python -m benchmarks.reproduce.validate --json

`dbae-bench validate` is the same. Looked for: packages and their versions, extras, built-in models, published tables, a
GPU, a cache that can be written, weights for FID and LPIPS, published checkpoints and data. Status 2 if something is
missing that every command needs; what only some need is said and is no failure. Nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from importlib import metadata

import torch
from packaging.requirements import Requirement

from benchmarks.__main__ import version
from benchmarks.extractors.features import INCEPTION_FILES, LPIPS_FILES, load_extractors
from benchmarks.extractors.weights import WeightFile, find_weights
from benchmarks.reproduce.ls import data, models, tables
from benchmarks.reproduce.prepare import require_writable
from dbae.support import cli, text
from dbae.support.errors import UserError
from dbae.support.files import cache_folder

DEVELOPERS = ("dev", "docs", "speed")
"""Extras that only who works on this package needs."""
BUILTIN = "builtin:"


@dataclasses.dataclass(frozen=True)
class ValidateOptions:
    """The command line."""

    json: bool = False
    """Print a JSON list of objects instead of a table."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        what: the thing; there: whether it is there; found: what was found.
        remedy: how to get it, where it is missing.
        needed: whether every command needs it.
    """

    what: str
    there: bool
    found: str
    remedy: str = ""
    needed: bool = False

    @property
    def mark(self) -> str:
        """As the table shows it."""
        return "ok" if self.there else "MISSING" if self.needed else "-"


def findings() -> Iterator[Finding]:
    """Everything that is looked for, in the order of the report; what is there needs no remedy."""
    for finding in _looked_for():
        yield dataclasses.replace(finding, remedy="") if finding.there else finding


def _looked_for() -> Iterator[Finding]:
    yield from packages()
    yield from own_files()
    yield cache()
    yield gpu()
    yield _weights("weights for FID, KID, Inception Score", INCEPTION_FILES)
    yield _weights("weights for LPIPS", (LPIPS_FILES["alex"],))
    here = [row["name"] for row in models() if row["here"] and not row["name"].startswith(BUILTIN)]
    remedy = "`dbae-bench list --long` says where to get each; set DBAE_CHECKPOINTS to the folder with NAME/FILE"
    yield Finding("published checkpoints", bool(here), _some(here), remedy)
    here = [row["name"] for row in data() if row["here"]]
    remedy = "`dbae-bench data check celeba` says where to get it; set DBAE_DATA to the folder with celeba, ffhq, ..."
    yield Finding("published data", bool(here), _some(here), remedy)


def packages() -> Iterator[Finding]:
    """Python packages that are required, and those of extras that users choose."""
    try:
        requirements = [Requirement(line) for line in metadata.requires("dbae-bench") or ()]
    except metadata.PackageNotFoundError:
        remedy = "in a clone of the repository: pip install -c constraints.txt -e ."
        yield Finding("dbae-bench", False, "code that is not installed", remedy, needed=True)
        return
    required = [r for r in requirements if r.marker is None]
    wrong = [f"{r} (found {_version(r.name) or 'none'})" for r in required if not _satisfied(r)]
    remedy = f"pip install {' '.join(repr(str(r)) for r in required if not _satisfied(r))}"
    found = ", ".join(wrong) or f"all {len(required)}; torch {torch.__version__}"
    yield Finding("required packages", not wrong, found, remedy, needed=True)
    for extra in metadata.metadata("dbae-bench").get_all("Provides-Extra") or ():
        if extra not in DEVELOPERS:
            mine = [r for r in requirements if r.marker is not None and r.marker.evaluate({"extra": extra})]
            names = ", ".join(r.name for r in mine)
            yield Finding(f"extra {extra}", all(map(_satisfied, mine)), names, f"pip install 'dbae-bench[{extra}]'")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _satisfied(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def own_files() -> Iterator[Finding]:
    """What comes with this package, opened."""
    remedy = "install this package again: its files are not complete"
    for row in models():
        if row["name"].startswith(BUILTIN):
            yield Finding(row["name"], row["here"], row["about"], remedy, needed=True)
    try:
        (extractor,) = load_extractors(("faces",))
        yield Finding("features for FD-faces", True, f"{extractor.dim} numbers an image", needed=True)
    except (UserError, OSError) as error:
        yield Finding("features for FD-faces", False, str(error), remedy, needed=True)
    there = tables()
    yield Finding("published tables", bool(there), f"{len(there)} files", remedy, needed=True)


def cache() -> Finding:
    """The folder of latents, drawn faces and generated images."""
    folder = cache_folder()
    try:
        require_writable(folder)
    except UserError as error:
        return Finding("cache", False, str(error), "set DBAE_CACHE to a folder that can be written", needed=True)
    return Finding("cache", True, f"{folder}, {shutil.disk_usage(folder).free / 2**30:.0f} GiB free", needed=True)


def gpu() -> Finding:
    """The GPUs that torch sees."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
    remedy = f"{built}; everything runs on the CPU too, published models slowly"
    return Finding("GPU", bool(names), ", ".join(names) or "none", remedy)


def _weights(what: str, files: tuple[WeightFile, ...]) -> Finding:
    try:
        return Finding(what, True, str(find_weights(what, files, None, option="")))
    except UserError as error:
        damaged = "SHA-256" in str(error)
        remedy = str(error) if damaged else f"put {files[0].url} into $DBAE_WEIGHTS_DIR"
        return Finding(what, False, "damaged" if damaged else "none", remedy)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "none"


def validate(options: ValidateOptions) -> None:
    """Run the command.

    Raises:
        UserError: something is missing that every command needs.
    """
    found = list(findings())
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        print(f"{version()}\n\n{text.columns([(f.mark, f.what, f.found) for f in found])}")
        missing = [f"{f.what}\n    {f.remedy}" for f in found if not f.there]
        print("\n".join(["", "How to get what is not there:", *missing]) if missing else "\nEverything is there.")
    if lacking := [finding.what for finding in found if finding.needed and not finding.there]:
        raise UserError(f"This installation is not complete: {', '.join(lacking)}. What to do stands above.")


if __name__ == "__main__":
    raise SystemExit(cli.run(validate, ValidateOptions, module="benchmarks.reproduce.validate", description=__doc__))
