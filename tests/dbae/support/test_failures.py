"""What the machine says no to is one line and status 2, at the border of every command."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dbae.data.decode import decode_rgb
from dbae.support import cli


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a command."""

    path: Path = Path("a.bin")
    n: int | None = None
    rate: float = 0.5
    seeds: tuple[int, ...] = (0,)
    name: str = ""


def outcome(main: Callable[[Options], Any], capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.run(main, Options, module="m", description="", arguments=list(words))
    return status, capsys.readouterr().err


def raising(error: Exception) -> Callable[[Options], Any]:
    def main(options: Options) -> None:
        path = options.path  # noqa: F841  what was being read, for the message
        raise error

    return main


def nested(options: Options) -> None:
    def read(path: Path, depth: int) -> None:
        read(path, depth + 1)

    read(options.path, 0)


def too_large(options: Options) -> None:
    path = options.path  # noqa: F841
    torch.empty(1 << 55)


def linked_to_itself(options: Options) -> None:
    options.path.symlink_to(options.path)
    options.path.resolve(strict=True)


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (lambda o: os.open(o.path, 0), ["a.bin: No such file or directory. Check the path."]),
        (lambda o: os.open(o.path.with_name("b" * 300), 0), ["b" * 300, "File name too long. Choose a shorter name."]),
        (lambda o: os.open(o.path.parent, os.O_RDWR), ["Is a directory. It is a folder: name a file."]),
        (raising(PermissionError(errno.EACCES, "Permission denied", "x/y")), ["x/y: Permission denied. Change its"]),
        (raising(OSError(errno.ENOSPC, "No space left on device")), ["a.bin: No space left on device. Free some"]),
        (raising(OSError("cannot seek")), ["a.bin: cannot seek."]),
        (raising(MemoryError()), ["a.bin: out of memory (more than there is). Take a smaller"]),
        (lambda o: np.empty(1 << 58), ["out of memory (Unable to allocate"]),
        (too_large, ["a.bin: out of memory ("]),
        (nested, ["a.bin: nested too deeply"]),
        (
            raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
            ["a.bin: out of memory (CUDA"],
        ),
        (lambda o: o.path.write_bytes(b"\xff") and o.path.read_text("utf-8"), ["expected text in UTF-8, found other"]),
        (lambda o: Path("~nobody-here").expanduser(), ["its ~ names no user of this machine"]),
        (lambda o: os.open("a\0b", 0), ["a path cannot hold a NUL character"]),
        (linked_to_itself, ["a.bin", "name the file itself."]),
    ],
)
def test_one_line_that_names_the_file(main, words, capsys, tmp_path):
    status, said = outcome(main, capsys, "--path", str(tmp_path / "a.bin"))
    assert status == 2
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_debug_adds_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("DBAE_DEBUG", "1")
    status, said = outcome(raising(OSError("cannot seek")), capsys)
    assert status == 2
    assert "Traceback (most recent call last)" in said


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RuntimeError("shape mismatch"), TypeError()])
def test_faults_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)):
        cli.run(raising(error), Options, module="m", description="", arguments=[])


@pytest.mark.parametrize(
    "words",
    [
        "--n 1_000",
        "--n 1e3",
        "--n \u0661",
        "--rate 1_0.5",
        "--seeds 0 1_0",
        "--path ",
        "--path a\0b",
        "--path ~nobody-here/x",
    ],
)
def test_words_that_are_no_plain_numbers_and_paths_are_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda options: None, Options, module="m", description="", arguments=words.split(" "))
    assert caught.value.code == 2
    assert re.search("expected|Could not find valid parse", capsys.readouterr().err)


def test_plain_numbers_and_paths_are_taken(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    words = ["--n", "-12", "--rate", "1e-3", "--seeds", "0", "+1", "--path", "~/a b", "--name", "1_000"]
    found: list[Options] = []
    assert cli.run(found.append, Options, module="m", description="", arguments=words) == 0
    assert found == [Options(Path("/home/me/a b"), -12, 1e-3, (0, 1), "1_000")]


SCRIPT = """
import dataclasses, sys
from dbae.support import cli

@dataclasses.dataclass(frozen=True)
class Options:
    "Options."

def main(options):
    {body}

sys.exit(cli.run(main, Options, module="m", description="", arguments=[]))
"""


def test_a_reader_that_goes_away_is_no_error():
    script = SCRIPT.format(body='print("line\\n" * 100_000)')
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"line\n"
    writer.stdout.close()
    assert writer.stderr is not None
    assert writer.stderr.read() == b""
    assert writer.wait(60) == 141


def test_names_of_any_bytes_are_printed():
    script = SCRIPT.format(body='import os; print(os.fsdecode(b"caf\\xe9.png"), "\\u00e9")')
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\\udce9.png" in done.stdout


def test_images_that_pillow_finds_large_are_read_without_a_word(tmp_path, monkeypatch, capsys, recwarn):
    """And those that it refuses are named."""
    Image.new("RGB", (4, 4)).save(tmp_path / "large.png")
    data = (tmp_path / "large.png").read_bytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert outcome(lambda options: decode_rgb(data, "large.png"), capsys) == (0, "")
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    status, said = outcome(lambda options: decode_rgb(data, "large.png"), capsys)
    assert status == 2
    assert said.startswith("large.png: refused, Image size (16 pixels) exceeds limit of 10 pixels")
