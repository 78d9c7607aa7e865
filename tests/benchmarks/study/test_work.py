"""The work is done once, in order, and a row that fails leaves the others alone."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmarks.study import rows, work
from benchmarks.study.plan import SCALES, planned
from benchmarks.study.work import Worker, require_same_study
from dbae.support.errors import DivergedError, UserError
from dbae.training.folder import state_path

SMALL = dataclasses.replace(SCALES["cpu"], units=2000)


class Recorder(Worker):
    """Leaves the files of a training without training; `broken` rows fail."""

    broken: tuple[str, ...] = ()

    def __init__(self, *args):
        self.trained, self.measured = [], []
        super().__init__(*args[:1], lambda training: self.measured.append(training.name), *args[1:])

    def _train(self, training, images):
        """As the command would, but for what it learns."""
        if training.row.key in self.broken:
            raise UserError("no")
        self.trained.append((training.name, training.rate, images))
        for part in (1, 2):
            if images >= training.images * part // 2:
                training.checkpoint(part).parent.mkdir(parents=True, exist_ok=True)
                training.checkpoint(part).touch()


def worker(tmp_path: Path, *rows: str, jobs: int = 1, **changes) -> Recorder:
    return Recorder(planned(rows, dataclasses.replace(SMALL, **changes), "faces", tmp_path), jobs)


def test_the_best_rate_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "validated", lambda training, checkpoint: abs(training.rate - 0.002))
    found = worker(tmp_path, "dbae", rates=(0.001, 0.002, 0.003), seeds=(0, 1))
    assert found.run() == {}
    assert [rate for _, rate, _ in found.trained] == [0.001, 0.002, 0.003, 0.002, 0.002]
    assert [name for name, _, images in found.trained if images > 200] == ["dbae-seed0", "dbae-seed1"]
    assert found.measured == ["dbae-seed0", "dbae-seed1"]
    first, second = (found.plan.training(found.plan.rows[0], seed, 0.002) for seed in (0, 1))
    assert first.errors() == {"0.001": pytest.approx(0.001), "0.002": 0, "0.003": pytest.approx(0.001)}
    assert second.errors() == {}


def test_no_thread_beside_the_main_one_makes_a_model(tmp_path, monkeypatch):
    """Weights come from a generator of the whole process: a control that another thread drew into is none."""
    fresh, made_by = rows.fresh, []
    monkeypatch.setattr(rows, "fresh", lambda *given: (made_by.append(threading.current_thread()), fresh(*given))[1])
    monkeypatch.setattr(work, "validated", lambda training, checkpoint: training.rate)
    rows.operations.cache_clear()
    assert worker(tmp_path, "ae", "vae", rates=(0.001, 0.002), seeds=(0,), jobs=2).run() == {}
    assert set(made_by) == {threading.main_thread()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_frozen_network_that_went_on_is_trained_up_to_its_half_again(tmp_path, jobs):
    """The DDIM of a study of fewer units is past half of the images when the larger one begins."""
    found = worker(tmp_path, "ddim", "pdae", "diti", rates=(0.001,), seeds=(0,), jobs=jobs)
    ddim = found.plan.training(found.plan.rows[0], 0, 0.001)
    train = found._train

    def without_its_half(training, images):
        train(training, images)
        if training.row.key == "ddim" and training.runs == tmp_path:
            training.checkpoint(1).unlink()
            for path in (checkpoint := training.folder.checkpoint(images), state_path(checkpoint)):
                path.parent.mkdir(exist_ok=True)
                path.touch()

    found._train = without_its_half
    assert found.run() == {}
    assert found.trained[:2] == [("ddim-seed0", 0.001, ddim.images), ("ddim-seed0", 0.001, ddim.images // 2)]
    names = [name for name, *_ in found.trained[2:]]
    assert (names if jobs == 1 else sorted(names, reverse=True)) == ["pdae-seed0", "diti-seed0"]  # two begin together


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_frozen_network_that_nobody_asked_for_is_trained_as_far_as_it_is_paid_for(tmp_path, jobs):
    found = worker(tmp_path, "pdae", "diti", rates=(0.001,), seeds=(0, 1), jobs=jobs)
    ddim = found.plan.training(found.plan.rows[0], 0, 0.001)
    assert found.run() == {}
    assert [training for training in found.trained if "ddim" in training[0]] == [
        ("ddim-seed0", 0.001, ddim.images // 2)
    ]
    assert sorted(found.measured) == ["diti-seed0", "pdae-seed0", "pdae-seed1"]
    free = worker(tmp_path, "pdae-free", rates=(0.001,), seeds=(0,), jobs=jobs)
    assert free.run() == {}
    assert free.trained[0] == ("ddim-seed0", 0.001, ddim.images)
    assert sorted(free.measured) == ["ddim-seed0", "pdae-free-seed0"]


def test_a_run_that_is_past_its_end_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(Recorder, "_train", lambda self, training, images: None)
    assert "trained further" in worker(tmp_path, "vae", rates=(0.001,), seeds=(0,)).run()["vae-seed0"]


@pytest.mark.parametrize("text", ['{"data": ', "[1]", ""])
def test_a_damaged_note_is_named(tmp_path, text):
    plan = planned(("vae",), dataclasses.replace(SMALL, rates=(0.001, 0.002), seeds=(0,)), "faces", tmp_path)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json: expected a JSON object"):
        require_same_study(plan, "abc")
    errors = plan.training(plan.rows[0], 0, 0.001).errors_file
    errors.parent.mkdir()
    errors.write_text(text)
    assert "errors-seed0" in Recorder(plan, 1).run()["vae-seed0"]


def test_errors_of_another_frozen_network_are_not_compared(tmp_path):
    plan = planned(("pdae",), SMALL, "faces", tmp_path)
    ddim, pdae = plan.rows
    one, other = (plan.training(pdae, 0, 0.001, plan.training(ddim, 0, rate)).errors_file for rate in (0.001, 0.002))
    assert one != other


def test_a_rate_that_is_given_is_taken_without_a_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "validated", lambda training, checkpoint: training.rate)
    found = worker(tmp_path, "dbae", "vae", rates=(0.001, 0.002), rate_of={"vae": 0.004}, seeds=(0,))
    assert found.run() == {}
    assert {rate for name, rate, _ in found.trained if name == "vae-seed0"} == {0.004}
    assert found.plan.training(found.plan.rows[1], 0, 0.004).errors() == {}


def test_a_rate_that_diverges_is_not_chosen(tmp_path, monkeypatch):
    train = Recorder._train

    def diverges_from(rate):
        def trained(self, training, images):
            if training.rate >= rate:
                raise DivergedError("NaN")
            train(self, training, images)

        return trained

    monkeypatch.setattr(work, "validated", lambda training, checkpoint: 1 - training.rate)
    monkeypatch.setattr(Recorder, "_train", diverges_from(0.01))
    found = worker(tmp_path, "dbae", rates=(0.001, 0.002, 0.01), seeds=(0,))
    assert found.run() == {}
    chosen = found.plan.training(found.plan.rows[0], 0, 0.002)
    assert found.trained[-1] == ("dbae-seed0", 0.002, chosen.images)
    assert chosen.errors()["0.01"] == math.inf
    monkeypatch.setattr(Recorder, "_train", diverges_from(0))
    failed = worker(tmp_path, "vae", rates=(0.001, 0.002), seeds=(0,)).run()
    assert "every learning rate" in failed["vae-seed0"]


def test_a_training_that_diverges_says_so_by_its_status(tmp_path, monkeypatch):
    found = Worker(planned(("ae",), SMALL, "faces", tmp_path), print, 1)
    training = found.plan.training(found.plan.rows[0], 0, 1e30)
    with pytest.raises(DivergedError, match="NaN or infinite"):
        found._train(dataclasses.replace(training, data="faces?n=40"), 48)


def test_a_rate_is_chosen_after_all_of_a_run_that_is_past_its_tenth(tmp_path, monkeypatch):
    """As of a study that had one rate before, or fewer units: its weights of a tenth are gone."""
    monkeypatch.setattr(work, "validated", lambda training, checkpoint: float(training.runs.name == "trials"))
    found = worker(tmp_path, "dbae", rates=(0.001, 0.002), seeds=(0,))
    run = found.plan.training(found.plan.rows[0], 0, 0.001)
    later = run.folder.checkpoint(run.images)
    later.parent.mkdir(parents=True)
    later.touch()
    state_path(later).touch()
    trials = []
    monkeypatch.setattr(Recorder, "_train", lambda self, training, images: trials.append((training.runs.name, images)))
    assert found._chosen(run.row, 0, None) == 0.002
    assert trials == [("trials", run.first_images), (tmp_path.name, run.first_images)]


def test_what_is_there_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "validated", lambda training, checkpoint: training.rate)
    assert worker(tmp_path, "dbae", "vae", seeds=(0,)).run() == {}
    again = worker(tmp_path, "dbae", "vae", seeds=(0,))
    assert again.run() == {}
    assert (again.trained, again.measured) == ([], ["dbae-seed0", "vae-seed0"])


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_fails_is_named_and_takes_along_only_what_builds_on_it(tmp_path, monkeypatch, jobs):
    monkeypatch.setattr(Recorder, "broken", ("ddim",))
    found = worker(tmp_path, "pdae", "vae", jobs=jobs, rates=(0.001,), seeds=(0,))
    assert set(found.run()) == {"ddim-seed0", "pdae-seed0"}
    assert found.measured == ["vae-seed0"]


def test_what_cannot_be_measured_is_named(tmp_path):
    found = worker(tmp_path, "ddim", "pdae", rates=(0.001,), seeds=(0,))
    measured, found.measure = found.measure, lambda training: measured(training) if training.pretrained else 1 / 0
    assert set(found.run()) == {"ddim-seed0"}
    assert found.measured == ["pdae-seed0"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_ends_measuring(tmp_path, jobs):
    def measure(training):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    found = worker(tmp_path, "dbae", "vae", "ae", jobs=jobs, rates=(0.001,), seeds=(0,))
    found.measure = measure
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        found.run()
    assert time.monotonic() - started < 30


def test_runs_of_another_study_are_not_taken_over(tmp_path):
    plan = planned(("dbae",), SMALL, "faces", tmp_path)
    require_same_study(plan, "one")
    require_same_study(planned(("vae",), dataclasses.replace(SMALL, units=9000), "faces", tmp_path), "one")
    with pytest.raises(UserError, match=r"other data. Name another --runs"):
        require_same_study(plan, "another")
    with pytest.raises(UserError, match=r"other batch"):
        require_same_study(planned((), dataclasses.replace(SMALL, batch=8), "faces", tmp_path), "one")
