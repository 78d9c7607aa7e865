"""Every row has the same work, and what it builds on comes first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tyro

import baselines.train
from baselines.methods import METHODS
from benchmarks.study.plan import SCALES, planned
from benchmarks.study.rows import ROWS, units
from dbae.support.errors import UserError

SMALL = dataclasses.replace(SCALES["cpu"], units=4000)


def plan(*rows, **changes):
    return planned(rows, dataclasses.replace(SMALL, **changes), "faces", Path("runs"))


def test_the_unit_is_a_step_of_the_plain_network():
    assert units(ROWS["ddim"], "faces32") == 1
    assert 1.2 < units(ROWS["diffae"], "faces32") < units(ROWS["dbae"], "faces32") < units(ROWS["sami"], "faces32")


def test_weights_of_a_loss_cost_nothing():
    assert units(ROWS["vae"], "faces32") == units(ROWS["vae-published"], "faces32")


@pytest.mark.parametrize("key", ["dbae", "ddim", "diffae", "vae"])
def test_rows_have_as_many_units(key):
    training = plan(key).training(ROWS[key], 0, 1e-3)
    step = 2 * SMALL.batch * units(ROWS[key], "faces32")
    assert abs(training.images * units(ROWS[key], "faces32") - SMALL.units) <= step / 2


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_weights_of_the_scale_for_a_gpu_are_under_16_mb_in_half_precision(method):
    model = method.blank(method.presets[SCALES["gpu"].preset].config(), "untrained")
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{method.label}: {parameters:,} parameters")
    assert 2 * parameters < 16e6, f"{method.label} has {parameters:,} parameters"


def test_the_scale_for_a_gpu_asks_for_what_gpus_are_fast_with():
    given = plan("diffae", **{f: getattr(SCALES["gpu"], f) for f in ("preset", "flags", "batch")}, size=64)
    arguments = given.training(ROWS["diffae"], 0, 1e-3).command(1000)[2:]
    args = tyro.cli(baselines.train.options(arguments), args=arguments)
    assert (args.preset, args.train.precision, args.train.compile, args.train.channels_last) == (
        *("faces64s", "bf16", True, True),
    )


def test_a_frozen_network_is_paid_for_with_half_of_the_units_and_is_that_of_half_the_run():
    study = plan("pdae", "pdae-free")
    assert [row.key for row in study.rows] == ["ddim", "pdae", "pdae-free"]
    base = study.training(ROWS["ddim"], 0, 1e-3)
    paid, free = (study.training(ROWS[key], 0, 1e-3, base) for key in ("pdae", "pdae-free"))
    assert paid.images == pytest.approx(free.images / 2, abs=2 * SMALL.batch)
    assert (paid.pretrained, free.pretrained) == (base.checkpoint(1), base.checkpoint())
    assert paid.pretrained.name == f"images-{base.images // 2:09d}.safetensors"
    assert str(paid.pretrained) in paid.command(paid.images)


def test_a_longer_study_goes_on_but_not_from_another_frozen_network():
    """Training on another network under the same folder is refused by the run that is there."""
    found = {}
    for number in (4000, 8000):
        study = plan("pdae", units=number)
        base = study.training(ROWS["ddim"], 0, 1e-3)
        found[number] = (base.folder.path, study.training(ROWS["pdae"], 0, 1e-3, base).folder.path)
    assert found[4000][0] == found[8000][0]
    assert found[4000][1] != found[8000][1]
    assert found[8000][1].name == "seed0-lr0.001-on-seed0-lr0.001-images-000004000"


def test_units_that_a_frozen_network_had_count():
    for key, half in (("ddim", 0.5), ("pdae", 0.75), ("pdae-free", 0.5)):
        assert ROWS[key].spent(2000, 0.5) == half * 2000
        assert ROWS[key].spent(2000, 1.0) == 2000


def test_every_row_comes_once_before_any_is_repeated():
    order = list(plan("dbae", "vae", "ae", seeds=(3, 4)).all())
    assert [(row.key, seed) for row, seed in order] == [("dbae", 3), ("ae", 3), ("vae", 3), ("dbae", 4), ("vae", 4)]


def test_rates_are_compared_after_whole_batches():
    training = plan("dbae").training(ROWS["dbae"], 0, 1e-3)
    assert training.first_images % SMALL.batch == 0
    assert training.first_images == pytest.approx(training.images / 10, abs=SMALL.batch)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"units": 0}, "--units"),
        ({"rates": (-1.0,)}, "--rates"),
        ({"rate_of": {"vae": 0.0}}, "--rate-of"),
        ({"rate_of": {"vea": 0.004}}, "--rate-of vea: expected names of rows"),
        ({"seeds": ()}, "--seeds"),
        ({"seeds": (0, 0)}, "--seeds"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes, option):
    with pytest.raises(UserError, match=option):
        plan("dbae", **changes)


def test_an_unknown_row_is_answered_with_those_there_are():
    with pytest.raises(UserError, match=r"--rows resnet: expected .*diffae"):
        plan("resnet")
