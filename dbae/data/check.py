"""What a data set on disk holds, what it lacks, and which of its images cannot be read."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from dbae.data.base import Attributes, ImageDataset
from dbae.data.files import ImageFiles, LmdbFiles
from dbae.data.kinds.published import Layout, Part, files_at
from dbae.data.loader import in_processes
from dbae.data.source import KINDS, open_data, parse_source, root_of
from dbae.data.subset import located
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar

CHUNK = 64
SHOWN = 10
"""Unreadable images that are named; the others are counted."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Findings on one source.

    Attributes:
        source: as given.
        parts: (part, how many files were found) for a published data set.
        data: the data set, or None when it could not be opened.
        unreadable: message of every image that could not be read.
        turned: images whose EXIF orientation says that their stored pixels are not upright.
        problems: what makes it unusable, or other than the published data.
    """

    source: str
    parts: tuple[tuple[Part, int], ...]
    data: ImageDataset | None
    unreadable: tuple[str, ...]
    turned: int
    problems: tuple[str, ...]


def check(source: str, *, images: bool = True, workers: int = 0, progress: bool = True) -> Report:
    """Look at a data set; what is wrong with it is reported, not raised.

    Args:
        source: `KIND:ROOT` (`dbae.data.source`).
        images: read and decode every image.
        workers: processes that decode (0: this one).
        progress: show a progress bar.

    Raises:
        UserError: `source` is not of the grammar.
    """
    parsed = parse_source(source)
    layout = KINDS[parsed.kind].layout
    problems: list[str] = []
    parts: tuple[tuple[Part, int], ...] = ()
    data = None
    try:
        parts = () if layout is None else _find(layout, source)
        problems += [f"missing: {part.pattern} ({part.what})" for part, count in parts if part.needed and not count]
        with _unsaid():
            data = open_data(source, size=64)  # any size will do; without one every header would be read
    except UserError as error:
        problems.append(str(error))
    unreadable: tuple[str, ...] = ()
    turned = 0
    if data is not None:
        if layout is not None and parsed.split is None and parsed.n is None:
            problems += _count(layout, len(data), data)
        if (published := KINDS[parsed.kind].images) and parsed.n is None and len(data.splits["all"]) not in published:
            counts = " or ".join(f"{count:,}" for count in published)
            problems.append(f"expected the {counts} images of {parsed.kind}, found {len(data):,}")
        unreadable, turned = _read_all(data, workers, progress) if images else ((), 0)
    if unreadable:
        problems.append(f"{len(unreadable)} images cannot be read")
    return Report(source, parts, data, unreadable, turned, tuple(problems))


def format_report(report: Report) -> str:
    """The report as text: parts, counts, labels, problems."""
    lines = [report.source]
    for part, count in report.parts:
        state = f"{count:>9,} found" if count else "  missing" + (" (needed)" if part.needed else "")
        lines.append(f"  {part.pattern:34} {part.what:28} {state}" + ("" if count else f"; get it: {part.where}"))
    data = report.data
    if data is not None:
        lines.append("images: " + ", ".join(f"{name} {len(indices):,}" for name, indices in data.splits.items()))
        if data.groups is not None:
            lines.append(f"people: {len(np.unique(data.groups)):,}")
        if data.classes is not None:
            counts = [f"{name} {len(np.unique(row))}" for name, row in zip(data.factors, data.classes.T, strict=True)]
            lines.append(f"factors, with the number of their values: {', '.join(counts)}")
        lines += _label_statistics(data.attributes) if data.attributes is not None else ["labels: none"]
        lines += _remarks(data, report.turned)
    lines += [f"unreadable: {message}" for message in report.unreadable[:SHOWN]]
    if len(report.unreadable) > SHOWN:
        lines.append(f"unreadable: {len(report.unreadable) - SHOWN:,} more")
    lines += [f"problem: {problem}" for problem in report.problems]
    lines += [] if report.problems else ["no problems found"]
    # a name may hold bytes that are no text, which an output of another encoding could not take
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def _remarks(data: ImageDataset, turned: int) -> list[str]:
    """What the label files say of themselves, what is not used, and photographs that lie on their side."""
    files, _ = located(data, 0)
    if not isinstance(files, ImageFiles):
        return []
    lines = [f"labels: {note}" for note in files.notes] + [f"seen and not used: {what}" for what in files.unused]
    if turned:
        what = "turned upright (?exif=ignore reads them as stored)" if files.exif == "upright" else "read as stored"
        lines.append(f"turned: {turned:,} images say by EXIF that their pixels are to be turned; they are {what}")
    return lines


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """Within the block, a folder's remarks on its files do not go to the log: `_remarks` puts them in the report."""
    logger = logging.getLogger(ImageFiles.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _find(layout: Layout, source: str) -> tuple[tuple[Part, int], ...]:
    """How many files there are of every part; an LMDB's images stand for the first part."""
    files = files_at(root_of(parse_source(source)), name_of=layout.name_of)
    if isinstance(files, LmdbFiles):
        images = dataclasses.replace(layout.parts[0], pattern="data.mdb")
        beside = [name for name in files.names() if name not in set(files.images)]
        return ((images, len(files.images)), *((part, _matching(part, beside)) for part in layout.parts[1:]))
    names = files.names()
    return tuple((part, _matching(part, names)) for part in layout.parts)


def _matching(part: Part, names: Sequence[str]) -> int:
    patterns = [part.pattern, *([part.kaggle] if part.kaggle else [])]
    return max(len(fnmatch.filter((f"/{name}" for name in names), f"*/{pattern}")) for pattern in patterns)


def _count(layout: Layout, n: int, data: ImageDataset) -> list[str]:
    """LFW lists only images with scores, so that its count is no more than a bound."""
    enough = n == layout.images or (layout.name == "lfw" and 0.9 * layout.images < n <= layout.images)
    return [] if enough else [f"expected the {layout.images:,} images of {layout.name}, found {n:,}"]


def _read_all(data: ImageDataset, workers: int, progress: bool) -> tuple[tuple[str, ...], int]:
    """A message for every image that cannot be read, and how many say that they are not upright."""
    starts = range(0, len(data), CHUNK)
    found: list[str] = []
    turned = 0
    with progress_bar(len(data), f"reading {data.name}", show=progress) as bar:
        for read, messages, sideways in in_processes(functools.partial(_read, data), starts, workers):
            found += messages
            turned += sideways
            bar.update(read)
    return tuple(found), turned


def _read(data: ImageDataset, start: int) -> tuple[int, list[str], int]:
    """Read one chunk: how many images were tried, a message for each that failed, how many are not upright."""
    messages, turned = [], 0
    stop = min(start + CHUNK, len(data))
    for index in range(start, stop):
        files, i = located(data, index)
        try:
            data.image(index)
            turned += isinstance(files, ImageFiles) and files.says_turned(i)
        except UserError as error:
            messages.append(str(error))
    return stop - start, messages, turned


def _label_statistics(labels: Attributes) -> list[str]:
    """Prevalence of every binary attribute; mean, deviation, least and greatest value of every continuous one."""
    lines = []
    if labels.binary_names:
        lines.append(f"binary attributes: {len(labels.binary_names)}, with the share of images that have them")
        shares = labels.binary.mean(0)
        lines += [f"  {name:34} {share:7.2%}" for name, share in zip(labels.binary_names, shares, strict=True)]
    if labels.continuous_names:
        lines.append(f"continuous attributes: {len(labels.continuous_names)}, with mean, deviation, least, greatest")
        values = labels.continuous
        rows = zip(values.mean(0), values.std(0), values.min(0), values.max(0), strict=True)
        for name, row in zip(labels.continuous_names, rows, strict=True):
            lines.append(f"  {name:34} " + " ".join(f"{value:9.4g}" for value in row))
    return lines
