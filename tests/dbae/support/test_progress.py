"""Progress in a log: a line a minute, and none of short work."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.samplers import SamplerConfig, sample
from dbae.support import progress
from dbae.support.progress import ProgressLines, all_shown, progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its last entry is the time."""
    times = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[-1])
    return times


def test_a_line_a_minute_says_how_long_it_takes(monkeypatch, caplog, clock):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO)
    with progress_bar(1000, "encoding", done=100) as bar:
        assert isinstance(bar, ProgressLines)
        for second in range(1, 151):
            clock.append(float(second))
            bar.update(2)
        bar.set_postfix_str("loss 0.1")
        clock.append(200.0)
        bar.update(0)
    assert [record.message for record in caplog.records] == [
        "encoding: 220 of 1000 img (22 %), 2 img/s, 06:30 left",
        "encoding: 340 of 1000 img (34 %), 2 img/s, 05:30 left",
        "encoding: 400 of 1000 img (40 %), 1.5 img/s, 06:40 left, loss 0.1",
    ]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.usefixtures("standing_clock")
def test_a_standing_clock_stops_no_work(monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress_bar(10, "encoding") as bar:
        for _ in range(10):
            bar.update(1)
            bar.set_postfix_str("loss 0.1")
    assert bar.n == 10


def test_short_and_hidden_work_says_nothing(monkeypatch, caplog, clock):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO)
    for show, seconds in ((True, 59.0), (False, 600.0)):
        with progress_bar(10, "encoding", show=show) as bar:
            clock.append(clock[-1] + seconds)
            bar.update(5)
    assert caplog.records == []


def test_steps_of_a_sampler_are_shown_where_all_progress_is(monkeypatch, caplog, clock):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO)

    def slow(x_t: Tensor, t: float) -> Tensor:
        clock.append(clock[-1] + 61.0)
        return x_t

    def run() -> None:
        sample(slow, torch.zeros(1, 3, 2, 2), Bridge(), SamplerConfig("ddbm_euler", nfe=4))

    run()
    assert caplog.records == []
    with all_shown():
        run()
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        f"ddbm_euler: {i} of 4 step ({25 * i} %)" for i in range(1, 5)
    ]
