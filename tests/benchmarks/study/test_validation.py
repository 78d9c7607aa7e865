"""What a learning rate is chosen by: pictures of z alone where there are any, else the method's own loss."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from baselines import train
from baselines.load import load
from benchmarks.metrics.reconstruction import ssim
from benchmarks.results import RecordFile
from benchmarks.study import validation
from benchmarks.study.plan import SCALES, planned
from benchmarks.study.validation import validation_error, validation_loss
from benchmarks.study.work import validated
from dbae.data import open_data
from dbae.images import to_float

DATA = "faces:?n=200"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Row -> its training and checkpoint, of a few images; nobody looks at the picture of its end."""
    scale = dataclasses.replace(SCALES["cpu"], units=60, rates=(0.001,), seeds=(0,))
    plan = planned(("ddim", "diffae", "vae", "simclr"), scale, DATA, tmp_path_factory.mktemp("runs"))
    runs = {row.key: plan.training(row, 0, 0.001) for row in plan.rows}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "pictures", lambda model, x0: [x0])
        for training in runs.values():
            assert train.main(training.command(training.images)[2:]) == 0
    return {key: (training, training.checkpoint()) for key, training in runs.items()}


@pytest.fixture(autouse=True)
def few(monkeypatch, tmp_path):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path))
    monkeypatch.setattr(validation, "DECODED", 6)
    monkeypatch.setattr(validation, "SCORED", 6)


def test_a_vae_is_judged_by_its_pictures(trained):
    training, checkpoint = trained["vae"]
    data = open_data(DATA, size=32)
    x0 = to_float(data.batch(data.split("val")[:6]))
    model = load(checkpoint).model
    with torch.no_grad():
        images = model.decode(model.encode(x0)).images.clamp(-1, 1)
    expected = 1 - ssim(x0.add(1).div(2), images.add(1).div(2)).mean()
    assert validation_error(training, checkpoint) == pytest.approx(float(expected), abs=1e-3)


def test_a_given_x_T_tells_nothing_of_z(trained):
    training, checkpoint = trained["diffae"]
    found = validation_error(training, checkpoint)
    rows = [row for row in RecordFile(training.runs / "validation.csv").read() if row.metric == "SSIM"]
    values = {row.x_T: row.value for row in rows if row.method == "DiffAE"}
    assert values.keys() == {"random", "inferred"}
    assert found == pytest.approx(1 - values["random"], abs=1e-9)


@pytest.mark.parametrize("key", ["ddim", "simclr"])
def test_what_decodes_nothing_from_z_has_its_loss(trained, key):
    training, checkpoint = trained[key]
    expected = validation_loss(training, checkpoint, open_data(DATA, size=32))
    assert validation_error(training, checkpoint) == expected
    assert expected > 0


def test_a_process_of_its_own_finds_the_same(trained, monkeypatch):
    training, checkpoint = trained["simclr"]
    monkeypatch.setattr(validation, "SCORED", 20)  # all that there are, as in the other process
    assert validated(training, checkpoint) == pytest.approx(validation_error(training, checkpoint), rel=1e-6)
