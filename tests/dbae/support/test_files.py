"""Files are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dbae.support.errors import UserError
from dbae.support.files import atomic_path, sha256


def test_file_appears_with_its_content_and_ordinary_permissions(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def write_and_fail(path: Path, failure: Callable[[Path], BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise failure(temporary)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure):
        write_and_fail(path, lambda _: failure())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("named", [True, False])
def test_full_disk(tmp_path, named):
    """Some libraries name the file in the error, others do not."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    full = (errno.ENOSPC, "No space left on device")
    with pytest.raises(
        UserError, match=r"a\.txt: could not be written \(No space left on device\); nothing that stood"
    ):
        write_and_fail(path, lambda temporary: OSError(*full, str(temporary)) if named else OSError(*full))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_error_without_a_number_is_quoted(tmp_path):
    with pytest.raises(UserError, match=r"could not be written \(encoder error -2\)"):
        write_and_fail(tmp_path / "a", lambda _: OSError("encoder error -2"))


def test_errors_of_other_files_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "elsewhere").read_text()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["file/a.txt", "file/b/a.txt", "file/b/c/a.txt"])
def test_folder_that_is_a_file(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.txt: could not be written"), atomic_path(tmp_path / below):
        pass


def test_path_that_is_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="a: could not be written"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["a"]


def test_what_dead_writers_left_is_swept_and_what_the_living_write_is_not(tmp_path):
    path, host = tmp_path / "a[1].csv", f"{zlib.crc32(socket.gethostname().encode()):08x}"
    done = subprocess.Popen(["true"])
    done.wait()
    dead = [f".a[1].csv.{done.pid}-{host}-x.tmp", f".a[1].csv.{done.pid}-{host}-x.d", ".a[1].csv.old.tmp"]
    alive = [f".a[1].csv.{os.getpid()}-{host}-x.tmp", f".a[1].csv.{done.pid}-00000000-x.tmp", ".a[1].csv.new.tmp"]
    others = [f".b.csv.{done.pid}-{host}-x.tmp", ".a[1].csv.lock", f".a1.csv.{done.pid}-{host}-x.tmp"]
    for name in (*dead, *alive, *others):
        (tmp_path / name).mkdir() if name.endswith(".d") else (tmp_path / name).touch()
    os.utime(tmp_path / ".a[1].csv.old.tmp", (0, 0))
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert set(os.listdir(tmp_path)) == {path.name, *alive, *others}


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "a.txt"
    link.symlink_to(Path("there") / "a.txt")
    for text in ("new", "newer"):
        with atomic_path(link) as temporary:
            assert temporary.parent == target.parent
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_sha256(tmp_path):
    data = os.urandom((1 << 20) + 5)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_folder_that_is_only_read_is_told_by_the_name_of_the_result(tmp_path, monkeypatch):
    """Not by that of a temporary file, which nobody has asked for."""

    def refused(*, dir: Path, prefix: str, suffix: str) -> tuple[int, str]:
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/{prefix}abc{suffix}")

    monkeypatch.setattr("tempfile.mkstemp", refused)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "result.csv", Path("result.csv")):
        expected = pytest.raises(UserError, match=r"result\.csv: could not be written \(Permission denied\)")
        with expected, atomic_path(path):
            pass
