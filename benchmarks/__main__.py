"""The one door to all commands: `dbae-bench COMMAND [options]`, or `python -m benchmarks COMMAND [options]`.

A command is a module that runs with `python -m`: a package with a `__main__`, or a module that ends in
`if __name__ == "__main__"`. What it does is the first line of its help. Nothing is imported to find out. The last word
of a module's name is enough where no other module ends in it: `dbae-bench downstream`, but `dbae-bench dbae.train`.
"""

from __future__ import annotations

import ast
import difflib
import functools
import runpy
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from dbae.support.errors import UserError
from dbae.support.provenance import revision
from dbae.support.text import columns

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "benchmarks": "Measure, compare, reproduce",
    "baselines": "Models of every method",
    "dbae": "DBAE itself, and data",
}
"""Package -> what its commands are about."""
HEAD = """\
dbae-bench COMMAND [options]     also: python -m benchmarks COMMAND [options], or python -m MODULE [options]
dbae-bench COMMAND --help        options, and examples that run as they are
dbae-bench --version
"""


@functools.cache
def commands() -> dict[str, str]:
    """Name after `python -m` -> the first line of its help."""
    return {name: line for package in PACKAGES for name, line in sorted(_found(ROOT / package))}


def _found(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "__main__" not in source or path == Path(__file__):
            continue
        if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in ast.parse(source).body):
            own = path.parent if path.name == "__main__.py" else path.with_suffix("")
            yield ".".join(own.relative_to(ROOT).parts), _line(path)


def _line(path: Path) -> str:
    """Of the module's docstring, or of that beside it which has the help."""
    beside = path.with_name("command.py")
    source = beside if path.name == "__main__.py" and beside.exists() else path
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def listing() -> str:
    """Every command by the shortest name that means it, with a line each."""
    lines = commands()
    names = list(lines)
    short = {name: next(w for w in (name.rpartition(".")[2], name) if len(_meant(w, names)) == 1) for name in names}
    width = max(map(len, short.values()))
    parts = [HEAD]
    for package, about in PACKAGES.items():
        mine = [[short[name].ljust(width), lines[name]] for name in names if name.split(".")[0] == package]
        parts.append(f"{about} (python -m {package}.*)\n{columns(mine)}\n")
    return "\n".join(parts)


def _meant(word: str, names: Sequence[str]) -> list[str]:
    """The modules that a word can mean: that of this name, or all that end in it."""
    return [name for name in names if name == word] or [name for name in names if name.endswith(f".{word}")]


def resolve(word: str) -> str:
    """The module that the first word of a command line names.

    Raises:
        UserError: none (with the nearest names), or several.
    """
    names = list(commands())
    found = _meant(word, names)
    if len(found) > 1:
        raise UserError(f"{word}: expected the name of one command, found {len(found)}: {', '.join(found)}. Name one.")
    if not found:
        ends = sorted({name.rpartition(".")[2] for name in names})
        near = difflib.get_close_matches(word, names if "." in word else ends, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"{word}: no such command.{meant} `dbae-bench` lists all of them.")
    return found[0]


def version() -> str:
    """Of the installed package, and the revision of the code."""
    try:
        number = metadata.version("dbae-bench")
    except metadata.PackageNotFoundError:
        number = "(not installed)"
    return f"dbae-bench {number}, code {revision()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command as `python -m` would; the exit status, where the command does not end the process itself."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # Until the command runs, and says what was kept: modules whose import is interrupted may raise anything.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _run(arguments)
    finally:
        signal.signal(signal.SIGINT, before)


def _run(arguments: Sequence[str] | None) -> int:
    first, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if first in ("-h", "--help"):
        print(listing())
        return 0
    if first == "--version":
        print(version())
        return 0
    try:
        name = resolve(first)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    sys.argv[1:] = rest
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
