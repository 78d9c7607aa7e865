"""`quickstart`: every benchmark is in it, its command lines are understood, and a step that fails stops it."""

from __future__ import annotations

import logging
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks.__main__ import resolve
from benchmarks.reproduce import ls, quickstart
from benchmarks.reproduce.quickstart import QuickstartOptions
from dbae.support.errors import UserError


class ParsedError(BaseException):
    """A command line was understood; nothing is run."""


def test_every_benchmark_is_in_it():
    names = [words[0] for words in quickstart.steps(QuickstartOptions())]
    assert {row["name"] for row in ls.tasks()} <= set(names)
    assert names[-2:] == ["compare", "report"]


@pytest.mark.parametrize("faces", [200, 2000])
def test_its_command_lines_are_understood(faces, tmp_path, monkeypatch):
    understand = tyro.cli

    def understood(*args: Any, **kwargs: Any) -> None:
        parsed: Any = understand(*args, **kwargs)
        if hasattr(parsed, "check"):
            parsed.check()
        raise ParsedError

    monkeypatch.setattr(tyro, "cli", understood)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # runpy would keep what is checked at run time for everyone
    options = QuickstartOptions(out=tmp_path, faces=faces, ckpt=("builtin:dbae", "other.safetensors"))
    for words in quickstart.steps(options):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(ParsedError):
            runpy.run_module(resolve(words[0]), run_name="__main__", alter_sys=True)


def test_it_runs_shows_each_command_and_ends_with_the_page(tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "argv", ["dbae-bench"])  # what runs changes it
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    steps = quickstart.steps

    def two(options: QuickstartOptions) -> list[list[str]]:
        every = {words[0]: words for words in steps(options)}
        return [[*every["variation"], "--draws", "2", "--draw-images", "2", "--nfe", "2"], every["report"]]

    monkeypatch.setattr(quickstart, "steps", two)
    opened: list[str] = []
    monkeypatch.setattr(quickstart.webbrowser, "open", opened.append)
    out = tmp_path / "a folder"
    quickstart.quickstart(QuickstartOptions(out=out, faces=200, ckpt=("builtin:dbae",), open=True))
    assert (out / "variation.csv").is_file()
    assert "variation" in (out / "report.html").read_text(encoding="utf-8")
    assert [text for text in caplog.messages if "[1 of 2, 0:0" in text and f"--out '{out}/variation.csv'" in text]
    said = {record.name for record in caplog.records if record.levelno < logging.WARNING}
    assert said <= {quickstart.log.name, "dbae.support.progress"}
    assert logging.getLogger().level == logging.INFO  # as it was
    assert opened == [(out / "report.html").resolve().as_uri()]
    assert capsys.readouterr().out.rstrip().endswith(opened[0])


@pytest.mark.parametrize(("status", "error"), [(2, UserError), (130, KeyboardInterrupt)])
def test_a_step_that_fails_stops_it(status, error, monkeypatch):
    ran: list[str] = []

    def door(words: list[str]) -> int:
        ran.append(words[0])
        raise SystemExit(status if words[0] == "reconstruction" else None)

    monkeypatch.setattr(quickstart, "door", door)
    with pytest.raises(error, match="reconstruction.*status 2" if status == 2 else None):
        quickstart.quickstart(QuickstartOptions(out=Path("never")))
    assert ran == ["downstream", "reconstruction"]


def test_too_few_faces_are_refused():
    with pytest.raises(UserError, match="expected 200 or more"):
        quickstart.quickstart(QuickstartOptions(faces=100))
