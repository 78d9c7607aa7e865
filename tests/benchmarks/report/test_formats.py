"""Tables for papers."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess

import pytest
from report_results import PROBE, write_results

from benchmarks.report.build import boards
from benchmarks.report.command import command
from benchmarks.report.formats import FORMATS, as_json, latex, markdown, tex
from benchmarks.report.page import page
from benchmarks.report.sources import find
from benchmarks.results import RecordFile


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "first")


def test_json_has_the_numbers_of_the_file(folder):
    (first, _) = json.loads(as_json(boards(find([folder]))))
    values = {r.value for r in RecordFile(folder / "downstream.csv").read()}
    found = [row["cells"]["AP"] for row in first["rows"]]
    assert {cell["value"] for cell in found} == values
    assert sum(cell["best"] for cell in found) == 1
    assert all(cell["low"] < cell["value"] < cell["high"] for cell in found)
    assert found[0]["record"]["checkpoint_sha256"]


def test_json_is_strict_about_numbers_that_are_none(tmp_path):
    rows = [
        dataclasses.replace(PROBE, value=float("nan")),
        dataclasses.replace(PROBE, metric="PSNR", value=float("inf")),
    ]
    RecordFile(tmp_path / "x.csv").add(rows)
    (table,) = json.loads(as_json(boards(find([tmp_path]))), parse_constant=pytest.fail)
    assert {name: cell["value"] for name, cell in table["rows"][0]["cells"].items()} == {"AP": None, "PSNR": "inf"}


def test_rows_of_markdown_are_as_wide_as_their_heads(folder):
    text = markdown(boards(find([folder])))
    tables = [part.splitlines() for part in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(tables) == 2
    assert all(len({line.count(" | ") for line in table}) == 1 for table in tables)
    assert len(re.findall(r"\*\*0\.\d+\*\* \\\[", text)) == 2


def test_costs_have_units_and_no_fewer_digits_than_their_errors(tmp_path):
    cost = dataclasses.replace(PROBE, task="cost", split="all", z="", n=1, better="lower", seed="", data_sha256="")
    of = {"parameters_M": (1.4, None), "training_time": (134.5678, 0.004), "GFLOPs_NFE": (0.31, None)}
    of |= {"total_time_ms": (2.25, 0.3), "training_time_ratio": (3.0, 0.1)}
    rows = [dataclasses.replace(cost, metric=name, value=value, stderr=error) for name, (value, error) in of.items()]
    RecordFile(tmp_path / "cost.csv").add(rows)
    found = boards(find([tmp_path]))
    text = markdown(found, everything=True)
    assert "| total time (ms/image) ↓ | training time (ms/image) ↓ | parameters (millions) ↓ |" in text
    assert "| GFLOPs NFE (GFLOP/image) ↓ | training time ratio ↓ |" in text
    assert "| 134.568 ± 0.004 |" in text
    assert "training time (ms/image)" in page(find([tmp_path]))
    assert "training time (ms/image)" in latex(found)
    assert r"134.568 {\scriptsize $\pm$ 0.004}" in latex(found)


def test_names_are_no_markup(tmp_path):
    RecordFile(tmp_path / "x.csv").add([dataclasses.replace(PROBE, model="a|b_50%$&#{}\\", value=0.5)])
    found = boards(find([tmp_path]))
    assert r"a\|b\_50%$&#{}\\" in markdown(found)
    assert r"a|b\_50\%\$\&\#\{\}\textbackslash{}" in latex(found)
    assert tex("± ↑") == r"$\pm$ $\uparrow$"


def test_latex_has_one_head_and_full_rows(folder):
    text = latex(boards(find([folder])))
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{table}") == 2
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({row.count(" & ") for row in rows}) == 1
    assert len(re.findall(r"\\textbf\{0\.\d+\}", text)) == 2
    assert len(re.findall(r"\\underline\{0\.\d+\}", text)) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(folder, tmp_path):
    body = latex(boards(find([folder])))
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{body}\\end{{document}}"
    (tmp_path / "x.tex").write_text(text)
    ran = subprocess.run(["pdflatex", "-halt-on-error", "x.tex"], cwd=tmp_path, capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-2000:]


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_prints_what_was_asked_for(name, folder, capsys):
    arguments = [str(folder), "--format", name, "--where", "task=downstream", "model=pca"]
    assert command(arguments) == 0
    shown = capsys.readouterr().out
    assert "pca" in shown
    assert "theirs" not in shown


def test_rows_that_nobody_has_are_refused(folder, capsys):
    assert command([str(folder), "--format", "json", "--where", "model=nobody"]) == 2
    assert "no row" in capsys.readouterr().err
    assert command([str(folder), "--where", "colour=red"]) == 2
    assert "COLUMN=VALUE" in capsys.readouterr().err


def test_a_page_is_not_written_over_a_table_nor_of_nothing(folder, tmp_path, capsys):
    table = folder / "downstream.csv"
    before = table.read_bytes()
    assert command([str(folder), "--html", str(table)]) == 2
    assert "expected a file name that ends in .html" in capsys.readouterr().err
    assert table.read_bytes() == before
    (tmp_path / "empty.csv").write_bytes(before.partition(b"\n")[0] + b"\n")
    assert command([str(tmp_path), "--html", str(tmp_path / "r.html")]) == 2
    assert "with rows" in capsys.readouterr().err


def test_published_rows_stand_last_as_printed(tmp_path):
    row = dataclasses.replace(PROBE, protocol="paper", dataset="lfw", metric="Pearson_r", n=3000, value=0.6)
    RecordFile(tmp_path / "x.csv").add([row])
    found = boards(find([tmp_path]))
    lines = markdown(found).splitlines()
    printed = next(i for i, line in enumerate(lines) if "DBAE stochastic, trained on CelebA" in line)
    assert "0.643" in lines[printed]
    assert printed > next(i for i, line in enumerate(lines) if "mine" in line)
    assert "DBAE stochastic, trained on CelebA" in latex(found)
    (table,) = json.loads(as_json(found))
    assert {"name", "source", "cells"} <= table["published"][0].keys()
