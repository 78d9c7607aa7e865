"""What runs a benchmark: its `options`, the loop of a `benchmark`, and the `call` from Python."""

from benchmarks.runner.benchmark import Benchmark, Family, Lack, Load, OpenData, Session, family
from benchmarks.runner.options import DataOptions, ModelOptions, ReadingOptions

__all__ = [
    "Benchmark",
    "DataOptions",
    "Family",
    "Lack",
    "Load",
    "ModelOptions",
    "OpenData",
    "ReadingOptions",
    "Session",
    "family",
]
