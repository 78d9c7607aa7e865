"""The scripts of examples/, run on a few images."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas
import pytest
from PIL import Image

from dbae.checkpoints import own as checkpoint
from dbae.data import open_data
from dbae.support.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in a folder a class, light ones and dark ones."""
    folder, data = tmp_path_factory.mktemp("photos"), open_data("faces:?n=30&size=32")
    images = data.batch(range(30)).permute(0, 2, 3, 1).numpy()
    light = images.mean((1, 2, 3)) > np.median(images.mean((1, 2, 3)))
    for i, image in enumerate(images):
        path = folder / ("light" if light[i] else "dark") / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def test_every_example_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'example("{path.stem}")' in source for path in EXAMPLES.glob("*.py"))
    assert all(f"python examples/{path.name}" in path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py"))


def test_photographs_are_classified(photos):
    assert example("classify_photos").main(str(photos)) > 0.75


@pytest.mark.parametrize(
    ("classes", "found"), [({}, "none"), ({"cats": 6}, r"cats \(6\)"), ({"a": 5, "b": 1}, "b .1.")]
)
def test_too_few_photographs_to_classify(tmp_path, classes, found):
    for name, count in classes.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.png").touch()
    with pytest.raises(UserError, match=f"two or more folders of 5 or more images each, found .*{found}"):
        example("classify_photos").main(str(tmp_path))


def test_images_between_two_photographs(photos, tmp_path):
    files = sorted(str(path) for path in photos.glob("*/*"))
    example("between_two_photos").main(files[0], files[-1], str(tmp_path / "between.png"))
    assert Image.open(tmp_path / "between.png").size == (9 * 34 + 2, 36)


def test_training_goes_on_where_it_stopped(photos, tmp_path):
    out = str(tmp_path / "run")
    quick = ("--batch-size", "4", "--accumulate", "1", "--device", "cpu", "--preview-every", "8")
    for images in ("8", "16"):
        found = example("train_on_photos").main(str(photos), out, images, *quick)
        assert checkpoint.read(found)[0].images_seen == int(images)
    assert len(list((tmp_path / "run" / "previews").glob("*.png"))) == 2


def test_a_model_of_ones_own_is_measured(tmp_path, capsys):
    example("measure_own_model").main(str(tmp_path), "faces:?n=60&size=32")
    shown = capsys.readouterr().out
    probes, images = (pandas.read_csv(tmp_path / f"{name}.csv") for name in ("downstream", "reconstruction"))
    assert "thumbnail" in shown
    assert {"AP", "Pearson_r"} <= set(probes.metric)
    mse = images[(images.metric == "MSE") & (images.model == "thumbnail")].value
    assert 0 < mse.iloc[0] < 0.1


@pytest.mark.parametrize(
    ("name", "words", "usage"),
    [
        ("between_two_photos", ["a.jpg"], "FIRST SECOND OUT [CKPT]"),
        ("classify_photos", [], "FOLDER [CKPT]"),
        ("classify_photos", ["a", "b", "c"], "FOLDER [CKPT]"),
        ("measure_own_model", [], "OUT [DATA]"),
        ("train_on_photos", ["photos"], "FOLDER OUT [IMAGES] [OPTIONS ...]"),
    ],
)
def test_too_few_words_or_too_many_give_a_line_of_usage(name, words, usage, monkeypatch, capsys):
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"Usage: python {path} {usage}\n")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_help_says_what_it_does_and_does_nothing(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert f"python examples/{path.name} " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    path = EXAMPLES / "between_two_photos.py"
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path / "a.jpg"), "b.jpg", "out.png"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'a.jpg'}: ")
