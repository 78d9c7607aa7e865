"""One run in a folder, one writer of a file; the dead hold nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dbae.support.errors import UserError
from dbae.support.locking import alone, locked, require_free

HOLD = """
import os, sys, time
from dbae.support.locking import alone
with alone(sys.argv[1]):
    child = os.fork()  # as workers that read images are
    if child:
        print(child, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_living_run_is_respected_and_a_dead_one_forgotten(folder: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    expected = rf"{folder}: another run is at work .*process {holder.pid} on {socket.gethostname()}\).*--out"
    try:
        with pytest.raises(UserError, match=expected), alone(folder):
            pass
        with pytest.raises(UserError, match="another run is at work"):
            require_free(folder)
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        os.kill(child, 0)  # a process of the dead run still lives
        with alone(folder):
            require_free(folder)
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
    assert os.listdir(folder) == []


def test_within_a_run_the_folder_is_its_own(folder: Path) -> None:
    with alone(folder), alone(folder / "." / ""):
        assert os.listdir(folder) == [".lock"]
    require_free(folder)
    require_free(folder / "none")
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("mine")
    for folder in (file, file / "run"):
        with pytest.raises(UserError, match=f"^{file}: expected a folder, found a file. Name another"), alone(folder):
            pass
    assert file.read_text() == "mine"
    with pytest.raises(UserError, match="the folder cannot be written"), alone(tmp_path / ("a" * 300)):
        pass


def test_a_link_has_the_lock_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "there" / "a.csv")
    with locked(tmp_path / "link.csv"):
        assert os.listdir(tmp_path / "there") == [".a.csv.lock"]
    assert os.listdir(tmp_path / "there") == []
