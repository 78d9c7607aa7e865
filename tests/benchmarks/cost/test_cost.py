"""The cost benchmark on small models, and its arithmetic on times that are made up."""

from __future__ import annotations

import dataclasses
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import small_model

from baselines.interface import LoadedModel
from baselines.load import load
from baselines.methods import METHODS
from benchmarks.cost import command as cost
from benchmarks.cost.command import CostOptions, run
from benchmarks.cost.jobs import Bench, times_of_tables
from benchmarks.cost.report import format_costs
from benchmarks.cost.rows import Measured, Sheet, processor
from benchmarks.cost.subjects import objective_of, open_subject
from benchmarks.cost.timing import interleaved, median
from benchmarks.results import RecordFile
from dbae.model import parameter_counts
from dbae.support.errors import UserError

CPU = torch.device("cpu")


def loaded_as(model, name="small", sha="0" * 64):
    cells = {"method": "DBAE", "variant": "", "train_data": "", "weights": "trained"}
    return LoadedModel(model, name, sha256=sha, untrained=lambda seed: model, path=Path("small.pt"), **cells)


@pytest.fixture
def options(tmp_path) -> CostOptions:
    return CostOptions(ckpt=("a",), out=tmp_path / "c.csv", batch_size=2, repeats=2, device="cpu")


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_tables_follow_from_times():
    seconds = {
        "train": np.array([0.4, 0.8]),
        "few": np.array([0.02, 0.05]),
        "many": np.array([0.06, 0.13]),
        "encode": np.array([0.01, 0.02]),
        "endpoint": np.array([0.004, 0.004]),
        "infer few": np.array([0.03, 0.03]),
        "infer many": np.array([0.07, 0.07]),
    }
    found = times_of_tables(seconds, batch=2, infer_steps=(100,))
    expected = {
        ("training_time", 0): [200, 400],
        ("testing_time", 0): [5, 10],
        ("encode_time", 0): [5, 10],
        ("endpoint_time", 0): [2, 2],
        ("total_time_ms", 0): [7, 12],
        ("total_time_ms", 100): [5 + 15 + 98 * 5, 10 + 15 + 98 * 5],
    }
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values)
    assert times_of_tables({"train": np.array([1.0])}, 1, (100,)).keys() == {("training_time", 0)}


def test_median_and_its_error():
    rng = np.random.default_rng(0)
    errors = [median(rng.normal(5, 1, 100)) for _ in range(300)]
    assert np.std([e.value for e in errors]) == pytest.approx(np.mean([e.stderr for e in errors]), rel=0.2)
    disturbed = np.array([1.0] * 9 + [100.0])
    assert median(disturbed) == median(np.ones(10))


def test_jobs_take_turns_after_a_round_that_is_not_kept():
    calls = []
    jobs = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    found = interleaved(jobs, 3, CPU)
    assert "".join(calls) == "abababab"
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}
    slow = interleaved({"sleep": lambda: time.sleep(0.02), "nothing": lambda: None}, 2, CPU)
    assert slow["sleep"].min() >= 0.02 > slow["nothing"].max()


@pytest.mark.usefixtures("standing_clock")
def test_a_standing_clock_times_nothing():
    with pytest.raises(UserError, match="every time is 0"):
        interleaved({"a": lambda: None}, 3, CPU)
    assert interleaved({}, 3, CPU) == {}


def test_ratios_are_of_single_repetitions_to_the_first_model():
    subjects = [loaded_as(small_model(), "first", "1" * 64), loaded_as(small_model(), "second", "2" * 64)]
    sheet = Sheet(subjects, "a processor", batch=1, precision="fp32", infer_steps=(250,))
    # The machine slows down after the first repetition: times scatter, ratios do not.
    seconds = [{"train": np.array([1.0, 4.0, 4.0])}, {"train": np.array([3.0, 12.0, 12.0])}]
    rows = [line.row(Measured([{}, {}], sheet.times(seconds))) for line in sheet.lines([[], []], seconds)]
    found = {(r.model, r.metric): r for r in rows}
    assert found["second", "training_time"].value == 12_000
    assert found["first", "training_time_ratio"].value == 1
    ratio = found["second", "training_time_ratio"]
    assert (ratio.value, ratio.stderr, ratio.attribute) == (3, 0, "to first")
    assert {r.protocol for r in rows} == {"a processor"}


# --- models -----------------------------------------------------------------------------------------------------------


def test_operations_are_those_of_the_layers():
    """A convolution of k x k from a to b channels on s x s pixels: 2 a b k^2 s^2 operations."""
    net = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)

    class Model(torch.nn.Module):
        name, image_size, latent_dim = "conv", 8, 2
        samplers, endpoints, encode_nfe = ("ddim",), ("random",), 0

        def posterior(self, x):
            return net(x).mean((2, 3))[:, :2], None

        def encode(self, x, *, noise=None):
            return self.posterior(x)[0]

        def decode(self, z, *, x_T=None, sampler=None, noise=None):
            x = noise.normal((len(z), 3, 8, 8))
            for _ in range(sampler.nfe):
                x = net(x)
            return types.SimpleNamespace(images=x, nfe=sampler.nfe)

    bench = Bench(Model(), None, batch=4, device=CPU)
    each = 2 * 3 * 3 * 9 * 64 / 1e9
    assert bench.gflops() == pytest.approx({"GFLOPs_NFE": each, "GFLOPs_encode": each})
    assert tuple(bench.gflops()) == bench.operations
    assert set(bench.jobs()) == {"few", "many", "encode"}


def test_a_training_step_leaves_weights_and_random_state_alone():
    model = small_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    seen = []

    def objective(model, x, generator):
        assert model.training
        losses = METHODS["dbae"].loss(model, x, generator)
        seen.append(float(losses.loss.detach().mean()))
        return losses

    step = Bench(model, objective, batch=2, device=CPU).training_job(objective)
    step()
    step()
    assert len(seen) == 2
    assert all(np.isfinite(seen))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training


@pytest.mark.parametrize("source", ["untrained:faces32", "untrained:diffae:faces32", "untrained:ddim:faces32"])
def test_presets_open_without_weights(source):
    def load(source):
        raise AssertionError("a preset is no file")

    loaded = open_subject(source, load)
    assert loaded.weights == "untrained"
    assert loaded.model.image_size == 32
    assert loaded.sha256 == open_subject(source, load).sha256  # resumable: the weights are a function of the preset
    assert objective_of(loaded.model, 8) is METHODS[(source.split(":")[1:-1] or ["dbae"])[0]].loss


@pytest.mark.parametrize(
    ("source", "message"),
    [("untrained:faces33", "has no preset faces33"), ("untrained:gan:faces32", "no method gan")],
)
def test_unknown_presets_are_refused(source, message):
    with pytest.raises(UserError, match=message):
        open_subject(source, lambda source: None)


# --- the benchmark ----------------------------------------------------------------------------------------------------


def test_rows_of_a_model(options):
    model = small_model()
    rows = run(options, lambda source: loaded_as(model))
    parts = {r.attribute: r.value for r in rows if r.metric == "parameters_M"}
    counts = parameter_counts(model)
    assert parts == {("mean" if name == "total" else name): count / 1e6 for name, count in counts.items()}
    found = {(r.metric, r.x_T, r.n, r.protocol == "architecture") for r in rows if r.metric != "parameters_M"}
    here = {("training_time", ""), ("testing_time", ""), ("encode_time", "")}
    here |= {("endpoint_time", "decoded"), ("total_time_ms", "decoded")}
    anywhere = {("trainable_parameters_M", ""), ("GFLOPs_NFE", ""), ("GFLOPs_encode", ""), ("GFLOPs_endpoint", "")}
    anywhere |= {(f"NFE_{name}", "decoded") for name in ("encoder", "decoder", "score")}
    assert found == {(*key, 2, False) for key in here} | {(*key, 1, True) for key in anywhere}
    assert all(r.value > 0 for r in rows if r.metric.startswith(("GFLOPs", "training", "encode")))
    assert {r.better for r in rows} == {"lower"}
    assert processor(CPU) in {r.protocol for r in rows}


def test_a_finished_run_is_read_back(options, monkeypatch):
    first = run(options, lambda source: loaded_as(small_model()))
    monkeypatch.setattr(cost, "interleaved", lambda *_, **__: pytest.fail("timed again"))
    again = run(options, lambda source: loaded_as(small_model()))
    assert [(r.identity, r.value) for r in again] == [(r.identity, r.value) for r in first]
    monkeypatch.undo()
    run(dataclasses.replace(options, batch_size=1, measure=("sampling",)), lambda source: loaded_as(small_model()))
    assert len(RecordFile(options.out).read()) > len(first)


class OneStep(torch.nn.Module):
    """Decodes by one evaluation, in no other way."""

    name, image_size, latent_dim = "one", 8, 2
    samplers, endpoints, encode_nfe = ("one_step",), ("decoded",), 0
    endpoint = "https://example.org"  # nothing to do with x_T

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(2, 3 * 64)

    def posterior(self, x):
        return x.mean((2, 3))[:, :2], None

    def encode(self, x, *, noise=None):
        return self.posterior(x)[0]

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        assert sampler.method == "one_step"
        return types.SimpleNamespace(images=self.net(z).view(-1, 3, 8, 8), nfe=1)


def test_a_model_of_one_evaluation_has_its_time_and_operations(options):
    rows = run(dataclasses.replace(options, measure=("sampling", "operations")), lambda source: loaded_as(OneStep()))
    found = {r.metric: r.value for r in rows}
    assert found["GFLOPs_NFE"] == pytest.approx(2 * 2 * 3 * 64 / 1e9)
    assert found["testing_time"] > 0
    assert not {"endpoint_time", "GFLOPs_endpoint"} & found.keys()


def test_two_models_in_one_table(options, monkeypatch):
    models = {"a": loaded_as(small_model(), "one", "1" * 64), "b": loaded_as(small_model(seed=1), "two", "2" * 64)}
    timings = []
    monkeypatch.setattr(cost, "interleaved", lambda *a, **to: timings.append(interleaved(*a, **to)) or timings[-1])
    rows = run(dataclasses.replace(options, ckpt=("a", "b"), measure=("sampling",)), models.__getitem__)
    assert len(timings) == 1  # all rows are of one run, in which all jobs take turns
    ratios = [r for r in rows if r.metric == "testing_time_ratio"]
    assert [(r.model, r.attribute) for r in ratios] == [("one", "to one"), ("two", "to one")]
    assert ratios[0].value == 1
    lines = format_costs(rows).splitlines()
    assert lines[0].endswith("batches of 2, fp32")
    assert lines[1].split() == ["unit", "one", "two"]
    assert len(lines) == 2 + 4 + 4 + 3 + 1
    assert lines[-1] == "(times: medians ± standard error over repetitions)"


def test_a_batch_of_one_cannot_time_a_loss_that_compares_images(options):
    alone = dataclasses.replace(options, ckpt=("untrained:simclr:faces32",), batch_size=1, measure=("training",))
    with pytest.raises(UserError, match=r"--batch-size 1: expected 2 images or more, .* simclr-faces32 compares"):
        run(alone, load)
    assert run(dataclasses.replace(alone, measure=("parameters",)), load)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"repeats": 0}, {"infer_steps": (1,)}, {"ckpt": ("a", "a")}])
def test_impossible_options_are_refused(options, change):
    with pytest.raises(UserError):
        run(dataclasses.replace(options, **change), lambda source: loaded_as(small_model()))
