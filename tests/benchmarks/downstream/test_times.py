"""Probes of z at times: which times, what is kept of them, how the best one is chosen, and the figure."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.downstream.command import DownstreamOptions, run
from benchmarks.downstream.curves import BEST, TOGETHER, draw_labels, draw_times, time_curves
from benchmarks.downstream.figure import panels
from benchmarks.downstream.report import Table
from benchmarks.downstream.times import TimesTable, five, format_times, times_of
from benchmarks.results import Record, RecordFile
from benchmarks.results.scores import read_scores
from dbae.interface import EncodesTimes
from dbae.support.errors import UserError


class TimedModel(TinyModel):
    """z(t) drowns in a pattern of its own, the more the farther t is from 500; counts the times that it is told."""

    def __init__(self, *args: int, steps: int = 1000, **options: int) -> None:
        super().__init__(*args, **options)
        self.encoder_times, self.times, self.told = steps, (100, 300, 500, 700, 900), []
        self.latent_dim *= len(self.times)

    def at(self, *times: int) -> TimedModel:
        other = copy.copy(self)
        other.times, other.latent_dim = times, 4 * len(times)
        return other

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.told.append(self.times)
        z = x.flatten(1) @ self.weight.T
        return torch.cat([z + abs(t / 500 - 1) * 5 * torch.cos(1e3 * z.roll(1, 1)) for t in self.times], 1), None


def loaded(model: TimedModel) -> FakeLoaded:
    found = FakeLoaded(model)
    object.__setattr__(found, "untrained", lambda seed: TimedModel(seed + 100))
    return found


def measure(options: DownstreamOptions, model: TimedModel) -> list[Table | TimesTable]:
    return run(options, lambda source: loaded(model), lambda source, size: Squares(200))


def options_in(folder: Path) -> DownstreamOptions:
    return DownstreamOptions(
        ckpt=("a",),
        data=("squares",),
        out=folder / "d.csv",
        protocol=("standard",),
        seeds=(0, 1),
        times=3,
        device="cpu",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[DownstreamOptions, TimedModel, list[Table | TimesTable], list[Record]]:
    """A run that is over, in a folder of its own, with its cache."""
    folder = tmp_path_factory.mktemp("finished")
    options, model = options_in(folder), TimedModel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(folder / "cache"))
        tables = measure(options, model)
    return options, model, tables, RecordFile(options.out).read()


def test_times_are_even_and_reach_both_ends():
    assert times_of(11, 1000) == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999]
    assert times_of(1, 1000) == [500]
    assert times_of(50, 4) == [0, 1, 2, 3]
    assert five(1000) == [100, 300, 500, 700, 900]
    assert isinstance(TimedModel(), EncodesTimes)


def test_every_time_the_best_and_five_have_rows(finished):
    *_, rows = finished
    ap = [r for r in rows if r.metric == "AP" and r.model in ("tiny", "untrained")]
    places = {
        "mean",
        "mean at t=0",
        "mean at t=500",
        "mean at t=999",
        "mean at best t",
        "mean at t=100 300 500 700 900",
    }
    assert {(r.model, r.z, r.seed) for r in ap} == {
        (model, z, seed) for model in ("tiny", "untrained") for z in places for seed in ("0", "1", "mean of 0 1")
    }
    assert {r.latent_dim for r in ap if r.at in ("t=500", "best t")} == {4}
    assert {r.latent_dim for r in ap if r.at.endswith("900")} == {20}
    assert {r.z for r in rows if r.model == "pca"} == {"mean"}


def test_best_time_is_that_of_the_validation_images(finished):
    """Its rows, those of single attributes and the scores of images are those of the probe at that time."""
    options, *_, rows = finished
    value = {(r.model, r.metric, r.z, r.seed): r.value for r in rows}
    for model, metric, seed in [(m, k, s) for m in ("tiny", "untrained") for k in ("AP", "Pearson_r") for s in "01"]:
        on_val = {t: value[model, f"probe_{metric}_val", f"mean at t={t}", seed] for t in (0, 500, 999)}
        best = value[model, f"probe_{metric}_time", "mean at best t", seed]
        assert on_val[int(best)] == max(on_val.values())
        assert value[model, metric, "mean at best t", seed] == value[model, metric, f"mean at t={best:g}", seed]
    assert value["tiny", "probe_Pearson_r_time", "mean at best t", "0"] == 500
    single = RecordFile(options.out.with_name("d_attributes.csv")).read()
    red = {r.z: r.value for r in single if (r.model, r.attribute, r.seed, r.metric) == ("tiny", "green", "0", "MSE")}
    assert red["mean at best t"] == red["mean at t=500"] != red["mean at t=0"]
    kept = {r.z: r for r in rows if (r.model, r.metric, r.seed) == ("tiny", "Pearson_r", "0")}
    scores = [read_scores(options.out, kept[z]).predictions for z in ("mean at best t", "mean at t=500")]
    np.testing.assert_allclose(*scores, rtol=1e-2, atol=1e-3)


def test_z_of_a_time_is_encoded_once(finished):
    """Those of 500 serve the curve and the five."""
    _, model, *_ = finished
    single = [times for times in model.told if len(times) == 1]
    assert set(model.told) == {(100, 300, 500, 700, 900), *((t,) for t in (0, 100, 300, 500, 700, 900, 999))}
    assert len(single) == 7 * 3  # train, validation and test images


def test_a_finished_run_changes_no_byte_and_force_measures_again(finished, monkeypatch):
    options, model, tables, rows = finished
    monkeypatch.setenv("DBAE_CACHE", str(options.out.parent / "cache"))
    before, told = options.out.read_bytes(), len(model.told)
    again = measure(options, model)
    assert options.out.read_bytes() == before
    assert len(model.told) == told
    assert format_times(again[-1]) == format_times(tables[-1])
    measure(dataclasses.replace(options, force=True), model)
    assert [(r.identity, r.value) for r in RecordFile(options.out).read()] == [(r.identity, r.value) for r in rows]


def test_table_and_figure_show_the_curve(finished):
    options, _, tables, _ = finished
    assert len(tables) == 2
    title, head, *lines, best = format_times(tables[-1]).splitlines()
    assert title.startswith("tiny on squares, z at times, protocol standard, 40 test images, seeds 0 1")
    assert head.split("  ")[0] == "z at"
    assert [line.split("  ")[0] for line in lines] == ["t=0", "t=500", "t=999", "best t", "t=100 300 500 700 900"]
    assert best.startswith("(best t of AP and of Pearson_r, one a seed: tiny ")
    found = time_curves(options.out)
    assert {model.model for model in found["squares", "AP"]} == {"tiny", "untrained"}
    points = {model.model: points for model, points in found["squares", "Pearson_r"].items()}["tiny"]
    assert [point.x for point in points] == [TOGETHER, BEST, 0, 500, 999]
    assert all(point.low <= point.value <= point.high for point in points)
    assert draw_times(options.out).read_bytes().startswith(b"\x89PNG")
    assert draw_labels(options.out) is None
    (panel,) = (panel for key, panel in panels(options.out).items() if key.metric == "AP")
    assert {model.latent_dim for model in panel if model.model == "tiny"} == {20}


def test_a_model_that_is_told_no_time_says_so(tmp_path, caplog):
    options = dataclasses.replace(options_in(tmp_path), seeds=(0,))
    run(options, functools.partial(lambda source: FakeLoaded(TinyModel())), lambda source, size: Squares())
    assert "tiny: its encoder is told no time, so that --times adds nothing" in caplog.text
    assert draw_times(options.out) is None
    with pytest.raises(UserError, match="--times: protocol paper has no best time"):
        measure(dataclasses.replace(options, protocol=("paper",)), TimedModel())
    with pytest.raises(UserError, match="--times 0: expected 1 or more"):
        measure(dataclasses.replace(options, times=0), TimedModel())
