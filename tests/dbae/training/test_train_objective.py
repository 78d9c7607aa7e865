"""Options of `python -m dbae.train` that change the objective: total correlation and blended endpoints."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from small_model import small_config

from dbae import train
from dbae.checkpoints import own as checkpoint
from dbae.support.errors import UserError
from dbae.train import Args
from dbae.training.config import TrainConfig

LOOP = TrainConfig(images=32, batch_size=8, accumulate=1, log_every=2, save_every=32, preview_every=32)


@pytest.fixture(autouse=True)
def _small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.presets, "faces32", lambda stochastic: small_config(stochastic=stochastic))


def options(out: Path, **changes: Any) -> Args:
    loop = dataclasses.replace(LOOP, **changes.pop("train", {}))
    return Args(data="faces:?n=24&size=16", out=out, train=loop, **changes)


def losses(out: Path) -> list[float]:
    with open(out / "log.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_regulariser_enters_the_loss_and_the_card(tmp_path: Path) -> None:
    plain = train.train(options(tmp_path / "plain"))
    regularised = train.train(options(tmp_path / "tc", tc_weight=1e6, tc_estimator="stratified"))
    assert checkpoint.read(plain)[0].objective == {}
    card = checkpoint.read(regularised)[0]
    assert card.objective == {"tc_weight": 1e6, "tc_estimator": "stratified"}
    assert "--tc-weight 1000000.0 --tc-estimator stratified" in card.command
    assert abs(losses(tmp_path / "tc")[0] - losses(tmp_path / "plain")[0]) > 100


def test_resuming_asks_for_the_same_objective(tmp_path: Path) -> None:
    train.train(options(tmp_path, tc_weight=0.1))
    train.train(options(tmp_path, tc_weight=0.1, resume=True, train={"images": 48}))
    with pytest.raises(UserError, match="another objective"):
        train.train(options(tmp_path, tc_weight=0.2, resume=True, train={"images": 64}))


def test_blend_is_part_of_the_model(tmp_path: Path) -> None:
    path = train.train(options(tmp_path, endpoint_blend=0.25))
    model, card = checkpoint.load(path)
    assert model.config.endpoint_blend == 0.25
    assert "--endpoint-blend 0.25" in card.command
    assert (tmp_path / "previews").exists()


def test_a_checkpoint_from_before_there_was_a_blend_has_none(tmp_path: Path) -> None:
    path = train.train(options(tmp_path))
    tensors, values = checkpoint.read_tensors(path, "card")
    del values["config"]["endpoint_blend"]
    del values["objective"]
    checkpoint.write_tensors(tmp_path / "old.safetensors", tensors, {"card": checkpoint.json.dumps(values)})
    assert checkpoint.load(tmp_path / "old.safetensors")[0].config.endpoint_blend == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tc_weight": -1.0}, "--tc-weight: expected 0 or more"),
        ({"tc_weight": 0.1, "stochastic": False}, "--tc-weight: needs a stochastic encoder"),
        ({"tc_weight": 0.1, "train": {"accumulate": 8}}, "--tc-weight: expected 2 images a micro-batch"),
        ({"endpoint_blend": 1.5}, "--endpoint-blend: expected a number from 0 to 1"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(tmp_path, **changes)


def test_fewer_images_than_codes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected 32 training images"):
        train.train(options(tmp_path, tc_weight=0.1, train={"batch_size": 32}))
