"""An LMDB that was cut short, or is damaged within, is one line and not a signal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from image_samples import picture, png, write_lmdb

from dbae.data import open_data
from dbae.data.files.lmdb import LmdbFiles
from dbae.support.errors import UserError


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    images = {f"64-{i:05d}": png(picture(i, 64, 64)) for i in range(40)}
    path = write_lmdb(tmp_path / "a.lmdb", images | {"length": b"40"})
    assert len(open_data(f"lmdb:{path}")) == 40
    return path


@pytest.mark.parametrize("kept", [0.25, 0.5, 0.9, 4096, 5000, 8192])
def test_an_lmdb_that_was_cut_short(whole: Path, kept: float) -> None:
    data = (whole / "data.mdb").read_bytes()
    part = data[: int(kept * len(data)) if kept < 1 else int(kept)]
    (whole / "data.mdb").unlink()  # else the environment that is open would be used
    (whole / "data.mdb").write_bytes(part)
    code = f"from dbae.data.__main__ import main; raise SystemExit(main(['check', 'ffhq:{whole}', '--workers', '0']))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert f"bytes, as its header says, found {len(part)}: it was cut short. Fetch or pack it again." in found.stdout


def test_only_the_last_page_is_missing(whole: Path) -> None:
    data = (whole / "data.mdb").read_bytes()
    (whole / "data.mdb").unlink()
    (whole / "data.mdb").write_bytes(data[:-1])
    with pytest.raises(UserError, match=rf"of {len(data)} bytes, .* found {len(data) - 1}: it was cut short"):
        open_data(f"lmdb:{whole}")


def test_damage_that_is_found_after_opening(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lmdb = pytest.importorskip("lmdb")
    files = LmdbFiles(whole)

    class Damaged:
        def begin(self) -> None:
            raise lmdb.CorruptedError("mdb_get: MDB_CORRUPTED: Located page was wrong type")

    monkeypatch.setattr(files, "_environment", Damaged())
    with pytest.raises(UserError, match=r"a\.lmdb: expected an LMDB, found a damaged one .*wrong type.* Fetch"):
        files.read("64-00003")


def test_pages_that_are_damaged(whole: Path) -> None:
    """Zeroed pages behind the headers: whatever lmdb makes of them, it is an error of ours or a damaged image."""
    data = bytearray((whole / "data.mdb").read_bytes())
    (whole / "data.mdb").unlink()
    data[8192:16384] = bytes(8192)
    (whole / "data.mdb").write_bytes(data)
    code = f"""
from dbae.data import open_data
from dbae.support.errors import UserError
try:
    data = open_data('lmdb:{whole}', size=64)
    for i in range(40):
        data.image(i)
except UserError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "a.lmdb" in found.stdout
