from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import sys
from benchmarks.extractors.torchvision_shim import import_torchvision
assert "torchvision" not in sys.modules
torchvision = import_torchvision()
assert import_torchvision() is torchvision
import lpips
from cleanfid import fid
import torch
model = torchvision.models.alexnet(weights=None).eval()
assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
assert fid.frechet_distance and lpips.LPIPS
"""


@pytest.mark.slow
def test_lpips_and_clean_fid_import_after_it():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_models_of_metrics_is_light():
    heavy = {"torchvision", "lpips", "cleanfid", "sklearn"}
    script = f"import sys, benchmarks.extractors.features; assert not {heavy} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
