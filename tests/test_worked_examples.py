"""The worked examples of CONTRIBUTING.md, run as a contributor would: new files only, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmarks.downstream
from benchmarks.results import RecordFile

ROOT = Path(__file__).parents[1]
EXAMPLES = Path(__file__).parent / "examples"
PLACES = {
    "benchmark/metric.py": "benchmarks/metrics/dimension.py",
    "benchmark/command.py": "benchmarks/dimension/command.py",
    "benchmark/main.py": "benchmarks/dimension/__main__.py",
}
"""Example -> the file that it becomes."""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the packages with the files of the examples beside those that are there."""
    copy = tmp_path_factory.mktemp("project")
    for package in ("dbae", "baselines", "benchmarks"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for example, place in PLACES.items():
        assert not (copy / place).exists()
        (copy / place).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / example, copy / place)
    (copy / "benchmarks/dimension/__init__.py").write_text('"""Dimensions that are used."""\n')
    return copy


def run(project: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_metric_and_its_benchmark_are_new_files_only(project):
    command = ("benchmarks.dimension", "--data", "faces?n=40", "--out", "d.csv", "--device", "cpu")
    table = run(project, *command)
    assert "dbae-faces32" in table
    assert "dimensions used" in table
    (row,) = RecordFile(project / "d.csv").read()
    assert 1 <= row.value <= row.latent_dim
    assert (row.task, row.n, row.metric) == ("dimension", 40, "participation_ratio")
    before = (project / "d.csv").read_bytes()
    assert run(project, *command) == table  # found, not measured again
    assert (project / "d.csv").read_bytes() == before
    assert "\ndimension " in run(project, "benchmarks")


def test_a_folder_with_labels_of_its_own_is_measured(tmp_path):
    rng = np.random.default_rng(0)
    folder, lines = tmp_path / "photos", ["file,split,smiling,age"]
    folder.mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{'train' if i < 16 else 'test'},{i % 2},{20 + 1.5 * i}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    found = benchmarks.downstream.measure(
        "builtin:dbae", data=f"folder:{folder}", out=tmp_path / "d.csv", seeds=0, protocol="standard", device="cpu"
    )
    shown = {(row.metric, row.attribute) for row in found[found.weights != "control"].itertuples()}
    assert {("AP", "smiling"), ("Pearson_r", "age"), ("MSE", "age")} <= shown
    assert set(found.n) == {8}
