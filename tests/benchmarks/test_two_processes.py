"""Under torchrun, rows and files are those of a single process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import two_processes

from benchmarks.results import RecordFile
from benchmarks.results import record as records

TASKS = ("reconstruction", "variation", "disentanglement", "trajectories")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """What one process wrote, and what two wrote."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(one / "cache"))
        two_processes.measure(one)
    program = Path(two_processes.__file__)
    paths = os.pathsep.join(map(str, (Path(records.__file__).parents[2], program.parent)))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program, two]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return one, two


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_one_process(folders, task):
    one, two = (RecordFile(folder / f"{task}.csv").read() for folder in folders)
    assert [r.identity for r in two] == [r.identity for r in one]
    assert [r.value for r in two] == pytest.approx([r.value for r in one], rel=1e-6)


def test_values_of_every_image_are_those_of_one_process(folders):
    for task in ("reconstruction", "variation"):
        one, two = (sorted((folder / f"{task}_images").glob("*.npz")) for folder in folders)
        assert [file.name for file in two] == [file.name for file in one]
        for a, b in zip(one, two, strict=True):
            with np.load(a) as expected, np.load(b) as found:
                assert found.files == expected.files
                np.testing.assert_array_equal(found["index"], expected["index"])
                np.testing.assert_allclose(found["MSE"], expected["MSE"], rtol=1e-6)


def test_nothing_else_is_left(folders):
    one, two = ({path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in folders)
    assert two == one
