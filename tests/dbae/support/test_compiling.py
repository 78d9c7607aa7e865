"""Compiled networks compute what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_model import small_model

from dbae.support.compiling import compile_networks
from dbae.support.errors import UserError

# In a process of its own: the type checks that tests run under cannot be traced. The backend "eager" runs what was
# traced without generating code, which would take minutes.
SCRIPT = """
import json
import torch
from small_model import Pixels, small_model
from dbae.support.compiling import compile_networks
from dbae.images import to_float
from dbae.losses import bridge_loss
from dbae.noise import ReplayNoise

def outcome(model):
    noise = [torch.linspace(-1, 1, 8).view(2, 4), torch.linspace(-1, 1, 1536).view(2, 3, 16, 16)]
    bridge_loss(model, x0, torch.tensor([0.3, 0.7]), noise=ReplayNoise(noise)).loss.mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    z = model.encode(x0)
    return {"z": z, "x_T": model.endpoint(z), "gradient": gradient}

x0 = to_float(Pixels().batch(range(2)))
model, compiled = small_model().eval(), small_model().eval()
compile_networks(compiled, backend="eager")
found, expected = outcome(compiled), outcome(model)
errors = {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}
same_keys = list(model.state_dict()) == list(compiled.state_dict())
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
print(json.dumps(errors | {"same_keys": same_keys, "graphs": graphs}))
"""


@pytest.mark.slow
def test_traced_networks_give_the_same():
    tests = Path(__file__).parents[2] / "helpers"
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["graphs"] >= 3  # one a network, or more
    assert found["same_keys"]
    for name in ("z", "x_T", "gradient"):
        assert found[name] < 1e-5, name


def test_no_compiler_is_said_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"--compile: expected a C\+\+ compiler"):
        compile_networks(small_model())
