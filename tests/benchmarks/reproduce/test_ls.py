"""`ls`: what there is, as a table and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from baselines.cards import TABLES, cards
from baselines.load import BUILTIN
from benchmarks.reproduce import ls
from dbae import pretrained
from dbae.data.kinds import KINDS


def listed(what: ls.What, capsys) -> list[dict]:
    ls.list_them(ls.ListOptions(what=what, json=True))
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what", ls.LISTS)
def test_the_table_has_a_line_a_row(what, capsys):
    rows = listed(what, capsys)
    ls.list_them(ls.ListOptions(what=what))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *(row["name"] for row in rows)]


def test_models_are_those_that_open_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "diffae/ffhq128").mkdir(parents=True)
    (tmp_path / "diffae/ffhq128/last.ckpt").touch()
    monkeypatch.setenv("DBAE_CHECKPOINTS", str(tmp_path))
    rows = {row["name"]: row for row in listed("models", capsys)}
    assert set(rows) == {*BUILTIN, *pretrained.PRIORS, *cards()}
    assert {name for name, row in rows.items() if row["here"]} == {
        *BUILTIN,
        *pretrained.PRIORS,
        "diffae/ffhq128",
    }
    assert "trained on faces" in rows["builtin:dbae"]["about"]


def test_a_damaged_builtin_model_is_said_to_be_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "half.safetensors").write_bytes(BUILTIN["builtin:dbae"].read_bytes()[:1000])
    monkeypatch.setitem(ls.BUILTIN, "builtin:dbae", tmp_path / "half.safetensors")
    monkeypatch.setitem(ls.BUILTIN, "builtin:gone", tmp_path / "gone.safetensors")
    rows = {row["name"]: row for row in listed("models", capsys)}
    assert not rows["builtin:dbae"]["here"]
    assert "not a complete safetensors file" in rows["builtin:dbae"]["about"]
    assert not rows["builtin:gone"]["here"]


def test_another_file_in_the_place_of_a_builtin_model_is_said_to_be_so(tmp_path, monkeypatch, capsys):
    shutil.copy(BUILTIN["builtin:dbae"], tmp_path / "dbae.safetensors")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  dbae.safetensors\n")
    monkeypatch.setitem(ls.BUILTIN, "builtin:dbae", tmp_path / "dbae.safetensors")
    row = next(row for row in listed("models", capsys) if row["name"] == "builtin:dbae")
    assert (row["here"], "found another SHA-256" in row["about"]) == (False, True)


def test_data_are_the_kinds_with_their_options(tmp_path, monkeypatch, capsys):
    (tmp_path / "lfw").mkdir()
    monkeypatch.setenv("DBAE_DATA", str(tmp_path))
    rows = {row["name"]: row for row in listed("data", capsys)}
    assert {name: tuple(row["options"]) for name, row in rows.items()} == {n: k.options for n, k in KINDS.items()}
    assert {name: rows[name]["here"] for name in ("lfw", "celeba", "folder")} == {
        "lfw": True,
        "celeba": False,
        "folder": None,
    }
    assert rows["celeba"]["about"] == "As its authors publish it, 202,599 images."
    assert rows["mpi3d"]["about"] == "As its authors publish it, 1,036,800 or 460,800 images."
    assert (rows["mpi3d"]["here"], rows["disks"]["here"]) == (False, None)


def test_tasks_are_the_benchmarks_with_their_protocols(capsys):
    rows = {row["name"]: row for row in listed("tasks", capsys)}
    assert {"downstream", "reconstruction", "variation", "disentanglement", "generation", "cost"} <= set(rows)
    assert "compare" not in rows
    assert "reproduce" not in rows
    assert rows["downstream"]["protocols"] == ["paper", "standard"]
    assert {name for name, row in rows.items() if not row["images"]} == {"cost"}


def test_tables_are_the_published_ones(capsys):
    rows = {row["name"]: row for row in listed("tables", capsys)}
    assert set(rows) == {path.stem for path in Path(TABLES).glob("*.csv")}
    assert list(rows).index("table9") < list(rows).index("table10")  # by number, not by letter
    assert rows["table2"]["numbers"] == 36
    assert rows["table3"]["tasks"] == ["disentanglement", "generation"]
    assert rows["table3"]["command"] == "dbae-bench reproduce table3"
    assert rows["table6"]["command"] == ""
    assert {name for name, row in rows.items() if not row["command"]} == set(ls.OTHERS)
    assert rows["table1_camera_ready"]["about"].endswith(", in the ICLR 2025 version")
    assert "preprint" in rows["table1"]["about"]
    assert min(len(row["about"].split()) for row in rows.values()) > 2
