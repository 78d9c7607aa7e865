"""Speeds, by `pytest tests/benchmarks --benchmark-only -o addopts=`; a normal run of the tests skips them.

All are seconds of one core (processor time of one thread), so that they compare on a machine that is busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

Measure = Callable[..., float]


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
def note(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable:
    """Keeps and prints another number of the benchmark."""

    def note(name: str, value: float) -> None:
        benchmark.extra_info[name] = value
        with capsys.disabled():
            print(f"{request.node.name}: {name} {value:.3g}")

    return note
