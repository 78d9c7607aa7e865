"""The notebook of first steps runs from top to bottom, and shows what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return notebook["cells"]


def test_it_is_kept_without_outputs(cells):
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 7
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_every_cell_runs(cells, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    names: dict[str, Any] = {}
    figures = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, {cell['id']}", "exec"), names)
            figures += len(pyplot.get_fignums())
            pyplot.close("all")
    assert figures == 3
    assert names["z"].shape == (1000, 16)
    assert {nfe: made.nfe for nfe, made in names["decoded"].items()} == {2: 2, 10: 10}
    errors = {nfe: ((made.images - names["x_0"][:8]) ** 2).mean() for nfe, made in names["decoded"].items()}
    blind = ((names["x_0"].mean(0) - names["x_0"][:8]) ** 2).mean()
    assert max(errors.values()) < blind / 4  # it reconstructs these faces, not any face
    assert all(names["scores"][name]["z"] > names["scores"][name]["blind"] for name in ("Eyeglasses", "Male"))
    assert {"SSIM", "MSE"} <= set(names["table"].metric)
    assert (tmp_path / "first_steps.csv").is_file()
    assert "z of 16 numbers" in capsys.readouterr().out
