"""SimCLR: its loss is the published one, falls, and what has no decoder says so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from systems import fresh, gradients, losses_of_training, plain_images, tiny

import benchmarks.cost
import benchmarks.downstream
import benchmarks.generation
import benchmarks.reconstruction
import benchmarks.variation
from baselines.conformance import check
from baselines.interface import LoadedModel, ShowsMore
from baselines.methods import simclr
from baselines.methods.simclr import METHOD, SimCLR, SimCLRConfig, nt_xent
from baselines.train import pictures
from dbae.data import open_data
from dbae.support.errors import UserError

X = plain_images(6)


def config(**options: object) -> SimCLRConfig:
    return SimCLRConfig(8, 4, tiny().encoder, **options)  # type: ignore[arg-type]


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.tensor(np.random.RandomState(seed).standard_normal(shape), dtype=torch.float32)


@pytest.mark.golden
def test_loss_is_the_published_one():
    golden = json.loads((GOLDEN / "systems" / "losses.json").read_text())["diti_ntxent"]
    first = random(5, 8, 16)
    second = 0.5 * random(6, 8, 16) + 0.5 * first
    found = nt_xent(first, second, golden["temperature"])
    assert found.shape == (8,)
    assert float(found.mean()) == pytest.approx(golden["value"], rel=1e-5)


def test_loss_of_views_that_are_alike_and_of_one_image():
    codes = torch.eye(4)
    others = 6 + math.exp(2)  # e^(1 / tau) of the other view, 1 of six strangers
    torch.testing.assert_close(nt_xent(codes, codes, 0.5), torch.full((4,), math.log(others) - 2))
    assert nt_xent(codes[:1], codes[1:2], 0.5) == 0  # nobody to be taken for


@pytest.mark.parametrize("crop", [False, True])
def test_loss_falls(crop):
    losses = losses_of_training(fresh(SimCLR, config(crop=crop)), simclr.loss, steps=30)
    assert losses[-1] < losses[0] - 0.2


def test_all_of_it_learns_and_the_generator_decides():
    model = fresh(SimCLR, config())
    assert {name for name, _ in model.named_parameters()} == gradients(model, simclr.loss, X).keys()
    found = [simclr.loss(model, X, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(found[0].loss, found[1].loss)
    assert not torch.equal(found[0].loss, found[2].loss)
    assert found[0].mse.isnan().all()


def test_it_keeps_the_protocol_and_shows_its_views():
    model = fresh(SimCLR, config()).eval()
    check(model)
    assert isinstance(model, ShowsMore)
    shown = pictures(model, X)
    assert len(shown) == 3
    assert all(picture.shape == X.shape for picture in shown)
    assert not torch.equal(shown[1], shown[2])
    assert all(torch.equal(a, b) for a, b in zip(shown, pictures(model, X), strict=True))


def test_what_tables_call_it():
    names = [METHOD.variant(config(**options)) for options in ({}, {"crop": True}, {"temperature": 0.1})]
    assert names == ["no crop", "crop", "no crop, temperature=0.1"]
    with pytest.raises(UserError, match=r"--temperature: expected a positive number, found 0\.0"):
        config(temperature=0.0)


def test_benchmarks_of_images_say_that_it_has_no_decoder(tmp_path, caplog):
    """Those of z measure it, and cost what there is to count."""
    loaded = LoadedModel.of(fresh(SimCLR, config()).eval(), method="SimCLR")
    data = open_data("faces:?n=40", size=8)
    for benchmark in (benchmarks.reconstruction, benchmarks.variation, benchmarks.generation):
        options = {"mode": "ae"} if benchmark is benchmarks.generation else {}
        found = benchmark.measure(loaded, data=data, out=tmp_path / "n.csv", device="cpu", **options)
        assert not len(found)
        assert f"small: {benchmark.__name__.split('.')[1]} is n/a, as SimCLR has no decoder." in caplog.text
    probed = benchmarks.downstream.measure(
        loaded, data=data, out=tmp_path / "d.csv", device="cpu", protocol="standard", seeds=0
    )
    assert {"AP", "MSE"} <= set(probed[probed.model == "small"].metric)
    costs = benchmarks.cost.measure(
        loaded, out=tmp_path / "c.csv", device="cpu", measure=("parameters", "operations", "sampling"), repeats=1
    )
    assert {"GFLOPs_encode", "encode_time"} <= set(costs.metric)
    assert not {"GFLOPs_NFE", "testing_time"} & set(costs.metric)


def test_decoding_is_refused():
    with pytest.raises(UserError, match="small: expected a model with a decoder, found SimCLR"):
        fresh(SimCLR, config()).decode(torch.zeros(1, 4))
