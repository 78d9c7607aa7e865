"""Rewriting checkpoints in our format."""

import csv

import pytest
import torch
from small_model import small_card, small_model

from baselines.convert import Options, convert
from benchmarks.records import COLUMNS
from dbae import checkpoint
from dbae.errors import UserError


@pytest.fixture
def source(tmp_path):
    model = small_model()
    path = tmp_path / "source.safetensors"
    card = small_card(model, images_seen=64, command="python -m dbae.train")
    checkpoint.save(path, card, raw=model.state_dict(), ema=small_model(seed=1).state_dict())
    return path


def test_keeps_the_averaged_weights_and_the_card(source, tmp_path):
    convert(Options(source, tmp_path / "out.safetensors", note="for a test"))
    (model, card), (before, card_before) = checkpoint.load(tmp_path / "out.safetensors"), checkpoint.load(source)
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in model.state_dict().items())
    assert (card.images_seen, card.command, card.note) == (64, card_before.command, "for a test")


def test_half_precision_halves_the_file_and_loads_as_float32(source, tmp_path):
    sizes = {}
    for dtype in ("float32", "float16"):
        convert(Options(source, tmp_path / f"{dtype}.safetensors", dtype=dtype))
        tensors, _ = checkpoint.read_tensors(tmp_path / f"{dtype}.safetensors", "card")
        sizes[dtype] = sum(v.nbytes for v in tensors.values() if v.is_floating_point())
    assert sizes["float32"] == 2 * sizes["float16"]
    model, _ = checkpoint.load(tmp_path / "float16.safetensors")
    assert {v.dtype for v in model.state_dict().values() if v.is_floating_point()} == {torch.float32}


def test_expected_metrics_are_the_means_over_seeds_of_this_model(source, tmp_path):
    results = tmp_path / "results.csv"
    blank = dict.fromkeys(COLUMNS, "")
    common = blank | {"dataset": "faces-v1", "protocol": "standard", "split": "test", "metric": "AP"}
    with open(results, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerow(common | {"model": "small", "seed": "0", "value": "0.1"})
        writer.writerow(common | {"model": "small", "seed": "mean of 0 1", "value": "0.25"})
        writer.writerow(common | {"model": "pca", "seed": "mean of 0 1", "value": "0.5"})
    convert(Options(source, tmp_path / "out.safetensors", expected=results))
    assert checkpoint.load(tmp_path / "out.safetensors")[1].expected == {"faces-v1, standard, test, AP": 0.25}


def test_refuses_another_format(source, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        convert(Options(source, tmp_path / "out.pt"))
