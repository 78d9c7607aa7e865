"""The check that a method's author runs: models that keep the protocol pass, each way of breaking it is named."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusion_networks import small_ddim, small_diffae
from small_model import small_model

from baselines.conformance import check
from baselines.methods import METHODS
from dbae.samplers import Sampled
from dbae.support.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "examples" / "autoencoder.py"


def example():
    spec = importlib.util.spec_from_file_location("example_autoencoder", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def autoencoder(**changes):
    module = example()
    model = module.METHOD.fresh(module.AutoencoderConfig(8, 3, 4), 0, "mine").eval()
    for name, value in changes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize("make", [small_model, small_ddim, small_diffae, autoencoder])
def test_models_of_this_project_pass(make):
    check(make())


def images(z, of=torch.zeros, nfe=1):
    made = of(len(z), 3, 8, 8)
    return Sampled(made, nfe, made)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": "two\nlines"}, "name: expected one line"),
        ({"samplers": ("euler",)}, "SamplerConfig has no method euler"),
        ({"samplers": (), "endpoints": ()}, "of a model that decodes, found none"),
        ({"endpoints": ("inferred",)}, "'inferred' and infer_endpoint come together"),
        ({"latent_dim": 5}, r"posterior's mean: expected shape \(3, 5\), found \(3, 3\)"),
        ({"posterior": lambda x: (x.flatten(1)[:, :3].double(), None)}, "posterior's mean: expected float32"),
        ({"posterior": lambda x: (x.flatten(1)[:, :3] - x.mean(), None)}, "another z in a batch than alone"),
        ({"encode": lambda x, noise=None: torch.zeros(3, 3)}, "encode without noise: expected posterior's mean"),
        ({"decode": lambda z, **k: images(z, torch.ones, nfe=2)}, "expected 1 to 1 evaluations, found nfe=2"),
        ({"decode": lambda z, **k: images(z, lambda *s: torch.full(s, 1.5))}, r"expected images in \[-1, 1\]"),
        ({"decode": lambda z, **k: images(z, lambda *s: torch.rand(s))}, "draw from `noise` alone"),
        ({"decode": lambda z, **k: images(z, lambda *s: torch.full(s, torch.nan))}, "has NaN"),
    ],
)
def test_what_does_not_hold_is_named(changes, fault):
    with pytest.raises(UserError, match=fault):
        check(autoencoder(**changes))


def test_a_z_with_a_gradient_is_named():
    model = autoencoder()
    model.encode = lambda x, noise=None: model.encoder(x)
    with pytest.raises(UserError, match="encode: z requires a gradient"):
        check(model)


def test_an_object_without_the_methods_is_told_which():
    with pytest.raises(UserError, match=r"found no .*latent_dim.*decode"):
        check(torch.nn.Linear(1, 1))


def test_every_method_names_itself():
    for key, method in METHODS.items():
        assert key == method.key
        assert method.presets
        for preset in method.presets.values():
            assert isinstance(preset.config(), method.config)


@pytest.mark.slow
def test_a_method_is_one_file_and_one_line(tmp_path):
    """In a copy of the project: it trains, its checkpoint opens, and it is measured."""
    for package in ("dbae", "baselines", "benchmarks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE, tmp_path / "baselines" / "methods")
    listed = tmp_path / "baselines" / "methods" / "__init__.py"
    listed.write_text(listed.read_text().replace('    "dbae",\n', '    "dbae",\n    "autoencoder",\n'))

    def python(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "DBAE_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = ["--images", "128", "--batch-size", "32", "--device", "cpu", "--latent-dim", "8", "--out", "run"]
    python("-m", "baselines.train", "--method", "autoencoder", "--data", "faces:?n=32", *options)
    [checkpoint] = (tmp_path / "run" / "checkpoints").glob("*[0-9].safetensors")
    measured = ["--data", "faces:?n=16", "--limit", "8", "--nfe", "4", "--device", "cpu", "--out", "rows.csv"]
    table = python("-m", "benchmarks.reconstruction", "--ckpt", str(checkpoint), *measured)
    assert "autoencoder-faces32" in table
    assert "one_step" in (tmp_path / "rows.csv").read_text()
