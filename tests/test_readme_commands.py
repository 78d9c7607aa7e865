"""Every command that the README and the documents print is one that there is, with options that it takes."""

from __future__ import annotations

import configparser
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks.__main__ import commands, resolve

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_LINE = re.compile(r"`((?:python -m|dbae-bench|tox -e|torchrun)(?: [^`]+)?)`")
RUN = re.compile(r"(?:python -m (?=(?:benchmarks|baselines|dbae)\b)|dbae-bench\b|torchrun .*?-m )(.*)")


def printed(text: str) -> list[str]:
    """Commands of a document: those of its blocks, and those within its sentences."""
    blocks = "".join(BLOCK.findall(text)).replace("\\\n", " ")
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in blocks.splitlines()]
    return [line for line in lines if line and not line.startswith("#")] + [
        " ".join(words.split()) for words in IN_LINE.findall(text)
    ]


def of_this_project(lines: list[str]) -> list[str]:
    """What follows `dbae-bench` or `python -m` in lines that name a command."""
    found = []
    for words in (shlex.split(match[1]) for line in lines if (match := RUN.search(line))):
        words = words[1:] if words[:1] == ["benchmarks"] else words  # the door
        if words and re.fullmatch(r"[a-z][a-z_.]*[a-z]", words[0]):  # no option, placeholder, or part of a name
            found.append(shlex.join(words))
    return sorted(set(found))


EVERY = sorted({line for document in DOCUMENTS for line in printed(document.read_text(encoding="utf-8"))})
NAMED = of_this_project(EVERY)
WHOLE = [line for line in NAMED if " " in line and "..." not in line]
TOX = sorted({env for line in EVERY for env in re.findall(r"\btox -e (\S+)", line)})
EXTRAS = sorted({extra for line in EVERY for group in re.findall(r"\[([a-z,]+)\]", line) for extra in group.split(",")})


class ParsedError(BaseException):
    """A command line was understood; nothing is run. No Exception, which a command line would explain."""


def test_commands_are_found():
    text = "```sh\nA=1 python -m dbae.train --out \\\n    x  # why\n```\n`dbae-bench ls\nmodels` `x.py`"
    assert printed(text) == ["A=1 python -m dbae.train --out      x", "dbae-bench ls models"]
    assert of_this_project(printed(text)) == ["dbae.train --out x", "ls models"]
    assert len(WHOLE) >= 25
    assert {"quickstart", "reproduce-table2", "docs"} <= set(TOX)
    assert "dist" in EXTRAS


@pytest.mark.parametrize("line", NAMED)
def test_a_printed_command_is_there(line):
    assert resolve(line.split()[0]) in commands()


@pytest.mark.parametrize("line", WHOLE)
def test_a_printed_command_line_is_understood(line, monkeypatch, capsys):
    understand = tyro.cli

    def understood(*args: Any, **kwargs: Any) -> None:
        understand(*args, **kwargs)
        raise ParsedError

    word, *options = shlex.split(line)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tyro, "cli", understood)
    monkeypatch.setattr(sys, "argv", [word, *options])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # runpy would keep what is checked at run time for everyone
    with pytest.raises((ParsedError, SystemExit)) as ended:
        runpy.run_module(resolve(word), run_name="__main__", alter_sys=True)
    assert ended.type is ParsedError, capsys.readouterr()


@pytest.mark.parametrize("env", TOX)
def test_a_printed_environment_of_tox_is_there(env):
    config = configparser.ConfigParser()
    config.read(ROOT / "tox.ini")
    names = [name.removeprefix("testenv:") for name in config.sections()]
    assert any(re.fullmatch(re.sub(r"\\\{([\d,]+)\\\}", r"\\d+", re.escape(name)), env) for name in names), env


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_printed_extra_is_there(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra in project["optional-dependencies"]
