"""The shape of the project: arrows only go down, files stay short, and every command has a help that works."""

from __future__ import annotations

import ast
import re
import runpy
import statistics
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks.__main__ import PACKAGES, commands

ROOT = Path(__file__).parents[1]
FLOORS = {"dbae": 0, "baselines": 1, "benchmarks": 2}
LINES = 300


@cache
def modules() -> dict[str, Path]:
    """Name -> file, of every module of the project."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(name: str, *, lazy: bool = False) -> frozenset[str]:
    """Modules of the project that a module imports when it is loaded; with `lazy`, also those of its functions."""
    found = set()
    for node in _statements(ast.parse(modules()[name].read_text(encoding="utf-8")), lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {module if module in modules() else node.module for module in inner}
    return frozenset(found & modules().keys() - {name})


def _statements(tree: ast.AST, lazy: bool) -> list[ast.AST]:
    if lazy:
        return list(ast.walk(tree))
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [node, *_statements(node, lazy)]
    return found


def test_imports_are_found():
    assert "benchmarks.runner" in imports("benchmarks.downstream.command")
    assert "baselines.load" not in imports("benchmarks.runner.benchmark")
    assert "baselines.load" in imports("benchmarks.runner.benchmark", lazy=True)


@pytest.mark.parametrize("name", PACKAGES)
def test_arrows_only_go_down_between_packages(name):
    mine = [module for module in modules() if module.split(".")[0] == name]
    up = {
        (module, other)
        for module in mine
        for other in imports(module, lazy=True)
        if FLOORS[other.split(".")[0]] > FLOORS[name]
    }
    assert not up


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that are left when those without arrows into the rest have gone, again and again."""
    left = {node: set(others) for node, others in graph.items()}
    while ends := [node for node, others in left.items() if not others & left.keys()]:
        for node in ends:
            del left[node]
    return sorted(left)


def test_a_circle_is_seen():
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["a", "b", "c"]
    assert not _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_modules_do_not_import_in_circles():
    assert not _circle({name: set(imports(name)) for name in modules()})


def test_rooms_of_benchmarks_do_not_import_in_circles():
    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    rooms: dict[str, set[str]] = {}
    for name in modules():
        if name.startswith("benchmarks."):
            others = {room(other) for other in imports(name) if other.startswith("benchmarks.")}
            rooms.setdefault(room(name), set()).update(others - {room(name)})
    assert not _circle(rooms)


def test_benchmarks_has_few_rooms():
    rooms = {path.name for path in (ROOT / "benchmarks").iterdir() if path.is_dir()} - {"__pycache__"}
    commands = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__.py"}
    assert len(rooms) <= 16, sorted(rooms)
    assert len(commands) <= 4, sorted(commands)


def test_files_stay_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > LINES}


def _public(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions, classes and methods that others may use, but those that only overload a name for types."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def test_what_is_public_says_what_it_is():
    public = {
        f"{name}: {node.name}, line {node.lineno}": ast.get_docstring(node)
        for name, path in modules().items()
        for node in _public(ast.parse(path.read_text(encoding="utf-8")))
    }
    silent = sorted(name for name, text in public.items() if not text)
    assert len(public) > 1000
    assert len(silent) <= 0.05 * len(public), silent


def test_a_module_needs_few_others():
    counts = [len(imports(name)) for name, path in modules().items() if path.name != "__init__.py"]
    assert statistics.quantiles(counts, n=10)[-1] <= FEW


FEW = 9
"""Modules of the project that nine of ten modules stay within."""


def _entered_elsewhere(room: str, name: str) -> set[str]:
    """What module `name` takes from a module of a room although the room itself has it."""
    own = {(module, what) for module, what in _taken(room) if module.startswith(f"{room}.")}
    return {f"{name}: {what} of {module}" for module, what in _taken(name) & own}


def _taken(name: str) -> set[tuple[str, str]]:
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {(node.module or "", alias.name) for node in found for alias in node.names}


@pytest.mark.parametrize(
    "room",
    [
        "baselines.diffusion",
        "benchmarks.results",
        "benchmarks.runner",
        "benchmarks.subjects",
        "dbae.data",
        "dbae.data.files",
    ],
)
def test_a_room_is_entered_by_its_interface(room):
    outside = [name for name in modules() if not f"{name}.".startswith(f"{room}.")]
    assert not set().union(*(_entered_elsewhere(room, name) for name in outside))


def test_a_way_around_an_interface_is_seen():
    assert _entered_elsewhere("dbae.data", "dbae.data.check")  # within the room that is how it is done
    assert not _entered_elsewhere("dbae.data", "benchmarks.runner.benchmark")


IMPORTED_AS = {"clean-fid": "cleanfid", "pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage"}
IMPORTED_AS |= {"scikit-learn": "sklearn"}


def test_what_is_required_is_imported():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split("[<>=]", requirement)[0] for requirement in required]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in modules().values())
    assert "scikit-image" in names
    for name in (IMPORTED_AS.get(name, name) for name in names):
        assert re.search(rf"^\s*(import|from) {name}\b|import_module\(\"{name}\"", sources, re.MULTILINE), name


def test_the_list_has_every_command():
    assert len(commands()) >= 20
    assert {f"benchmarks.{name}" for name in ("downstream", "compare", "reproduce")} <= commands().keys()
    assert {"dbae.train", "dbae.data", "baselines.inspect"} <= commands().keys()
    assert all(line.endswith((".", ")")) for line in commands().values())


@pytest.mark.parametrize("name", list(commands()))
def test_help_works_and_has_an_example(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # runpy would keep what is checked at run time for everyone
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert re.search(rf"^\W*python -m {re.escape(name)}\b", shown, re.MULTILINE)
    assert not re.search(r"\(default:\s*(''|\"\")?\)", shown)
