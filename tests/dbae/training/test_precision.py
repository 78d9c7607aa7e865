"""`--precision auto`."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from small_model import small_card, small_model
from torch import Tensor
from training_runs import CONFIG, Net, rows, run

from dbae.checkpoints import own as checkpoint
from dbae.train import objective as dbae_objective
from dbae.training import precision
from dbae.training.folder import RunFolder
from dbae.training.loop import Trainer


def chosen(out) -> str:
    return checkpoint.read(RunFolder(out).checkpoints()[-1])[0].training["precision"]


@pytest.mark.parametrize(("fp32", "bf16", "expected"), [(1.0, 0.5, "bf16"), (1.0, 0.95, "fp32"), (1.0, 2.0, "fp32")])
def test_auto_takes_what_is_faster_and_says_so(tmp_path, monkeypatch, caplog, fp32, bf16, expected):
    monkeypatch.setattr(precision, "in_turns", lambda functions: {"fp32": fp32, "bf16": bf16})
    with caplog.at_level(logging.INFO):
        run(tmp_path, images=8, precision="auto")
    assert chosen(tmp_path) == expected
    (said,) = (r.getMessage() for r in caplog.records if "precision auto" in r.getMessage())
    assert said == (
        f"--precision auto: the gradient of 8 images takes {fp32:.3g} s in fp32 and {bf16:.3g} s in bf16, "
        f"so training is in {expected}"
    )


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_a_run_with_auto_is_the_run_with_what_it_chose(tmp_path, monkeypatch, faster):
    """Measuring leaves weights, batch norm and generators alone."""

    def measured(functions):
        for function in functions.values():
            function()
        return {name: 0.1 if name == faster else 1.0 for name in functions}

    def train(name: str, **options) -> None:
        model = small_model()
        torch.manual_seed(3)
        run(tmp_path / name, objective=dbae_objective, model=model, card=small_card(model), images=16, **options)

    monkeypatch.setattr(precision, "in_turns", measured)
    train("auto", precision="auto")
    train("named", precision=faster)
    found, expected = (checkpoint.read(RunFolder(tmp_path / n).checkpoints()[-1])[1]["raw"] for n in ("auto", "named"))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_resumed_run_keeps_its_precision_without_measuring(tmp_path, monkeypatch):
    run(tmp_path, images=32, precision="bf16")
    monkeypatch.setattr(precision, "in_turns", lambda functions: pytest.fail("measured again"))
    run(tmp_path, resume=True, precision="auto")
    assert chosen(tmp_path) == "bf16"
    assert len(rows(tmp_path)) == CONFIG.images / CONFIG.batch_size / CONFIG.log_every


def test_times_are_the_shortest_of_several_in_turns(monkeypatch):
    clock, order = [0.0], []
    costs = {"a": iter([9.0, 3.0, 1.0, 2.0, 2.0]), "b": iter([9.0, 4.0, 4.0, 4.0, 4.0])}
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def function(name: str):
        def call() -> None:
            order.append(name)
            clock[0] += next(costs[name])

        return call

    found = precision.in_turns({name: function(name) for name in costs}, seconds=10.0)
    assert found == {"a": 1.0, "b": 4.0}
    assert order == ["a", "b"] * 3


@pytest.mark.usefixtures("standing_clock")
def test_training_on_a_standing_clock_ends_and_knows_no_speed(tmp_path):
    run(tmp_path, precision="auto")
    assert chosen(tmp_path) == "fp32"
    assert {(row["images_per_second"], row["seconds"]) for row in rows(tmp_path)} == {("nan", "0.0")}


def test_a_trainer_needs_a_decided_precision(tmp_path):
    def objective(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
        raise AssertionError

    with pytest.raises(ValueError, match="decided first"):
        Trainer(Net(), objective, CONFIG.__class__(precision="auto"), RunFolder(tmp_path), small_card(small_model()))
