"""Sheets of pictures: where they stand, how they are enlarged, and what a name in them can do."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.figures.sheet import Block, Sheet, require_format, save, shortened
from dbae.support.errors import UserError

SVG = "{http://www.w3.org/2000/svg}"


def noise(n, size=8):
    return list(torch.from_numpy(np.random.default_rng(n).integers(0, 256, (n, 3, size, size), np.uint8)))


def found_in(canvas, picture, scale):
    """Whether a picture stands on the canvas, every pixel enlarged to a square."""
    large = picture.permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
    corner = np.argwhere((canvas == large[0, 0]).all(-1))
    places = [canvas[y : y + len(large), x : x + len(large)] for y, x in corner]
    return any(place.shape == large.shape and (place == large).all() for place in places)


@pytest.mark.parametrize(("size", "scale", "wanted"), [(8, None, 16), (64, None, 2), (100, None, 1), (8, 3, 3)])
def test_pictures_are_enlarged_by_whole_factors(tmp_path, size, scale, wanted):
    pictures = noise(3, size)
    rows = {"first": [pictures[0], None], "second": pictures[1:]}
    save([Sheet("title", [Block(rows, ["a", "b"])])], tmp_path / "a.png", scale=scale)
    canvas = np.asarray(Image.open(tmp_path / "a.png"))
    assert all(found_in(canvas, picture, wanted) for picture in pictures)
    assert (canvas[:, -1] == 255).all()


def test_a_drawing_has_the_pictures_and_names_as_text(tmp_path):
    pictures, bad = noise(2), "<img src=x onerror=alert(1)>&.png"
    save([Sheet(f"of {bad} \udcff", [Block({bad: pictures}, ["a", "b"])], ["a note"])], tmp_path / "a.svg")
    drawing = ElementTree.parse(tmp_path / "a.svg")
    assert [e.text for e in drawing.iter(f"{SVG}text")] == [rf"of {bad} \udcff", "a", "b", bad, "a note"]
    hrefs = [e.attrib["href"].removeprefix("data:image/png;base64,") for e in drawing.iter(f"{SVG}image")]
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(href)))) for href in hrefs]
    assert [picture.shape for picture in shown] == [(128, 128, 3)] * 2
    assert all(found_in(canvas, picture, 16) for canvas, picture in zip(shown, pictures, strict=True))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", (tmp_path / "a.svg").read_text())


def test_a_film_goes_there_and_back(tmp_path):
    frames = [Sheet("title", [Block({"": [torch.full((3, 8, 8), 60 * i, dtype=torch.uint8)]})]) for i in range(4)]
    save(frames, tmp_path / "a.gif")
    film = Image.open(tmp_path / "a.gif")
    values, durations = [], []
    for i in range(film.n_frames):
        film.seek(i)
        values.append(np.asarray(film.convert("RGB"))[80, 80, 0])
        durations.append(film.info["duration"])
    np.testing.assert_allclose(values, [0, 60, 120, 180, 120, 60], atol=2)
    assert durations == [900, 90, 90, 900, 90, 90]
    assert film.info["loop"] == 0


def test_long_names_keep_their_end():
    short = shortened("a_very_long_name_of_a_photograph_0001.jpg", 100)
    assert short.startswith("…")
    assert short.endswith("0001.jpg")
    assert shortened("me.jpg", 100) == "me.jpg"


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected a name that ends in \.png, \.svg\."):
        require_format(tmp_path / "a.gif", moving=False)
    with pytest.raises(UserError, match=r"\.png, \.svg, \.gif"):
        require_format(tmp_path / "a.jpg", moving=True)
