"""Using the method loads nothing that only benchmarks or plots need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torchvision", "skimage", "pandas", "sklearn", "matplotlib")


@pytest.mark.parametrize("modules", ["dbae", "dbae, dbae.model, dbae.train, baselines.load"])
def test_heavy_packages_are_not_loaded(modules):
    script = f"import sys, {modules}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
