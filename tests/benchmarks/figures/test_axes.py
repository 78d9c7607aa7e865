"""Axes of z ranked by how much they guide: the picture, the CSV, and models that have none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from systems import fresh, stirred, tiny

from baselines.interface import LoadedModel
from baselines.methods.ddim import DDIM, DDIMConfig
from baselines.methods.sami import SAMI, SAMIConfig
from baselines.options import in_sizes
from benchmarks.figures.axes import Axes
from dbae.samplers import OwnSampler
from dbae.support.errors import UserError


def options(folder: Path) -> Axes:
    sampler = OwnSampler(nfe=3)
    return Axes(out=folder / "a.png", image=("faces:?n=4",), n=2, columns=3, steps=3, device="cpu", sampler=sampler)


def model() -> SAMI:
    """Its first number of z hardly depends on the image."""
    found = stirred(fresh(SAMI, in_sizes(SAMIConfig, tiny())))
    with torch.no_grad():
        last = [m for m in found.encoder.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)][-1]
        last.weight[0] *= 1e-3
        last.weight[4] *= 1e-3
    return found


def test_strongest_axes_come_first_in_picture_and_table(tmp_path):
    (sheet,) = options(tmp_path).sheets(lambda name: LoadedModel.of(model()))
    with open(tmp_path / "a.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["t"] for row in rows[:3]] == ["0", "500", "999"]
    assert [row["rank"] for row in rows] == [str(rank) for rank in (1, 2, 3, 4) for _ in range(3)]
    by_axis = {row["axis"]: [] for row in rows}
    for row in rows:
        by_axis[row["axis"]].append(float(row["strength"]))
    means = [np.mean(values) for values in by_axis.values()]
    assert means == sorted(means, reverse=True)
    assert [*by_axis][-1] == "0"
    assert means[-1] < means[-2] / 100
    (block,) = sheet.blocks
    assert [label.split(":")[0] for label in block.rows] == [f"z {axis}" for axis in [*by_axis][:2]]
    assert block.headings == ["-2.5", "+0.0", "+2.5"]
    first = next(iter(block.rows.values()))
    assert len(first) == 3
    assert not torch.equal(first[0], first[2])


def test_a_model_without_such_axes_is_told_so(tmp_path):
    plain = fresh(DDIM, DDIMConfig(8, tiny().unet))
    with pytest.raises(UserError, match="expected a model that is guided by the gradient of its encoder"):
        options(tmp_path).sheets(lambda name: LoadedModel.of(plain))
    assert not (tmp_path / "a.csv").exists()
