"""The API pages: what a docstring aligns stays aligned, modules have pages, and the start page leads to them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("pdoc", reason="the extra docs")
FOLDER = Path(__file__).parents[1] / "docs" / "api"


@pytest.fixture(scope="module")
def api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("One.\n\na   first\nbc  second\n\nEnd.", "One.\n\n    a   first\n    bc  second\n\nEnd."),
        ("Examples:\n  python -m a\n  python -m b", "**Examples**\n\n      python -m a\n      python -m b"),
        ("One:\n\n  a\n    b", "One:\n\n      a\n        b"),
    ],
)
def test_what_is_aligned_becomes_code(api, given, becomes):
    assert api.readable(given) == becomes


@pytest.mark.parametrize(
    "docstring",
    [
        "Two lines\nof a sentence.",
        "Args:\n    a: one.\n    b: two, which\n        goes on.\n\nReturns:\n    Something.",
        "| a  b | c |\n|---|---|\n| 1  2 | 3 |",
        "Two:\n  - one\n  - two",
        "Code:\n\n    x = 1\n    y  = 2",
    ],
)
def test_prose_sections_tables_and_lists_stay(api, docstring):
    kept = api.readable(docstring)
    assert kept == docstring or kept.replace("        ", "    ") == docstring  # code stays code


def test_every_link_of_the_start_page_is_a_module(api):
    modules = {name for package in api.PACKAGES for name in api.modules(package)}
    links = re.findall(r"\]\(([^)]+)\.html\)", (FOLDER / "start.md").read_text(encoding="utf-8"))
    assert len(links) > 20
    assert {link.replace("/", ".") for link in links} <= modules


def test_pages_show_names_that_are_loaded_on_demand(api, tmp_path):
    api.build(tmp_path, ["dbae.data"])
    page = (tmp_path / "dbae/data.html").read_text(encoding="utf-8")
    assert 'id="Faces"' in page
    assert "Data sets: " in page
    assert re.search(r"<pre><code>source +the --data grammar", page)
    assert (tmp_path / "dbae/data/source.html").is_file()
    assert "dbae-bench: the Python API" in (tmp_path / "index.html").read_text(encoding="utf-8")
