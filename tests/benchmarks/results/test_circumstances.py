from __future__ import annotations

import numpy as np
import torch

from benchmarks.results.circumstances import circumstances, peak_mib


def test_circumstances_name_versions_and_memory():
    found = circumstances()
    assert found["versions"].startswith("python 3.")
    assert f"torch {torch.__version__}" in found["versions"]
    assert found["revision"]
    assert "\n" not in found["versions"] + found["revision"]


def test_peak_memory_is_in_mib():
    held = np.ones(300 << 17)  # 300 MiB
    assert 300 < peak_mib() < 100_000
    assert held.sum() == len(held)
