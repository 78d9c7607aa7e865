"""`validate`: what is there, what is missing, how to get it, and whether that is a failure."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch

from benchmarks.extractors.features import INCEPTION_FILES
from benchmarks.reproduce import ls, validate
from dbae.support import cli
from dbae.support.errors import UserError


def report(capsys) -> dict[str, dict]:
    validate.validate(validate.ValidateOptions(json=True))
    return {row["what"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_complete_installation_passes(tmp_path, monkeypatch, capsys):
    for variable in ("DBAE_CHECKPOINTS", "DBAE_DATA", "DBAE_WEIGHTS_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    rows = report(capsys)
    assert all(row["there"] for row in rows.values() if row["needed"])
    missing = {name for name, row in rows.items() if not row["there"]}
    assert {"weights for FID, KID, Inception Score", "published data", "published checkpoints"} <= missing
    assert {name for name, row in rows.items() if row["remedy"]} == missing
    assert cli.run(validate.validate, validate.ValidateOptions, module="m", description="", arguments=[]) == 0
    shown = capsys.readouterr().out
    assert INCEPTION_FILES[0].url in shown
    assert all(name in shown for name in rows)


def test_what_users_have_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "celeba").mkdir()
    (tmp_path / "dbae/ffhq128").mkdir(parents=True)
    (tmp_path / "dbae/ffhq128/ema_0.9999_1020000.pt").touch()
    (tmp_path / INCEPTION_FILES[0].name).write_bytes(b"half a download")
    for variable in ("DBAE_CHECKPOINTS", "DBAE_DATA", "DBAE_WEIGHTS_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    rows = report(capsys)
    assert rows["published data"]["found"] == "celeba"
    assert rows["published checkpoints"]["found"] == "dbae/ffhq128"
    weights = rows["weights for FID, KID, Inception Score"]
    assert (weights["there"], weights["found"]) == (False, "damaged")
    assert "get https://" in weights["remedy"]


def test_a_damaged_installation_fails(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "file"))
    monkeypatch.setitem(ls.BUILTIN, "builtin:dbae", tmp_path / "gone.safetensors")
    with pytest.raises(UserError, match="not complete: builtin:dbae, cache"):
        validate.validate(validate.ValidateOptions())
    shown = capsys.readouterr().out
    assert "MISSING  builtin:dbae" in shown
    assert "set DBAE_CACHE" in shown


def test_packages_of_a_wrong_version_are_named(monkeypatch):
    monkeypatch.setattr(validate, "_version", lambda name: {"torch": "1.0", "tyro": None}.get(name, "999"))
    required, *extras = validate.packages()
    assert not required.there
    assert required.needed
    for words in ("torch>=2.9 (found 1.0)", "tyro>=0.9.32 (found none)", "scipy<1.18,>=1.15 (found 999)"):
        assert words in required.found
    assert required.remedy.startswith("pip install 'torch>=2.9'")
    assert "extra lmdb" in {extra.what for extra in extras}
    assert not {f"extra {name}" for name in validate.DEVELOPERS} & {extra.what for extra in extras}


def test_code_that_is_not_installed_is_said_to_be_so(monkeypatch):
    def none(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", none)
    (found,) = validate.packages()
    assert not found.there
    assert "pip install" in found.remedy


def test_the_gpus_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"card {i}")
    assert (validate.gpu().there, validate.gpu().found) == (True, "card 0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not validate.gpu().there
    assert not validate.gpu().needed


def test_many_names_are_cut_short():
    assert validate._some([str(i) for i in range(6)]) == "0, 1, 2, 3 and 2 more"
    assert validate._some([]) == "none"
