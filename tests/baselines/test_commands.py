"""`python -m baselines.encode`, `reconstruct` and `sample`: the commands of `dbae` with models of any method."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pandas
import pytest
import torch
from saved_models import saved
from small_model import Pixels

from baselines.load import load
from dbae.data.named import read_images
from dbae.images import save_png

N, SIZE = 5, 8


@pytest.fixture
def photos(tmp_path):
    """Five images."""
    for i, image in enumerate(Pixels(N, SIZE).batch(range(N))):
        save_png(image, tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


def command(monkeypatch, name, *arguments, status=0):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--device", "cpu"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"baselines.{name}", run_name="__main__", alter_sys=True)
    assert ended.value.code == status


@pytest.mark.parametrize("key", ["diffae", "vae", "ddim"])
def test_any_model_encodes(photos, tmp_path, monkeypatch, key):
    path = saved(tmp_path, key)
    command(monkeypatch, "encode", photos, "--ckpt", path, "--out", tmp_path / "z.csv")
    table = pandas.read_csv(tmp_path / "z.csv")
    assert table["file"].tolist() == [str(photos / f"{i}.png") for i in range(N)]
    with torch.no_grad():
        expected = load(path).model.encode(read_images(str(photos), size=SIZE)).numpy()
    np.testing.assert_allclose(table.filter(regex="^z").to_numpy(np.float32), expected, rtol=0, atol=1e-5)
