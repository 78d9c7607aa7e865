"""`dbae-bench`: every command by a name, with its options and its exit status."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks import __main__ as door
from benchmarks.reproduce import validate
from dbae.support import cli
from dbae.support.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_console_script_is_this_door():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"dbae-bench": "benchmarks.__main__:main"}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_it_lists_every_command_by_a_name_that_works(arguments, capsys):
    assert door.main(arguments) == 0
    parts = capsys.readouterr().out.split("\n\n")[1:]
    shown = [line.split()[0] for part in parts for line in part.splitlines()[1:]]
    assert [door.resolve(name) for name in shown] == list(door.commands())
    assert {"downstream", "ls", "validate", "dbae.train", "baselines.train", "data"} <= set(shown)


def test_version_names_package_and_code(capsys):
    assert door.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dbae-bench 0.1.0, code ")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("donwstream", "no such command. Did you mean downstream?"),
        ("benchmarks.comparr", "Did you mean benchmarks.compare"),
        ("qqqqqq", "no such command. `dbae-bench` lists all"),
        ("train", "expected the name of one command, found 2: baselines.train, dbae.train"),
        ("", "no such command"),
    ],
)
def test_a_word_that_means_no_command_is_refused(word, said, capsys):
    assert door.main([word]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(UserError):
        door.resolve(word)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["list", "dbae/ffhq128", "--long"], 0, "dbae/ffhq128: DBAE"),
        (["baselines.list", "nothing/such"], 2, ""),
        (["compare", "--help"], 0, "usage: python -m benchmarks.compare"),
        (["inspect", "no/such/file.pt"], 2, ""),
    ],
)
def test_a_command_runs_with_its_options_and_ends_with_its_status(arguments, status, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dbae-bench"])  # what runs changes it
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # runpy would keep what is checked at run time for everyone
    with pytest.raises(SystemExit) as ended:
        door.main(arguments)
    assert (ended.value.code or 0) == status
    shown = capsys.readouterr()
    assert said in shown.out
    assert bool(shown.err) == bool(status)


def test_ctrl_c_while_a_command_is_imported_ends_it_quietly():
    """A shell calls that status 130. Half a NumPy would raise AttributeError."""
    lines = [
        "import runpy, signal, sys",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # which a shell's jobs in the background lack
        "from benchmarks import __main__ as door",
        "runpy.run_module = lambda *args, **options: signal.raise_signal(signal.SIGINT)",
        "sys.exit(door.main(['downstream']))",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_in_a_command_that_runs_says_what_is_kept(capsys):
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        options = validate.ValidateOptions
        assert (
            cli.run(lambda _: signal.raise_signal(signal.SIGINT), options, module="m", description="", arguments=[])
            == 130
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "Stopped; what was finished is kept.\n"
