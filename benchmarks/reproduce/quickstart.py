"""A first look: every benchmark of the built-in models on drawn faces, small, then a comparison and a report page.

Examples:
  python -m benchmarks.reproduce.quickstart
  python -m benchmarks.reproduce.quickstart --faces 500 --out runs/look --open

`dbae-bench quickstart` is the same. Nothing is downloaded; it takes minutes on two cores. Every step is a command that
is shown before it runs, to be copied and changed. A killed run continues where it stopped. The numbers are of small
models and few drawn faces: they show what is measured and how, and are no row of the paper's tables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from baselines.load import BUILTIN
from benchmarks.__main__ import main as door
from benchmarks.reproduce.tables import PRIOR_NFE
from dbae.sample import BUILTIN_PRIOR
from dbae.support import cli, progress
from dbae.support.errors import UserError

log = logging.getLogger(__name__)
SLOW_TO_ENCODE = "builtin:ddim"
"""A model whose z takes a run of its network: encoding alone would take longer than all the rest."""
FACTORS = ("Male", "background_hue", "light_x", "scale", "skin_tone", "yaw")
"""Of the twenty behind drawn faces: trees for all of them would take as long as all the rest."""


@dataclasses.dataclass(frozen=True)
class QuickstartOptions:
    """The command line."""

    out: Path = Path("runs/quickstart")
    """Folder of the results, figures and the report page."""
    ckpt: tuple[str, ...] = tuple(name for name in BUILTIN if name != SLOW_TO_ENCODE)
    """Models to measure: names or files."""
    faces: int = 2000
    """Faces to draw: eight of ten to learn from, one for validation, one to measure on."""
    open: bool = False
    """Open the report page in a browser at the end."""
    verbose: bool = False
    """Show what every step says of each probe and file, not only progress, warnings and tables."""


def steps(options: QuickstartOptions) -> Iterator[list[str]]:
    """Command lines in their order, without `dbae-bench`; the last two show what the others measured."""
    out, models = options.out, ["--ckpt", *options.ckpt]
    data = ["--data", f"faces:?n={options.faces}"]

    def to(name: str) -> list[str]:
        return ["--out", str(out / f"{name}.csv")]

    few = str(max(10, min(50, options.faces // 20)))
    yield ["downstream", *models, *data, "--protocol", "standard", *to("downstream")]
    yield ["reconstruction", *models, *data, "--nfe", "5", "20", "--limit", few, *to("reconstruction")]
    yield ["variation", *models, *data, "--draws", "20", *to("variation")]
    half = str(options.faces // 2)
    sizes = ["--limit", half, "--factors", *FACTORS, "--factor-images", str(options.faces // 10)]
    yield ["disentanglement", *models, *data, *sizes, *to("disentanglement")]
    sample = [*data, "-n", str(options.faces // 4), "--nfe", "10", "--extractor", "faces", *to("generation")]
    for name in (name for name in options.ckpt if name in BUILTIN_PRIOR):
        yield ["generation", "--ckpt", name, "--prior", BUILTIN_PRIOR[name], "--prior-nfe", str(PRIOR_NFE), *sample]
    if others := [name for name in options.ckpt if name not in BUILTIN_PRIOR]:
        yield ["generation", "--ckpt", *others, *sample]
    yield ["cost", *models, "--measure", "parameters", "operations", "sampling", "--repeats", "3", *to("cost")]
    yield ["trajectories", *models, "--sequences", "16", *to("trajectories")]
    yield ["compare", str(out / "downstream.csv"), "--baseline", "pca"]
    yield ["report", str(out), "--html", str(out / "report.html")]


def quickstart(options: QuickstartOptions) -> None:
    """Run the command.

    Raises:
        UserError: a step failed (those before it are kept), or there are too few faces.
    """
    if options.faces < 200:
        raise UserError(f"--faces {options.faces}: expected 200 or more, of which a tenth is measured on.")
    started, lines = time.monotonic(), list(steps(options))
    with contextlib.nullcontext() if options.verbose else _brief():
        for number, words in enumerate(lines, 1):
            line = f"dbae-bench {shlex.join(words)}"
            log.info("\n[%d of %d, %s] %s\n", number, len(lines), _clock(started), line)
            if status := _run(words):
                raise UserError(f"{line}: ended with status {status}; what it said stands above.")
    page = (options.out / "report.html").resolve()
    print(f"\nDone in {_clock(started)} minutes. Open this page: {page.as_uri()}")
    if options.open:
        webbrowser.open(page.as_uri())


@contextlib.contextmanager
def _brief() -> Iterator[None]:
    """Warnings alone are logged, but for the commands that are run and the progress of each."""
    levels = {None: logging.WARNING, log.name: logging.INFO, progress.log.name: logging.INFO}
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _run(words: list[str]) -> int:
    """The exit status of a command of this package. Raises KeyboardInterrupt where it was stopped by one."""
    try:
        status = door(words)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    if status == 130:
        raise KeyboardInterrupt
    return status


def _clock(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes}:{seconds:02d}"


if __name__ == "__main__":
    raise SystemExit(
        cli.run(quickstart, QuickstartOptions, module="benchmarks.reproduce.quickstart", description=__doc__)
    )
