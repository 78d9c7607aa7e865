"""What a report is made from: results files, training logs and pictures, in the folders that they were written to."""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Record, RecordFile, beside
from benchmarks.results.differences_report import COMPARED
from dbae.support.errors import UserError
from dbae.training.folder import LOG_COLUMNS, read_log

log = logging.getLogger(__name__)
PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
PICTURES[".svg"] = "image/svg+xml"
_SKIPPED = ("_images", "checkpoints", "milestones", "__pycache__")
"""Ends of the names of folders without anything to show."""


@dataclasses.dataclass(frozen=True)
class ResultSet:
    """What one folder has (or one file that was named).

    Attributes:
        name: the folder's, with as much of the path before it as tells it from the others.
        files: results files with their records, those of single attributes apart.
        logs: training logs: columns -> values.
        pictures: in natural order of their names, by folder.
    """

    name: str
    files: dict[Path, list[Record]]
    logs: dict[Path, dict[str, list[float]]]
    pictures: dict[Path, list[Path]]


def find(paths: Sequence[Path]) -> list[ResultSet]:
    """Everything under the folders and in the files named, one set a folder that has results or a log.

    Raises:
        UserError: a path that is not there, a file that is no results file, or nothing to report.
    """
    places: dict[Path, ResultSet] = {}
    for path in paths:
        if path.is_file():
            places.setdefault(path.resolve(), ResultSet("", {path: RecordFile(path).read()}, {}, {}))
        elif path.is_dir():
            for folder, found in _folders(path).items():
                places.setdefault(folder.resolve(), found)
        else:
            raise UserError(f"{path}: expected a results file or a folder with some, found nothing of that name.")
    if not any(any(place.files.values()) or place.logs for place in places.values()):
        raise UserError(
            f"{', '.join(map(str, paths))}: expected results files (CSV) with rows, or training logs, found none. "
            "Name the --out of a benchmark, or the folder of a training run."
        )
    named = zip(_names(list(places)), places.values(), strict=True)
    return [dataclasses.replace(found, name=name) for name, found in named]


def _folders(top: Path) -> dict[Path, ResultSet]:
    """Folders with results or a log; pictures in folders below that have neither are theirs."""
    owner: dict[Path, Path] = {}
    found: dict[Path, ResultSet] = {}
    for name, below, names in os.walk(top):
        below[:] = sorted(b for b in below if not b.startswith(".") and not b.endswith(_SKIPPED))
        folder = Path(name)
        files, logs = _tables(folder, names)
        if files or logs:
            found[folder] = ResultSet("", files, logs, {})
        owner[folder] = folder if files or logs else owner.get(folder.parent, folder)
        pictures = sorted((folder / n for n in names if Path(n).suffix.lower() in PICTURES), key=natural)
        if pictures and owner[folder] in found:
            found[owner[folder]].pictures[folder] = pictures
    return found


def _tables(folder: Path, names: Sequence[str]) -> tuple[dict[Path, list[Record]], dict[Path, dict[str, list[float]]]]:
    files, logs = {}, {}
    for path in sorted(folder / name for name in names if name.endswith(".csv")):
        head = _head(path)
        if head[:3] == ["task", "protocol", "task_version"] and not (
            _is_of_attributes(path) or head[-1] == COMPARED[-1]
        ):
            files[path] = RecordFile(path).read()
        elif head == list(LOG_COLUMNS):
            logs[path] = read_log(path)
    return files, logs


def _head(path: Path) -> list[str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        log.warning("%s: not read (%s).", path, error)
        return []


def _is_of_attributes(path: Path) -> bool:
    means = path.stem.removesuffix("_attributes")
    return means != path.stem and path.with_name(f"{means}.csv").exists()


def attributes_of(path: Path) -> Path | None:
    """The file of single attributes beside a results file."""
    found = beside(path, "_attributes.csv")
    return found if found.exists() else None


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key: numbers in names by their value."""
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in re.split(r"(\d+)", path.name) if p]


def _names(places: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ."""
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = [
            "/".join((*place.parent.parts, place.stem if place.is_file() else place.name)[-depth:]) for place in places
        ]
        if len(set(names)) == len(names):
            break
    return names
