"""The script that measures on a GPU, on the CPU: every line of it runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from dbae.support.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("speed_gpu", ROOT / "tests" / "speed" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed_gpu"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def args(gpu):
    return gpu.Args(device="cpu", preset=("small",), out="-", seconds=0.0, compile=False)


def test_every_line_runs(gpu, args):
    lines = {line.what.removeprefix("small, batch 4: "): line.value for line in gpu.measure(args)}
    assert set(lines) >= {"encode, bf16", "sample, dbim 20 NFE, fp32", "training step, bf16", "resumed training"}
    assert not [value for value in lines.values() if "failed" in value or "no time" in value]
    assert lines["resumed training"] == "bit for bit"
    assert "images/s; 50,000 would take" in lines["sample, dbim 20 NFE, fp32"]
    assert not torch.are_deterministic_algorithms_enabled()


def test_lines_without_time_say_so(gpu, args):
    lines = gpu.measure(gpu.Args(**{**vars(args), "minutes": 0.0}))
    assert {line.value for line in lines} == {"no time left"}


def test_a_line_that_fails_is_a_row(gpu, args):
    bench = gpu.Bench(args)

    def fails() -> str:
        raise RuntimeError("CUDA error: out of memory\nmore")

    bench.line("one", fails)
    assert bench.lines == [gpu.Line("one", "failed: CUDA error: out of memory")]


def test_table_takes_its_place_in_the_document(gpu):
    document = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    found = gpu.written(document, "| new |\n")
    assert found.count(gpu.BEGIN) == found.count(gpu.END) == 1
    assert gpu.written(found, "| newer |\n").replace("newer", "new") == found
    outside = [part.split(mark)[i] for part, mark, i in ((found, gpu.BEGIN, 0), (found, gpu.END, 1))]
    assert outside == [document.split(gpu.BEGIN)[0], document.split(gpu.END)[1]]
    with pytest.raises(UserError, match="marks"):
        gpu.written("no marks", "")


def test_without_a_gpu_the_command_says_what_to_do(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cpu"):
        gpu.main(gpu.Args())
