"""Two processes with half a batch each train every system as one does with the whole."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import systems_two_processes
import torch

from baselines import methods

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """The parameters that each of two processes ends with, by system."""
    if not importlib.util.find_spec("lightning_fabric"):
        pytest.skip("needs Lightning Fabric: pip install -e '.[dist]'")
    folder, program = tmp_path_factory.mktemp("two"), Path(systems_two_processes.__file__)
    paths = os.pathsep.join(map(str, (Path(methods.__file__).parents[2], program.parent)))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program, folder]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("key", systems_two_processes.OPTIONS)
def test_two_times_half_a_batch_is_one_times_a_batch(of_two, tmp_path, key):
    expected = systems_two_processes.trained(key, tmp_path / key)
    before = dict(systems_two_processes.initial(key).named_parameters())
    assert max(float((value - before[name].detach()).abs().max()) for name, value in expected.items()) > 5e-3
    for name, value in expected.items():
        torch.testing.assert_close(of_two[0][key][name], value, rtol=1e-5, atol=1e-5)
        assert torch.equal(of_two[0][key][name], of_two[1][key][name])
