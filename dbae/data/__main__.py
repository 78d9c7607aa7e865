"""Look at data sets, and make fast ones.

    python -m dbae.data check celeba:/data/celeba
    python -m dbae.data prepare celeba:/data/celeba --size 64 --out celeba64.zip --workers 8

`check` says what is there, what is missing and where users get it, images of every split, unreadable files, labels,
what is seen and not used, and how many photographs EXIF says to turn.

`prepare` makes a zip or LMDB of PNGs at one size, with all labels; an interrupted run goes on when it is started again,
and reads images again that were replaced meanwhile.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from dbae.data.check import check, format_report
from dbae.data.overlap import require_apart
from dbae.data.prepare import prepare_dataset
from dbae.data.source import open_data
from dbae.support import cli
from dbae.support.errors import UserError

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="KIND:ROOT")]

DEFAULT_WORKERS = min(4, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Check:
    """Say what a data set holds, what it lacks, and which of its images cannot be read; exit status 2 on a problem.

    Attributes:
        source: KIND:ROOT or a path.
        images: read every image, not only names and labels.
        workers: processes that read.
    """

    source: Source
    images: bool = True
    workers: int = DEFAULT_WORKERS


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Write all images at one size, with their labels, as one zip or LMDB.

    Attributes:
        source: KIND:ROOT or a path, perhaps with ?split=...
        out: a name that ends in .zip or .lmdb.
        size: side of the images in pixels.
        workers: processes that read and encode; the result is the same.
    """

    source: Source
    out: Path
    size: int
    workers: int = DEFAULT_WORKERS


def run_check(options: Check) -> None:
    """Print the report. Raises UserError when there is a problem."""
    report = check(options.source, images=options.images, workers=options.workers, progress=sys.stderr.isatty())
    print(format_report(report))
    if report.problems:
        raise UserError(f"{options.source}: {len(report.problems)} problem(s), see above.")


def run_prepare(options: Prepare) -> None:
    """Write the data set and print its path."""
    require_apart([options.source], options.out)
    data = open_data(options.source, size=options.size)
    if data.size != options.size:
        raise UserError(f"{options.source}: expected one size, found --size {options.size}. Leave out size= or agree.")
    print(prepare_dataset(data, options.out, workers=options.workers, progress=sys.stderr.isatty()))


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m dbae.data`; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "check":
        return cli.run(run_check, Check, module="dbae.data check", description=__doc__, arguments=rest)
    if command == "prepare":
        return cli.run(run_prepare, Prepare, module="dbae.data prepare", description=__doc__, arguments=rest)
    print(__doc__, file=sys.stdout if command in ("-h", "--help") else sys.stderr)
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    raise SystemExit(main())
