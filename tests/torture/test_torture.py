"""The campaign itself: it is a function of its seed, and it notices what does not hold. One case of each cheap kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import campaign
import pytest
import sandbox
from cache_kinds import other_rows
from damage import broken_bytes, broken_json, broken_table
from kind import generator
from sandbox import Outcome

HERE = Path(__file__).resolve().parent


def test_one_attempt_of_each_cheap_kind_holds():
    """As `tox -e torture` runs it, in a process of its own, which forks."""
    kinds = ["cards", "safetensors", "torch files", "labels", "lmdb"]
    done = subprocess.run(
        [sys.executable, str(HERE), "--attempts", "1", "--minutes", "3", "--only", *kinds],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 0: 5 tried, 0 failed" in done.stdout
    for kind in kinds:
        assert f"{kind:18} tried     1  held     1  failed    0" in done.stdout


@pytest.mark.parametrize("kind", campaign.KINDS, ids=lambda kind: kind.name)
def test_every_kind_says_what_held_means(kind):
    assert kind.held
    assert kind.share > 0


def test_damage_is_a_function_of_the_seed_and_is_damage():
    text = "file,a\nx.png,1\ny.png,2\n"
    for damage, whole in (
        (broken_bytes, bytes(range(256)) * 4),
        (broken_table, text),
        (broken_json, {"a": [1, {"b": 2}]}),
    ):
        found = [damage(generator(3, "labels", number), whole) for number in range(60)]
        again = [damage(generator(3, "labels", number), whole) for number in range(60)]
        assert [repr(f) for f in found] == [repr(f) for f in again]
        assert len({how for _, how in found}) > 8
        plain = whole.encode() if isinstance(whole, str) else whole
        assert sum(changed != plain for changed, _ in found) > 45


def outcome(status: int = 0, errors: str = "", **other: object) -> Outcome:
    return Outcome(("x",), status, "", errors, 1.0, 1, **other)  # type: ignore[arg-type]


def test_what_does_not_hold_is_noticed():
    assert not outcome().refused_or_done(["a.pt"])
    assert not outcome(2, "info\n/x/a.pt: expected weights, found text.\n").refused_or_done(["a.pt"])
    assert "without the file's name" in outcome(2, "something is wrong\n").refused_or_done(["a.pt"])
    assert "status 1" in outcome(1, "a.pt\n").refused_or_done(["a.pt"])
    assert "signal 7" in outcome(-7).refused_or_done(["a.pt"])
    traced = outcome(2, "Traceback (most recent call last):\n  File\nValueError: a.pt\n")
    assert "traceback: ValueError" in traced.refused_or_done(["a.pt"])
    assert "still at work" in outcome(-9, late=True).refused_or_done(["a.pt"])
    assert "MiB" in Outcome(("x",), 0, "", "", 1.0, sandbox.LIMIT_MIB + 1).refused_or_done(["a.pt"])


def test_rows_that_differ_are_noticed(tmp_path):
    assert "1 of 1 rows differ" in other_rows(tmp_path, {"row": "0.5"})
    assert not other_rows(tmp_path, {})


def test_unknown_kinds_are_refused(capsys):
    from dbae.support import cli

    status = cli.run(campaign.torture, campaign.Options, module="x", description="", arguments=["--only", "wars"])
    assert status == 2
    assert "--only wars: expected some of safetensors, cards" in capsys.readouterr().err
