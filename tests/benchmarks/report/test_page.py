"""The page as text: it holds everything, asks for nothing, and shows names as they are."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_results import CONTROL, HOSTILE, PROBE, write_results

import benchmarks.report.page
from benchmarks.report import curves, points
from benchmarks.report.build import boards
from benchmarks.report.charts import COLOURS, Curve, Palette, colour, draw_curves, spread_out, svg
from benchmarks.report.command import _filtered, command
from benchmarks.report.page import page
from benchmarks.report.pictures import albums
from benchmarks.report.sources import find
from benchmarks.results import RecordFile
from benchmarks.results.models import Model


class Parsed(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return page(find([write_results(tmp_path_factory.mktemp("results") / "first", name=HOSTILE)]), pictures=3)


@pytest.fixture(scope="module")
def parsed(text):
    return Parsed(text)


def test_a_name_is_shown_as_text(text, parsed):
    assert HOSTILE not in text
    assert any(HOSTILE in part for part in parsed.text)
    assert not [attributes for tag, attributes in parsed.elements if "onerror" in attributes]
    assert {attributes["src"][:5] for tag, attributes in parsed.elements if tag == "img"} == {"data:"}


def test_nothing_is_fetched(text, parsed):
    outside = {"href", "src", "xlink:href", "action", "srcset"}
    for _, attributes in parsed.elements:
        for name in outside & attributes.keys():
            assert attributes[name].startswith(("data:", "#")), attributes
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_pictures_are_in_the_page_the_last_ones_of_a_folder(parsed):
    images = {a["alt"]: a["src"] for tag, a in parsed.elements if tag == "img"}
    assert list(images) == ["reconstruction_images.png", "images-9.png", "images-10.png", "images-11.png"]
    content = base64.b64decode(images["images-11.png"].partition(",")[2])
    assert np.asarray(Image.open(io.BytesIO(content)))[0, 0, 0] == 220
    assert any("9 more not shown" in part for part in parsed.text)


def test_a_broken_picture_is_left_out(tmp_path):
    folder = write_results(tmp_path / "first")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = [picture.name for album in albums(find([folder])[0], 8) for picture in album.pictures]
    assert "reconstruction_images.png" in found
    assert "broken.png" not in found


def test_every_number_is_there_with_where_it_comes_from(text, parsed, tmp_path):
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    facts = data["facts"]
    told = [{c: facts["texts"][i] for c, i in zip(facts["columns"], row, strict=True)} for row in facts["rows"]]
    records = [
        r for name in ("downstream", "reconstruction") for r in RecordFile(_folder(tmp_path) / f"{name}.csv").read()
    ]
    assert sorted(float(fact["value"]) for fact in told) == sorted(r.value for r in records)
    assert {fact["checkpoint_sha256"] for fact in told} == {r.checkpoint_sha256 for r in records}
    buttons = [a for tag, a in parsed.elements if tag == "button" and "data-fact" in a]
    assert sorted(int(a["data-fact"]) for a in buttons) == list(range(len(records)))


def _folder(tmp_path):
    return write_results(tmp_path / "same", name=HOSTILE)


def test_figures_have_ids_of_their_own(text, parsed):
    ids = [attributes["id"] for _, attributes in parsed.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text))
    assert {a or b for a, b in used} <= set(ids)
    assert text.count("<svg") == 5  # AP as training goes on, attributes, SSIM, loss, mse


def test_the_same_folder_gives_the_same_bytes(text, tmp_path):
    assert page(find([write_results(tmp_path / "first", name=HOSTILE)]), pictures=3) == text


def test_sets_are_compared_where_there_are_two(tmp_path):
    sets = find([write_results(tmp_path / "old"), write_results(tmp_path / "new", gain=1.0)])
    text = page(sets)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["changes"].keys() == {"old", "new"}
    verdicts = [change[1] for change in data["changes"]["old"].values()]
    assert verdicts.count("ahead") == 1
    assert set(verdicts) == {"ahead", "equal"}


def test_a_change_from_another_model_says_which(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        row = dataclasses.replace(PROBE, model=f"{name}-model", value=0.5, checkpoint_sha256=name)
        RecordFile(tmp_path / name / "downstream.csv").add([row])
    text = page(find([tmp_path]))
    changes = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["changes"]
    assert changes == {
        "new": {"1": ["+0.000", "equal", "against new-model"]},
        "old": {"0": ["+0.000", "equal", "against old-model"]},
    }


def test_of_many_sets_the_first_ten_are_compared_with(tmp_path):
    for i in range(12):
        RecordFile(tmp_path / f"run{i:02d}" / "downstream.csv").add([dataclasses.replace(PROBE, value=i / 20)])
    shown = page(find([tmp_path]), pictures=0)
    first = [f"run{i:02d}" for i in range(10)]
    data = json.loads(re.search(r'id="data">(.*?)</script>', shown, re.DOTALL)[1])
    assert list(data["changes"]) == first
    choices = re.search(r'<select id="against">(.*?)</select>', shown)[1]
    assert re.findall("<option>(.*?)</option>", choices) == first


def test_training_runs_without_results_are_no_choice(tmp_path):
    """They have figures and pictures; of twelve before two sets of results, none took a place among the first ten."""
    write_results(tmp_path / "run")
    log = (tmp_path / "run" / "log.csv").read_text()
    shutil.rmtree(tmp_path / "run")
    for i in range(12):
        (tmp_path / f"a{i:02d}").mkdir()
        (tmp_path / f"a{i:02d}" / "log.csv").write_text(log)
    for name, value in (("old", 0.5), ("new", 0.6)):
        RecordFile(tmp_path / name / "downstream.csv").add([dataclasses.replace(PROBE, value=value)])
    shown = page(find([tmp_path]), pictures=0)
    for menu in ("set", "against"):
        choices = re.search(rf'<select id="{menu}">(.*?)</select>', shown)[1]
        assert re.findall("<option>(.*?)</option>", choices) == ["new", "old"]
    data = json.loads(re.search(r'id="data">(.*?)</script>', shown, re.DOTALL)[1])
    assert data["changes"].keys() == {"new", "old"}
    assert "a00: loss" in shown


def test_a_training_run_alone_makes_a_page(tmp_path):
    folder = write_results(tmp_path / "run")
    for file in folder.glob("*.csv"):
        if file.name != "log.csv":
            file.unlink()
    assert command([str(folder), "--html", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").read_text().count("<svg") == 2


def test_labels_are_spread_in_their_order():
    wanted = np.array([0.5, 0.1, 0.52, 0.51])
    places = spread_out(wanted, 0.1)
    assert (np.argsort(places) == np.argsort(wanted)).all()
    assert np.diff(np.sort(places)).min() >= 0.1 - 1e-9
    assert places[1] == pytest.approx(0.1)
    assert places[[0, 2, 3]].mean() == pytest.approx(wanted[[0, 2, 3]].mean())


def test_colours_of_figures_are_left_to_the_page():
    none = [float("nan")] * 2
    curve = Curve("a $x$ & b", 3, [1.0, 2.0], [0.5, 0.6], none, none)
    text = svg(lambda axes: draw_curves(axes, [curve], across="x", up="y"), salt="s")
    assert "var(--c3)" in text
    assert "a $x$ &amp; b" in text
    assert not re.search("#0102", text)
    assert colour(-1) != colour(0)


def test_labels_of_a_probe_make_a_curve_with_controls(tmp_path):
    rows = [dataclasses.replace(row, n_train=n, value=0.5) for row in (PROBE, CONTROL) for n in (100, 500)]
    RecordFile(tmp_path / "downstream.csv").add(rows)
    found = boards(find([tmp_path]))
    (figure,) = curves.sweeps(found, Palette(row.model for row in found[0].rows))
    assert "labelled images that the probe was given" in figure.svg
    assert ">pca<" in figure.svg


def test_a_page_with_published_numbers_shows_them(tmp_path):
    row = dataclasses.replace(PROBE, protocol="paper", dataset="lfw", metric="Pearson_r", n=3000, value=0.6)
    RecordFile(tmp_path / "downstream.csv").add([row])
    assert any("DBAE stochastic, trained on CelebA" in part for part in Parsed(page(find([tmp_path]))).text)


def test_there_are_as_many_colours_as_the_page_has():
    style = (Path(benchmarks.report.page.__file__).parent / "page.css").read_text()
    assert all(style.count(f"--c{i}: #") == 2 for i in range(COLOURS))  # light and dark
    assert f"--c{COLOURS}" not in style


def test_methods_share_a_colour_where_there_are_more_models_than_colours():
    models = [Model(f"m{i}", "AB"[i % 2], "", "", 8, "trained", "") for i in range(COLOURS + 1)]
    few, many = Palette(models[:3]), Palette(models)
    assert len({few.of(model) for model in models[:3]}) == 3
    assert {many.of(model) for model in models} == {0, 1}
    assert many.of(models[0]._replace(weights="control")) == -1
    assert many.chip(models[0]._replace(weights="control")) == ""
    others = Palette(model._replace(method=model.model) for model in models)
    assert [others.chip(m._replace(method=m.model)) for m in (models[0], models[-1])] == ["c0", "c0"]  # markers differ


def test_two_trainings_of_one_name_are_no_curve(tmp_path, caplog):
    rows = [
        dataclasses.replace(PROBE, train_data=f"faces ({images} images seen)", checkpoint_sha256=digest, value=value)
        for images, digest, value in (
            (100, "1", 0.4),
            (200, "2", 0.5),
            (300, "3", 0.6),
            (300, "4", 0.3),
            (400, "5", 0.7),
        )
    ]
    RecordFile(tmp_path / "downstream.csv").add(rows[:3])
    palette = Palette([Model.of(PROBE)])
    assert len(list(curves.learning(boards(find([tmp_path])), palette))) == 1
    RecordFile(tmp_path / "downstream.csv").add(rows[3:])
    assert list(curves.learning(boards(find([tmp_path])), palette)) == []
    assert "mine: two trainings have this name" in caplog.text


def test_attributes_are_of_the_rows_that_were_asked_for(tmp_path):
    """A model has the same attributes under several protocols, data sets and metrics."""
    folder = write_results(tmp_path / "first")
    for name in ("downstream.csv", "downstream_attributes.csv"):
        file = RecordFile(folder / name)
        file.add([dataclasses.replace(row, protocol="paper") for row in file.read()])

    def drawn(*where):
        rows = boards(_filtered(find([folder]), where))
        palette = Palette(row.model for board in rows for row in board.rows)
        return [figure.protocol for figure in points.attributes(rows, palette)]

    assert sorted(drawn()) == ["paper", "standard"]
    assert drawn("protocol=paper") == ["paper"]


def test_the_numbers_of_attributes_are_those_of_the_files(tmp_path):
    folder = write_results(tmp_path / "first", name=HOSTILE)
    found = find([folder])
    rows = boards(found)
    (figure,) = points.attributes(rows, Palette(row.model for board in rows for row in board.rows))
    assert figure.names == [HOSTILE, "theirs", "pca"]  # the longest training of a model, not every snapshot
    records = RecordFile(folder / "downstream_attributes.csv").read()
    values = {(r.attribute, r.model): r.value for r in records if r.model != HOSTILE or "(2000 " in r.train_data}
    assert sorted(figure.table) == list("abcd")
    for attribute, entries in figure.table.items():
        for name, entry in entries.items():
            assert entry.value == values[attribute, name]
            assert entry.text == f"{entry.value:.3f}"
            low, high = map(float, entry.spread.strip("[]").split(", "))
            assert low < entry.value < high
    gains = [entries[HOSTILE].value - entries["pca"].value for entries in figure.table.values()]
    assert gains == sorted(gains, reverse=True)
