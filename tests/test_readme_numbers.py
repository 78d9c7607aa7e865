"""Every interval that the README prints is what the command beside it gives."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import compare
from dbae.support import cli

ROOT = Path(__file__).parents[1]
NUMBER = r"([+-]\d*\.\d+)"
INTERVAL = re.compile(NUMBER + r" \([^()]*?" + NUMBER + r" to " + NUMBER + r"\)")
COMMAND = re.compile(r"python -m benchmarks\.compare ([^`\n]+)")


def statements(text: str) -> list[tuple[str, list[tuple[str, ...]], list[str]]]:
    """Paragraphs and list items with an interval: their beginning, the intervals, and the commands beside them."""
    parts = re.split(r"\n\s*\n|\n(?=- )", text)
    found = [(part, [m.groups() for m in INTERVAL.finditer(" ".join(part.split()))]) for part in parts]
    return [(part[:60], numbers, COMMAND.findall(part)) for part, numbers in found if numbers]


STATEMENTS = statements((ROOT / "README.md").read_text(encoding="utf-8"))


def test_intervals_are_recognised():
    text = "- AP +.110 (95 %\n  +.072 to +.176), r -1.2\n  `python -m benchmarks.compare a.csv --baseline b`\n- no"
    assert statements(text) == [(text[:60], [("+.110", "+.072", "+.176")], ["a.csv --baseline b"])]
    assert STATEMENTS


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s[0][:30].strip())
def test_the_command_beside_an_interval_gives_it(statement, tmp_path, monkeypatch):
    _, intervals, commands = statement
    assert commands, "an interval without the command that gives it"
    monkeypatch.chdir(ROOT)
    lines: list[dict[str, str]] = []
    for number, command in enumerate(commands):
        out = tmp_path / f"{number}.csv"
        cli.run(compare.main, compare.Options, module="benchmarks.compare", description="",
                arguments=[*shlex.split(command), "--out", str(out)])  # fmt: skip
        with open(out, newline="", encoding="utf-8") as file:
            lines += csv.DictReader(file)
    given = [tuple(float(line[name]) for name in ("difference", "low", "high")) for line in lines if line["low"]]
    for printed in intervals:
        digits = len(printed[0].partition(".")[2])
        half = 0.5 * 10**-digits + 1e-9
        close = [g for g in given if all(abs(x - float(p)) <= half for x, p in zip(g, printed, strict=True))]
        assert close, f"{printed} is not among {given}"
