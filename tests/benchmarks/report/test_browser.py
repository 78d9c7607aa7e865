"""The page in headless Chromium: it opens without errors, sorts, filters and compares, and fits a telephone."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_results import DECODED, HOSTILE, write_results

from benchmarks.report.page import page
from benchmarks.report.sources import find
from benchmarks.results import RecordFile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
WIDTHS = {"desktop": 1280, "phone": 390}
HANDS = (Path(__file__).parent / "hands.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    sets = [write_results(folder / "old", name=HOSTILE), write_results(folder / "new", name=HOSTILE, gain=1.0)]
    other = dataclasses.replace(DECODED, metric="SSIM_skimage", value=0.5)
    RecordFile(sets[0] / "reconstruction.csv").add([other])  # a column that is shown when it is asked for
    return page(find(sets), pictures=2)


@pytest.fixture(scope="module", params=WIDTHS)
def visit(request, text, tmp_path_factory):
    """What the browser says after it looked at the page and pressed everything: verdict, console, picture before that.

    The screenshot is of the page as it opens, the verdict of a copy with `hands.js` in it, in a frame: no window of
    Chromium's is narrower than 500 pixels.
    """
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "page.html").write_text(text, encoding="utf-8")
    inner = html.escape(text.replace("</body>", f"<script>{HANDS}</script></body>"))
    frame = f'<iframe srcdoc="{inner}" style="border: 0; width: {WIDTHS[request.param]}px; height: 2400px"></iframe>'
    (folder / "pressed.html").write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    plain = _browse(folder, "page.html", WIDTHS[request.param], "--screenshot=page.png")
    pressed = _browse(folder, "pressed.html", 1400, "--dump-dom")
    verdict = json.loads(html.unescape(re.search(r'<pre id="verdict">(.*?)</pre>', pressed.stdout, re.DOTALL)[1]))
    return (
        request.param,
        verdict,
        plain.stderr + pressed.stderr,
        np.asarray(Image.open(folder / "page.png").convert("L")),
    )


def _browse(folder: Path, name: str, width: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},2400", *options, f"file://{folder / name}"),
    ]
    for _ in range(2):  # on a busy machine a browser may not come up
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
        if ran.returncode == 0 and ("bytes written" in ran.stderr or 'id="verdict"' in ran.stdout):
            return ran
    pytest.fail(f"Chromium gave no {options[0]}: {ran.returncode} {ran.stderr[-2000:]}")


def test_it_opens_without_errors(visit):
    _, verdict, console, _ = visit
    assert "CONSOLE" not in console
    assert verdict["errors"] == []
    assert not verdict["alerted"]


def test_images_load(visit):
    _, verdict, _, _ = visit
    assert len(verdict["images"]) == 6  # one beside the results and two previews of each set
    assert min(verdict["images"]) > 0


def test_nothing_overflows(visit):
    name, verdict, _, _ = visit
    assert verdict["width"] == WIDTHS[name]
    assert verdict["overflow"] <= 0


def test_the_picture_is_not_empty(visit):
    _, _, _, picture = visit
    rows = (picture < 128).any(axis=1)
    assert rows.mean() > 0.1
    assert picture[:1200].std() > 10


def test_tables_sort_within_groups(visit):
    _, verdict, _, _ = visit
    best_first, worst_first = verdict["sorted"]
    assert best_first == sorted(best_first, reverse=True)
    assert worst_first == sorted(worst_first)
    assert len(best_first) > 3
    assert verdict["groups_on_top"]


def test_the_numbers_of_attributes_open_and_sort(visit):
    _, verdict, _, _ = visit
    assert verdict["numbers_closed"]
    assert len(verdict["numbers_sorted"]) == 4
    assert verdict["numbers_sorted"] == sorted(verdict["numbers_sorted"], reverse=True)
    assert verdict["numbers_by_name"] == list("abcd")
    assert verdict["numbers_overflow"] <= 0


def test_filters_leave_what_was_chosen(visit):
    _, verdict, _, _ = visit
    assert verdict["all"] == {"sets": ["new", "old"], "parts": 4}  # probes, reconstructions, a log of each set
    assert verdict["of_a_set"] == ["new"]
    assert verdict["of_a_protocol"] == ["paper"]
    assert set(verdict["of_a_model"]) == {"theirs"}


def test_sets_are_compared(visit):
    _, verdict, _, _ = visit
    changes = verdict["changes"]
    assert sum("ahead" in change for change in changes) == 1
    assert any("equal" in change for change in changes)
    assert not verdict["changes_after"]


def test_a_number_says_where_it_comes_from(visit):
    _, verdict, _, _ = visit
    assert verdict["facts"]["metric"] == "AP"
    assert verdict["facts"]["data_sha256"] == "cd" * 32
    assert verdict["facts"]["n"] == "400"


def test_more_rows_show_when_asked_for(visit):
    _, verdict, _, _ = visit
    assert verdict["more_before"] == 0
    assert verdict["more_after"] > 0
