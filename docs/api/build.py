"""Write the API pages: `python docs/api/build.py [FOLDER]`, by default into runs/api; begin with its index.html.

pdoc renders docstrings; two of their habits need a word to it. Aligned columns, and examples below a line that ends in
a colon, become code, since Markdown would run their lines together. Names that a package loads when they are first
asked for are loaded, so that they have a page.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pdoc
from jinja2 import pass_context

HERE = Path(__file__).parent
PACKAGES = ("baselines", "benchmarks", "dbae")
ALIGNED = re.compile(r"\S {2,}\S")
INDENTED = re.compile(r" {1,3}[^ *\-\d]")


def readable(docstring: str) -> str:
    """The docstring with aligned columns, and examples indented by less than four blanks, as Markdown's code."""
    return "\n\n".join(_block(block) for block in re.split(r"\n[ ]*\n", docstring))


def _block(block: str) -> str:
    lines = block.split("\n")
    if len(lines) > 1 and all(ALIGNED.search(line) and not line.startswith("|") for line in lines):
        return _code(lines)
    if _is_indented(lines):
        return _code(lines)
    head, *rest = lines
    if head.endswith(":") and _is_indented(rest):
        return f"{head.replace('Examples:', '**Examples**')}\n\n{_code(rest)}"  # as a section, pdoc would quote them
    return block


def _is_indented(lines: Sequence[str]) -> bool:
    return bool(lines) and INDENTED.match(lines[0]) is not None and all(line.startswith(" ") for line in lines)


def _code(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def build(folder: Path, packages: Sequence[str] = PACKAGES) -> None:
    """Write a page a module, and the start page.

    Raises:
        UserWarning: a name that does not resolve.
    """
    env = pdoc.render.env
    convert = env.filters["to_markdown"]

    @pass_context
    def to_markdown(context: Any, docstring: str) -> str:
        return convert(context, readable(docstring))

    env.filters["to_markdown"] = to_markdown
    env.globals["start"] = (HERE / "start.md").read_text(encoding="utf-8")
    pdoc.render.configure(docformat="google", show_source=False, template_directory=HERE)
    names = [name for package in packages for name in modules(package)]
    for module in map(importlib.import_module, names):
        if "__getattr__" in vars(module):  # as pdoc finds only what is there
            vars(module).update({name: getattr(module, name) for name in module.__all__})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, module="pdoc")
        warnings.filterwarnings("ignore", message="Error parsing type annotation")  # shown as they are written
        warnings.filterwarnings("ignore", message=".* has already been added")  # a package brings modules of its own
        try:
            pdoc.pdoc(*names, output_directory=folder)
        finally:
            env.filters["to_markdown"] = convert


def modules(package: str) -> list[str]:
    """All modules of a package by name, itself first; commands (`__main__`) have nothing to call."""
    root = Path(str(importlib.import_module(package).__file__)).parent
    files = [path.relative_to(root.parents[package.count(".")]).with_suffix("") for path in sorted(root.rglob("*.py"))]
    names = [".".join(file.parts[:-1] if file.name == "__init__" else file.parts) for file in files]
    return sorted(name for name in names if not name.endswith("__main__"))


if __name__ == "__main__":
    out = Path(*sys.argv[1:2] or ["runs/api"])
    build(out)
    print(out.resolve() / "index.html")
