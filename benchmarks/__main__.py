"""`python -m benchmarks`: every command of the project, with a line each.

A command is a module that runs with `python -m`: a package with a `__main__`, or a module that ends in
`if __name__ == "__main__"`. What it does is the first line of its help. Nothing is imported to find out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from dbae.support.text import columns

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "baselines", "dbae")


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


if __name__ == "__main__":
    print(columns([[f"python -m {name}", line] for name, line in commands().items()]))
    print("\nEach with --help, which has examples that run as they are.")
