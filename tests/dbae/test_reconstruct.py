"""python -m dbae.reconstruct: pictures of images named on the command line."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import Pixels, small_card, small_model

from dbae.checkpoints import own as checkpoint
from dbae.data.named import read_images
from dbae.data.source import open_data
from dbae.encode import posterior_rows
from dbae.gallery import Gallery
from dbae.images import save_png, to_float, to_uint8
from dbae.pretrained import load
from dbae.reconstruct import Options, main, reconstruct
from dbae.reconstruct import __doc__ as description
from dbae.samplers import SamplerConfig
from dbae.support.cli import run as run_command
from dbae.support.errors import UserError
from dbae.support.precision import autocast

N, SIZE, GAP = 10, 16, 2
FAST = ("--method", "dbim2", "--nfe", "3", "--per-grid", "4", "--batch-size", "4")


@pytest.fixture
def folder(tmp_path):
    """A checkpoint and ten images."""
    model = small_model()
    checkpoint.save(tmp_path / "a.safetensors", small_card(model), ema=model.state_dict())
    for i, image in enumerate(Pixels(N).batch(range(N))):
        save_png(image, tmp_path / "photos" / f"{i}.png")
    return tmp_path


def command(folder, *arguments, out="out", status=0):
    words = [str(folder / "photos"), "--ckpt", str(folder / "a.safetensors"), "--out", str(folder / out), *arguments]
    assert run_command(main, Options, module="dbae.reconstruct", description=description, arguments=words) == status
    return folder / out


def index(out):
    with open(out / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def tile(out, row, picture, *, pictures, per_grid=4):
    """Picture number `picture` of the image of an index row, cut from its grid."""
    sheet = np.asarray(Image.open(out / "grids" / row["grid"]))
    across = min(8, per_grid)
    block, column = divmod(int(row["place"]), across)
    y, x = (GAP + i * (SIZE + GAP) for i in (block * pictures + picture, column))
    return sheet[y : y + SIZE, x : x + SIZE]


def test_pictures_are_the_models(folder):
    out = command(folder, "--draws", "2", *FAST)
    x0 = read_images(str(folder / "photos"), size=SIZE)
    model = small_model().eval()
    expected = reconstruct(model, x0, sampler=SamplerConfig("dbim2", nfe=3), draws=2)
    assert expected.shape == (N, 5, 3, SIZE, SIZE)
    assert torch.equal(expected[:, 0], x0)
    with torch.no_grad():
        torch.testing.assert_close(expected[:, 1], model.endpoint(model.encode(x0)), rtol=0, atol=1e-5)
    rows = index(out)
    assert [row["file"] for row in rows] == [str(folder / "photos" / f"{i}.png") for i in range(N)]
    assert [row["grid"] for row in rows] == ["000000.png"] * 4 + ["000001.png"] * 4 + ["000002.png"] * 2
    pixels = to_uint8(expected.flatten(0, 1)).unflatten(0, (N, 5)).numpy()
    for i, row in enumerate(rows):
        per_grid = 4 if i < 8 else 2
        for j in range(5):
            found = tile(out, row, j, pictures=5, per_grid=per_grid).astype(int)
            assert np.abs(found - pixels[i, j].transpose(1, 2, 0)).max() <= 1  # rounding, by batches
        mse = np.square((pixels[i, 2].astype(float) - pixels[i, 0]) / 255).mean()
        assert float(row["mse"]) == pytest.approx(mse, rel=1e-2)


def test_draws_differ_and_agree_with_encode():
    model, x0 = small_model().eval(), to_float(Pixels(N).batch(range(3)))
    sampler = SamplerConfig("dbim2", nfe=3)
    pictures = reconstruct(model, x0, sampler=sampler, draws=2, seed=5)
    x, first, second = pictures[:, 2:].unbind(1)
    for one, other in ((x, first), (x, second), (first, second)):
        assert (one - other).abs().amax((1, 2, 3)).min() > 1e-3
    again = reconstruct(model, x0[1:], sampler=sampler, draws=1, seed=5, indices=np.array([1, 2]))
    torch.testing.assert_close(again, pictures[1:, :4], rtol=0, atol=1e-5)
    # With a sampler that adds nothing, a draw is the decoded draw of `dbae.encode`.
    sampler = SamplerConfig("ddbm_euler", nfe=3)
    z = torch.from_numpy(posterior_rows(model, x0, np.arange(3), draws=2, seed=5)["draws"][:, 1])
    draw = reconstruct(model, x0, sampler=sampler, draws=2, seed=5)[:, 4]
    torch.testing.assert_close(draw, model.decode(z, sampler=sampler).images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [("--batch-size", "3"), ("--batch-size", "9"), ("--workers", "2")])
def test_batches_and_workers_change_no_picture(folder, options):
    expected = files(command(folder, *FAST, out="a"))
    found = files(command(folder, *FAST, *options, out="b"))
    assert found.keys() == expected.keys()
    for name in expected:
        if name.endswith(".png"):
            one, other = (np.asarray(Image.open(folder / out / name)).astype(int) for out in "ab")
            assert np.abs(one - other).max() <= 1


def test_interrupted_run_continues(folder, monkeypatch):
    expected = files(command(folder, *FAST, "--individual", out="whole"))
    write, written = Gallery.write, []

    def stop_at_the_third(gallery, grid, *rest, **options):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(grid)
        write(gallery, grid, *rest, **options)

    monkeypatch.setattr(Gallery, "write", stop_at_the_third)
    out = command(folder, *FAST, "--individual", status=130)
    assert len(index(out)) == 8
    with open(out / "index.csv", "a") as file:
        file.write("8,photos/8.p")  # as a kill leaves it
    (out / "grids" / "000000.png").unlink()
    monkeypatch.undo()
    remade = []
    monkeypatch.setattr(Gallery, "write", lambda g, grid, *a, **k: (remade.append(grid), write(g, grid, *a, **k)))
    command(folder, *FAST, "--individual")
    assert remade == [0, 2]
    found = files(out)
    rows = [found.pop("index.csv").splitlines(), expected.pop("index.csv").splitlines()]
    assert sorted(rows[0]) == sorted(rows[1])
    assert found == expected


def test_finished_run_is_not_repeated(folder, monkeypatch):
    out = command(folder, *FAST)
    before = files(out)
    monkeypatch.setattr("dbae.reconstruct.reconstruct", None)
    command(folder, *FAST)
    assert files(out) == before


def test_folder_of_another_run_is_refused(folder, capfd):
    out = command(folder, *FAST)
    before = files(out)
    command(folder, *FAST, "--seed", "1", status=2)
    assert "holds pictures of another run (seed was 0, is 1). Name another --out." in capfd.readouterr().err
    (out / "run.json").unlink()
    command(folder, *FAST, status=2)
    assert "expected an empty or new folder" in capfd.readouterr().err
    assert before.items() >= files(out).items()


def test_an_image_that_was_replaced_is_noticed(folder, capfd):
    out = command(folder, *FAST)
    save_png(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), folder / "photos" / "3.png")
    command(folder, *FAST, status=2)
    assert "holds pictures of another run (images_sha256 was" in capfd.readouterr().err
    assert len(index(out)) == N


def test_a_failed_run_claims_nothing(folder):
    (folder / "photos" / "3.png").write_bytes(b"broken")
    command(folder, *FAST, status=2)
    (folder / "photos" / "3.png").unlink()
    out = command(folder, *FAST, "--seed", "1")
    assert len(index(out)) == N - 1
    assert json.loads((out / "run.json").read_text())["seed"] == 1


def test_a_folder_in_which_another_run_is_at_work_is_refused(folder, capfd):
    (folder / "out").mkdir()
    with open(folder / "out" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command(folder, *FAST, status=2)
    assert "another run is at work in this folder" in capfd.readouterr().err


def test_individual_pictures(folder):
    out = command(folder, "--draws", "1", "--individual", *FAST)
    names = sorted(os.listdir(out / "images"))
    assert len(names) == 4 * N
    assert names[:4] == [f"000000-0-{kind}.png" for kind in ("draw1", "reconstruction", "x0", "xT")]
    row = index(out)[9]
    for j, kind in enumerate(("x0", "xT", "reconstruction", "draw1")):
        picture = np.asarray(Image.open(out / "images" / f"000009-9-{kind}.png"))
        np.testing.assert_array_equal(picture, tile(out, row, j, pictures=4, per_grid=2))


def test_broken_images_stop_the_run_or_stay_white(folder, capfd, caplog):
    for i in (5, 8, 9):
        (folder / "photos" / f"{i}.png").write_bytes(b"broken")
    out = command(folder, *FAST, status=2)
    assert "5.png: expected an image" in capfd.readouterr().err
    assert len(index(out)) == 4  # the grid before it is finished
    command(folder, *FAST, "--skip-broken")
    rows = index(out)
    assert [i for i, row in enumerate(rows) if row["error"]] == [5, 8, 9]
    assert "5.png: expected an image" in rows[5]["error"]
    assert rows[5]["mse"] == ""
    assert "3 of 10 images could not be read" in caplog.text
    for j in range(3):
        assert (tile(out, rows[5], j, pictures=3) == 255).all()
        assert (tile(out, rows[6], j, pictures=3) < 255).any()


def test_draws_without_chance_are_refused(folder, capfd):
    model = small_model(stochastic=False)
    checkpoint.save(folder / "a.safetensors", small_card(model), ema=model.state_dict())
    for method in (["ddbm_euler"], ["dbim2", "--no-boot-noise"]):
        command(folder, "--draws", "1", "--nfe", "3", "--method", *method, status=2)
        assert "a deterministic encoder and sampler, whose draws are all the same" in capfd.readouterr().err
    out = command(folder, "--draws", "1", *FAST)
    rows = index(out)
    assert (tile(out, rows[0], 2, pictures=4) != tile(out, rows[0], 3, pictures=4)).any()


def test_half_precision_is_of_the_networks_alone():
    """The state of the sampler stays float32: steps of a fine grid are smaller than what bf16 can add."""
    model = load("builtin:dbae").model
    x0 = to_float(open_data("faces:?n=4&size=32").batch(range(4)))
    sampler = SamplerConfig("ddbm_euler", nfe=50)
    exact = reconstruct(model, x0, sampler=sampler)[:, 2]
    with autocast(x0.device, "bf16"):
        rounded = reconstruct(model, x0, sampler=sampler)[:, 2]
        decoded = model.decode(model.encode(x0), sampler=sampler).images
    assert decoded.dtype == torch.float32
    for images in (rounded, decoded):
        assert (images - exact).norm() < 0.007 * exact.norm()  # 0.012 with a state in bf16


def test_method_of_other_models_is_refused(folder, capfd):
    command(folder, "--method", "ddim", status=2)
    assert "--method ddim: expected one of ddbm_euler" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["draws", "seed", "per_grid", "batch_size", "workers"])
def test_options_out_of_range(tmp_path, name):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}: expected"):
        Options(images=("a",), out=tmp_path, **{name: -1})


def test_example_of_the_help_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    example = next(line for line in description.splitlines() if "faces:" in line)
    words = shlex.split(example)[3:]
    assert run_command(main, Options, module="dbae.reconstruct", description=description, arguments=words) == 0
    assert capfd.readouterr().out == "runs/faces\n"
    rows = index(tmp_path / "runs" / "faces")
    assert len(rows) == 16
    assert max(float(row["mse"]) for row in rows) < 0.05
