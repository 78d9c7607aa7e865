from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.downstream.probe import (
    METRICS,
    Probe,
    ProbeConfig,
    Split,
    binary_cross_entropy,
    initial_head,
    paper_config,
    run_paper,
    select_epoch,
    training_epochs,
)
from benchmarks.metrics.prediction import average_precision, mean_squared_error, pearson
from dbae.latents import Latents

GOLDEN = Path(__file__).parents[2] / "golden" / "downstream" / "probe_tiny.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def filled_head(d: int, k: int) -> nn.Linear:
    """Fill (G) of the golden README."""
    head = nn.Linear(d, k)
    with torch.no_grad():
        for key, parameter in head.named_parameters():
            values = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values * (0.1 if key == "bias" else d**-0.5)).float())
    return head


def classification(golden, case: str, config: ProbeConfig):
    """Run the classification loop on a golden case; (head, losses, best epoch, validation curve)."""
    g = {key.split("/")[1]: value for key, value in golden.items() if key.startswith(case + "/")}
    z = {split: torch.from_numpy(g[f"z_{split}"]) for split in ("train", "val", "test")}
    head = filled_head(z["train"].shape[1], g["y_train"].shape[1])
    losses: list[np.ndarray] = []

    def curve():
        for epoch_losses in training_epochs(
            head,
            lambda epoch: z["train"],
            g["y_train"],
            binary_cross_entropy,
            config,
            lambda e: torch.arange(len(z["train"])),
        ):
            losses.append(epoch_losses)
            yield float(average_precision(g["y_val"], head(z["val"]).detach().numpy()).mean())

    best, scores = select_epoch(head, curve())
    test = average_precision(g["y_test"], head(z["test"]).detach().numpy())
    return g, head, np.concatenate(losses), best, scores, test


@pytest.mark.golden
def test_classification_is_the_reference(golden):
    g, head, losses, best, scores, test = classification(golden, "cls", ProbeConfig())
    np.testing.assert_allclose(losses, g["loss_per_step"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores, g["val_ap"], rtol=0, atol=1e-3)
    assert best == g["best_epoch"]
    np.testing.assert_allclose(head.weight.detach(), g["best_weight"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(head.bias.detach(), g["best_bias"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(test, g["test_ap"], rtol=0, atol=1e-3)
    assert test[-1] == 0  # no positive in the test split, still part of the mean
    assert test.mean() == pytest.approx(float(g["test_ap_mean"]), abs=1e-3)


@pytest.mark.golden
def test_selection_keeps_the_best_epoch_and_not_the_last(golden):
    g, _, _, best, scores, test = classification(golden, "sel", ProbeConfig(batch_size=16, learning_rate=0.1))
    assert best == g["best_epoch"] == 10
    np.testing.assert_allclose(scores, g["val_ap"], rtol=0, atol=5e-3)
    np.testing.assert_allclose(test, g["test_ap_best"], rtol=0, atol=5e-3)
    assert not np.allclose(test, g["test_ap_last"], atol=5e-3)


@pytest.mark.golden
def test_regression_is_the_reference(golden):
    g = {key.split("/")[1]: value for key, value in golden.items() if key.startswith("reg/")}
    train, test = torch.from_numpy(g["z_train"]), torch.from_numpy(g["z_test"])
    head = filled_head(train.shape[1], g["t_train"].shape[1])
    losses, r, mse = [], [], []
    config = ProbeConfig(batch_size=64)
    perms = torch.from_numpy(g["perms"].astype(np.int64))
    for epoch_losses in training_epochs(head, lambda e: train, g["t_train"], F.mse_loss, config, lambda e: perms[e]):
        predicted = head(test).detach().numpy()
        losses.append(epoch_losses)
        r.append(pearson(g["t_test"], predicted))
        mse.append(mean_squared_error(g["t_test"], predicted))
    np.testing.assert_allclose(np.concatenate(losses), g["loss_per_step"], rtol=1e-5)
    np.testing.assert_allclose(r, g["pearson_per_epoch"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(mse, g["mse_per_epoch"], rtol=0, atol=1e-4)
    assert np.argmax(np.mean(r, axis=1)) == g["best_epoch_by_test_r"]
    np.testing.assert_allclose(head.weight.detach(), g["final_weight"], rtol=0, atol=1e-5)


def problem(n: int = 200, d: int = 6, *, seed: int = 0, kind: str = "classification", views: int = 2) -> Split:
    """Latents whose first coordinates carry the targets."""
    rng = np.random.default_rng(seed)
    array = np.empty((n, views, 2, d), np.float32)
    array[:, :, 0] = rng.standard_normal((n, 1, d))
    array[:, 1:, 0] += 0.01
    array[:, :, 1] = 0.05
    score = array[:, 0, 0, :3].astype(np.float64)
    return Split(Latents(array), (score > 0.5).astype(np.int8) if kind == "classification" else score)


@pytest.mark.parametrize(("kind", "selected"), [("classification", ["val"]), ("regression", [None, "test"])])
def test_the_probe_learns_and_repeats(kind, selected):
    train, val, test = (problem(seed=seed, kind=kind) for seed in range(3))
    config = dataclasses.replace(paper_config(kind), learning_rate=0.1)
    outcomes = run_paper(train, val, test, kind=kind, config=config, seed=3)
    again = run_paper(train, val, test, kind=kind, config=config, seed=3)
    assert [o.selected_on for o in outcomes] == selected
    first = next(iter(outcomes[0].scores.values()))
    assert first.shape == (3,)
    assert first.min() > 0.9
    for one, two in zip(outcomes, again, strict=True):
        assert one.epoch == two.epoch
        np.testing.assert_array_equal(one.predictions, two.predictions)
        for metric in one.scores:
            np.testing.assert_array_equal(one.scores[metric], two.scores[metric])
            np.testing.assert_array_equal(METRICS[kind][metric](test.targets, one.predictions), one.scores[metric])
    other = run_paper(train, val, test, kind=kind, config=config, seed=4)
    assert not np.array_equal(next(iter(other[0].scores.values())), first)


def test_paper_protocol_is_the_specification():
    classify, regress = paper_config("classification"), paper_config("regression")
    assert (classify.batch_size, classify.shuffle, classify.flip, classify.select) == (128, False, True, "val")
    assert (regress.batch_size, regress.shuffle, regress.flip, regress.select) == (64, True, False, "test")
    for config in (classify, regress):
        assert (config.epochs, config.learning_rate, config.sample) == (15, 1e-3, True)


def test_test_selected_epoch_has_the_best_r_and_the_mse_of_the_same_epoch():
    train, test = problem(30, kind="regression"), problem(40, seed=1, kind="regression")
    config = dataclasses.replace(paper_config("regression"), learning_rate=0.5)
    last, best = run_paper(train, None, test, kind="regression", config=config, seed=0)
    assert last.epoch == 14
    probe = Probe(train, "regression", config, 0)
    curve = [probe.outcome(test, epoch, None).scores for epoch in probe.epochs()]
    assert best.epoch == int(np.argmax([scores["Pearson_r"].mean() for scores in curve]))
    np.testing.assert_array_equal(best.scores["MSE"], curve[best.epoch]["MSE"])
    np.testing.assert_array_equal(last.scores["MSE"], curve[14]["MSE"])


def test_validation_is_asked_for_where_it_selects():
    split = problem(20)
    with pytest.raises(ValueError, match="validation"):
        run_paper(split, None, split, kind="classification", config=ProbeConfig(), seed=0)


def test_every_call_of_the_paper_protocol_has_its_own_noise():
    split = problem(50)
    probe = Probe(split, "classification", paper_config("classification"), 0)
    train = [probe.z(split.latents, epoch, "train") for epoch in (0, 1)]
    test = [probe.z(split.latents, epoch, "test") for epoch in (0, 1)]
    assert not torch.equal(*train)
    assert not torch.equal(*test)
    assert torch.equal(test[0], probe.z(split.latents, 0, "test"))


def test_file_order_or_a_new_order_every_epoch():
    split = problem(50)
    paper = Probe(split, "classification", paper_config("classification"), 0)
    shuffled = Probe(split, "regression", paper_config("regression"), 0)
    assert torch.equal(paper.order(3), torch.arange(50))
    assert not torch.equal(shuffled.order(0), shuffled.order(1))
    assert torch.equal(shuffled.order(1).sort().values, torch.arange(50))


def test_initial_head_has_the_default_distribution_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    head = initial_head(100, 2000, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for parameter in head.parameters():
        assert parameter.abs().max() <= 0.1
        assert parameter.abs().max() > 0.099
        assert float(parameter.detach().std()) == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert torch.equal(head.weight, initial_head(100, 2000, seed=1).weight)
    assert not torch.equal(head.weight, initial_head(100, 2000, seed=2).weight)


def test_selection_without_any_score_above_zero_keeps_the_last():
    head = nn.Linear(1, 1)
    assert select_epoch(head, iter([0.0, float("nan"), -1.0])) == (
        2,
        [0.0, pytest.approx(float("nan"), nan_ok=True), -1.0],
    )
