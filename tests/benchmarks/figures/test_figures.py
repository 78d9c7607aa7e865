"""`python -m benchmarks.figures`: any model by what it can do, on a user's images."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import saved
from small_model import Pixels, small_card, small_model

from baselines.editing import lerp, slerp
from baselines.load import load
from benchmarks.figures.axes import Axes
from benchmarks.figures.command import __doc__ as description
from benchmarks.figures.command import command, main
from benchmarks.figures.interpolate import Interpolate
from benchmarks.figures.reconstruct import Reconstruct, Statistics
from benchmarks.figures.samples import Samples
from benchmarks.figures.scene import ImageOptions
from benchmarks.figures.trajectory import Trajectory
from dbae.checkpoints import own as checkpoint
from dbae.data.named import read_images
from dbae.images import save_png, to_uint8
from dbae.noise import PerImageNoise
from dbae.samplers import OwnSampler, SamplerConfig
from dbae.support.errors import UserError

FOUR = OwnSampler(nfe=4)


@pytest.fixture
def folder(tmp_path):
    """A DBAE and four images."""
    model = small_model()
    checkpoint.save(tmp_path / "dbae.safetensors", small_card(model, images_seen=1), ema=model.state_dict())
    for i, image in enumerate(Pixels(4).batch(range(4))):
        save_png(image, tmp_path / "photos" / f"{i}.png")
    return tmp_path


def given(folder, key, **options):
    """Options for a checkpoint of a method, on the images, quick."""
    path = folder / "dbae.safetensors" if key == "dbae" else saved(folder, key)
    images = {"image": (str(folder / "photos"),)}
    return {"out": folder / "a.png", "ckpt": str(path), "device": "cpu", "sampler": FOUR} | images | options


def rows_of(sheet):
    return {label: row for block in sheet.blocks for label, row in block.rows.items()}


def close(picture, expected):
    """Whether a picture shows an image in [-1, 1], up to rounding."""
    return np.abs(picture.numpy().astype(int) - to_uint8(expected[None])[0].numpy()).max() <= 1


def test_interpolation_of_a_bridge_decodes_its_endpoints(folder):
    (sheet,) = Interpolate(**given(folder, "dbae", columns=5)).sheets(load)
    assert len(sheet.blocks) == 2
    block = sheet.blocks[1]
    assert block.headings == ["2.png", "0.00", "0.25", "0.50", "0.75", "1.00", "3.png"]
    model, x = load(folder / "dbae.safetensors").model, read_images(str(folder / "photos"), size=16)[2:]
    z = lerp(*model.encode(x), [0.0, 0.25, 0.5, 0.75, 1.0])
    with torch.no_grad():
        x_T, images = model.endpoint(z), model.decode(z, sampler=SamplerConfig("ddbm_euler", nfe=4)).images
    assert block.rows["x_T"][0] is block.rows["x_T"][-1] is None
    assert all(map(close, block.rows["x_T"][1:-1], x_T.clamp(-1, 1)))
    assert all(map(close, block.rows["image"], [x[0], *images, x[1]]))
    assert "small was trained on images that its file does not name" in sheet.notes[0]


@pytest.mark.parametrize("endpoint", ["own", "random"])
def test_interpolation_of_a_diffusion_model_turns_its_noise(folder, endpoint):
    options = given(
        folder, "diffae", columns=3, endpoint=endpoint, encode_steps=4, image=(str(folder / "photos/[01].png"),)
    )
    (sheet,) = Interpolate(**options).sheets(load)
    model, x = load(options["ckpt"]).model, read_images(str(folder / "photos/[01].png"), size=8)
    z, shares = model.encode(x), [0.0, 0.5, 1.0]
    with torch.no_grad():
        random = PerImageNoise(0, [0, 1], stream="x_T").normal(x.shape)
        ends = random if endpoint == "random" else model.infer_endpoint(x, z, steps=4)[0]
        x_T = slerp(ends[0], ends[1], shares)
        images = model.decode(lerp(z[0], z[1], shares), x_T=x_T, sampler=SamplerConfig("ddim", nfe=4)).images
    assert all(map(close, rows_of(sheet)["x_T"][1:-1], x_T.clamp(-1, 1)))
    assert all(map(close, rows_of(sheet)["image"][1:-1], images))


def test_interpolation_without_an_endpoint_has_no_row_of_it(folder):
    (sheet,) = Interpolate(**given(folder, "vae")).sheets(load)
    assert rows_of(sheet).keys() == {"image"}
    assert "one evaluation" in sheet.title
    assert len(sheet.notes) == 1


def test_a_film_has_a_frame_a_share(folder):
    frames = Interpolate(**given(folder, "dbae", out=folder / "a.gif", columns=4)).sheets(load)
    assert [frame.blocks[0].headings[1] for frame in frames] == ["0.00", "0.33", "0.67", "1.00"]
    frames = Trajectory(**given(folder, "dbae", out=folder / "a.gif")).sheets(load)
    assert [list(frame.blocks[0].rows)[1] for frame in frames] == ["x_T", "1 of 4", "2 of 4", "3 of 4", "4 of 4"]


@pytest.mark.parametrize(
    ("key", "options", "states"),
    [
        ("dbae", {}, 5),
        ("diffae", {"endpoint": "inferred"}, 5),
        ("diffae", {}, 5),
        ("ddim", {}, 5),
    ],
)
def test_trajectories_begin_at_x_T_and_end_at_the_image(folder, key, options, states):
    options = given(folder, key, **options)
    (sheet,) = Trajectory(**options).sheets(load)
    (block,) = sheet.blocks
    assert block.headings == ["image", "x_T", *(f"{i} of {states - 1}" for i in range(1, states))]
    assert list(block.rows) == [f"{i}.png" for i in range(4)]
    if key == "dbae" or "endpoint" in options:  # else x_T is of another stream there, or found by another inversion
        (expected,) = Reconstruct(**options, draws=2).sheets(load)
        for i, row in enumerate(block.rows.values()):
            for place, label in ((1, "x_T"), (-1, "reconstruction")):
                assert np.abs(row[place].numpy().astype(int) - rows_of(expected)[label][i].numpy()).max() <= 1
    assert not torch.equal(block.rows["0.png"][1], block.rows["0.png"][-1])


def test_a_model_of_one_step_has_no_trajectory(folder):
    with pytest.raises(UserError, match="has no states between x_T and image to show"):
        Trajectory(**given(folder, "vae")).sheets(load)


def test_draws_of_a_model_that_starts_at_noise_differ_and_those_of_a_function_do_not(folder):
    (sheet,) = Statistics(**given(folder, "diffae", draws=3)).sheets(load)
    rows = rows_of(sheet)
    assert list(rows) == ["image", "mean", "deviation", "draw 1", "draw 2", "draw 3"]
    draws = torch.stack([rows[f"draw {j}"][0].float() for j in (1, 2, 3)])
    assert (rows["mean"][0] - draws.mean(0)).abs().max() <= 1.5
    assert rows["deviation"][0].float().mean() > 10
    assert draws.std(0).mean() > 1
    assert "x_T random" in sheet.title
    (sheet,) = Statistics(**given(folder, "ae", draws=3)).sheets(load)
    assert "from 0 (black) to 0.000 (light)" in sheet.notes[0]
    assert rows_of(sheet)["deviation"][0].max() < 10


def test_samples_are_those_of_the_command(folder):
    options = given(folder, "vae", n=9)
    del options["image"]
    (sheet,) = Samples(**options).sheets(load)
    loaded = load(options["ckpt"])
    images = loaded.model.decode(loaded.prior.sample(PerImageNoise(0, range(9), stream="prior"), 9).z).images
    assert all(map(close, [picture for row in rows_of(sheet).values() for picture in row], images))


def test_what_cannot_be_drawn_says_why(folder):
    with pytest.raises(UserError, match="expected two images, or pairs of images, found 1"):
        Interpolate(**given(folder, "dbae", image=(str(folder / "photos/0.png"),))).sheets(load)
    with pytest.raises(UserError, match="does not start at noise"):
        Interpolate(**given(folder, "dbae", endpoint="random")).sheets(load)
    with pytest.raises(UserError, match="expected up to 64 images, found 68"):
        Reconstruct(**given(folder, "dbae", image=(str(folder / "photos"),) * 17)).sheets(load)
    with pytest.raises(UserError, match="--columns: expected 2 or more, found 1"):
        Trajectory(out=folder / "a.png", columns=1)
    with pytest.raises(UserError, match="--scale: expected 1 or more"):
        ImageOptions(out=folder / "a.png", scale=0)
    with pytest.raises(UserError, match="--reach: expected finite numbers, found inf"):
        Axes(out=folder / "a.png", reach=float("inf"))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_any_name_of_a_file_is_drawn_on_one_line(folder, ending):
    names = [os.fsdecode(name) for name in (b"a\nb.png", b"c\x01\xff.png")]
    for name in names:
        shutil.copy(folder / "photos/0.png", folder / name)
    options = given(folder, "dbae", out=folder / f"a.{ending}", image=tuple(str(folder / name) for name in names))
    main(Trajectory(**options))
    (sheet,) = Interpolate(**options).sheets(load)
    assert (sheet.blocks[0].headings[0], sheet.blocks[0].headings[-1]) == (r"a\nb.png", r"c\x01\udcff.png")
    if ending == "svg":
        assert ElementTree.fromstring(options["out"].read_text()).tag.endswith("svg")


@pytest.mark.parametrize("line", [line for line in description.splitlines() if "faces:" in line])
def test_examples_of_the_help_run(tmp_path, monkeypatch, capfd, line):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[3:]
    fewer = ["--data", "faces:?n=60"] if words[0] == "manipulate" else []
    assert command([*words, *fewer, "--nfe", "4", "--device", "cpu"]) == 0
    out = Path(capfd.readouterr().out.strip())
    assert out == Path(words[words.index("--out") + 1])
    assert Image.open(out).width > 560
