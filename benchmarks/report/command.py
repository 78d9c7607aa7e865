r"""Make a page of results, or tables for a paper, from results files and run folders; nothing is measured.

One page that opens without a network, on a telephone too, and prints: tables with intervals and marks, figures, the
pictures that lie in the folders, and where every number comes from:

    python -m benchmarks.report results/utkface --html report.html

Several sets of results and training runs; each folder with results is a set, and can be compared with any other (of
more than ten, with the first ten):

    python -m benchmarks.report results runs/mine runs/photos --html report.html

The same tables to paste into a paper (LaTeX with booktabs, Markdown) or to read by a program (JSON):

    python -m benchmarks.report results/utkface --format latex --where task=downstream protocol=standard

A table shows what decides: the longest training of a model, at the number of evaluations that most models have, in the
usual convention of a metric. --everything shows all rows and columns.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from benchmarks.report.build import boards
from benchmarks.report.formats import FORMATS
from benchmarks.report.page import page
from benchmarks.report.sources import ResultSet, find
from benchmarks.results.evidence import forget
from benchmarks.results.where import Where
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Options of the command."""

    paths: Positional[tuple[Path, ...]]
    """Results files, folders with them (also deeper), and folders of training runs."""
    html: Path | None = None
    """The page to write; default: report.html, unless --format is given."""
    format: Literal["markdown", "latex", "json"] | None = None
    """Print the tables in this format."""
    where: tuple[str, ...] = ()
    """Only rows with these cells: task=downstream protocol=standard. Of a column named twice either cell will do."""
    everything: bool = False
    """Tables of --format with all rows and columns, not only those that decide."""
    pictures: int = 8
    """Pictures that a page shows of one folder, the last by their names; 0: none."""


def main(options: ReportOptions) -> None:
    """Make what was asked for."""
    forget()
    if not options.paths:
        raise UserError("expected folders or files with results, found none; name one, e.g. results/utkface.")
    if options.html and options.html.suffix not in (".html", ".htm"):
        raise UserError(f"--html {options.html}: expected a file name that ends in .html.")
    sets = _filtered(find(options.paths), options.where)
    if options.format:
        print(FORMATS[options.format](boards(sets), everything=options.everything), end="")
    if options.html or not options.format:
        out = options.html or Path("report.html")
        text = page(sets, pictures=options.pictures)
        with atomic_path(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
        log.info("%s (%.1f MB)", out, len(text.encode()) / 1e6)


def _filtered(sets: Sequence[ResultSet], where: Sequence[str]) -> list[ResultSet]:
    """The sets with the rows that were asked for."""
    wanted = Where(where)
    found = [
        dataclasses.replace(one, files={path: wanted.of(records) for path, records in one.files.items()})
        for one in sets
    ]
    wanted.require(
        [row for one in found for records in one.files.values() for row in records],
        ", ".join(one.name for one in sets),
    )
    return found


def command(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.report`; returns the exit status."""
    return cli.run(main, ReportOptions, module="benchmarks.report", description=__doc__, arguments=arguments)
