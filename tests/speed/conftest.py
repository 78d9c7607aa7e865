"""Speeds, by `pytest tests/speed --benchmark-only -o addopts=`; a normal run of the tests skips them.

All are seconds of one core (processor time of one thread), so that they compare on a machine that is busy.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from dbae.support.files import atomic_path

Measure = Callable[..., float]
TABLES = pytest.StashKey[dict[str, list[dict[str, Any]]]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.benchmark(timer=time.process_time))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Measure:
    """Times a function after one call to warm up; gives the median seconds and prints items a second."""

    def measure(function: Callable[[], Any], *, items: int, unit: str, rounds: int = 5) -> float:
        benchmark.pedantic(function, rounds=rounds, warmup_rounds=1)
        seconds: float = benchmark.stats.stats.median
        benchmark.extra_info[f"{unit} a second"] = round(items / seconds, 1)
        with capsys.disabled():
            print(f"\n{request.node.name}: {items / seconds:.1f} {unit} a second")
        return seconds

    return measure


@pytest.fixture
def against(benchmark: BenchmarkFixture, add_row: Callable[[str, dict[str, Any]], None]) -> Callable[..., Any]:
    """Times a function and its reference in turns, so that a busy machine slows both, and compares medians.

    The row in `runs/speed/lines.csv` says how many times as fast as the reference, and whether that is behind `goal`.
    Returned are both results, for the test to compare.
    """

    def against(
        what: str, name: str, goal: float, own: Callable[[], Any], reference: Callable[[], Any], *, rounds: int = 9
    ) -> tuple[Any, Any]:
        results = own(), reference()  # warms up both
        seconds: list[float] = []

        def time_reference() -> None:
            start = time.process_time()
            reference()
            seconds.append(time.process_time() - start)

        benchmark.pedantic(own, setup=time_reference, rounds=rounds)
        ours, theirs = benchmark.stats.stats.median, statistics.median(seconds)
        row: dict[str, Any] = {"line": what, "against": name, "seconds here": f"{ours:.4g}", "there": f"{theirs:.4g}"}
        verdict = "ahead" if theirs >= goal * ours else "BEHIND"
        add_row("lines", row | {"times as fast": f"{theirs / ours:.2f}", "goal": f"{goal:g}", "so it is": verdict})
        return results

    return against


@pytest.fixture
def note(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable:
    """Keeps and prints another number of the benchmark."""

    def note(name: str, value: float) -> None:
        benchmark.extra_info[name] = value
        with capsys.disabled():
            print(f"{request.node.name}: {name} {value:.3g}")

    return note


@pytest.fixture
def add_row(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Callable[[str, dict[str, Any]], None]:
    """Adds a row to a table that is printed at the end of the run and left in `runs/speed/NAME.csv`."""

    def add_row(table: str, cells: dict[str, Any]) -> None:
        benchmark.extra_info.update(cells)
        request.config.stash.setdefault(TABLES, {}).setdefault(table, []).append(cells)

    return add_row


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, rows in config.stash.get(TABLES, {}).items():
        path = config.rootpath / "runs" / "speed" / f"{name}.csv"
        with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        terminalreporter.section(str(path))
        table = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
