"""python -m dbae.encode: z of images named on the command line."""

from __future__ import annotations

import shlex

import numpy as np
import pandas
import pytest
import torch
from small_model import Pixels, small_card, small_model

from dbae.checkpoints import own as checkpoint
from dbae.data.named import read_images
from dbae.encode import Options, main, posterior_rows
from dbae.encode import __doc__ as description
from dbae.images import save_png, to_float
from dbae.support.cli import run as run_command
from dbae.support.errors import UserError
from dbae.support.files import sha256

N = 10


@pytest.fixture
def folder(tmp_path):
    """A checkpoint and ten images."""
    model = small_model()
    checkpoint.save(tmp_path / "a.safetensors", small_card(model), ema=model.state_dict())
    for i, image in enumerate(Pixels(N).batch(range(N))):
        save_png(image, tmp_path / "photos" / f"{i}.png")
    return tmp_path


def encode(folder, *arguments, images="photos/*.png", ckpt="a.safetensors", status=0, force=True, out="z.npz"):
    command = [str(folder / images), "--ckpt", str(folder / ckpt), "--out", str(folder / out), *arguments]
    command += ["--force"] * force
    assert run_command(main, Options, module="dbae.encode", description=description, arguments=command) == status
    return dict(np.load(folder / out)) if status == 0 and out.endswith(".npz") else None


def test_z_is_the_posterior_mean(folder):
    found = encode(folder, "--sigma")
    x0 = read_images(str(folder / "photos"), size=16)
    mean, sigma = small_model().eval().posterior(x0)
    np.testing.assert_allclose(found["z"], mean.detach().numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["sigma"], sigma.detach().numpy(), rtol=0, atol=1e-6)
    assert found["z"].dtype == found["sigma"].dtype == np.float32
    assert found["names"].tolist() == [str(folder / "photos" / f"{i}.png") for i in range(N)]
    assert found["checkpoint_sha256"].tolist() == [sha256(folder / "a.safetensors")]
    assert found["model"].tolist() == ["small"]
    assert "draws" not in found


@pytest.mark.parametrize("options", [["--batch-size", "3"], ["--batch-size", "4", "--workers", "2"]])
def test_batches_and_workers_change_nothing(folder, options):
    expected = encode(folder, "--draws", "2")
    found = encode(folder, "--draws", "2", *options)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6)
        else:
            assert found[name].tolist() == values.tolist()


def test_draws_are_of_the_posterior_and_each_from_its_own_seed(folder):
    found = encode(folder, "--draws", "40", "--sigma")
    eps = (found["draws"] - found["z"][:, None]) / found["sigma"][:, None]
    assert eps.shape == (N, 40, 4)
    assert abs(eps.mean()) < 4 / np.sqrt(eps.size)
    assert abs(eps.std() - 1) < 4 / np.sqrt(2 * eps.size)
    assert len(np.unique(eps.reshape(-1, 4).round(3), axis=0)) == N * 40  # no two images or draws share their noise
    other = encode(folder, "--draws", "2", "--seed", "1")["draws"]
    assert np.abs(other - found["draws"][:, :2]).min(axis=(0, 2)).max() > 0
    again = encode(folder, "--draws", "2")["draws"]
    np.testing.assert_array_equal(again, found["draws"][:, :2])


def test_broken_image_stops_the_run_or_is_listed(folder, capfd, caplog):
    (folder / "photos" / "4.png").write_bytes(b"broken")
    encode(folder, status=2)
    assert not (folder / "z.npz").exists()
    assert "4.png: expected an image" in capfd.readouterr().err
    found = encode(folder, "--skip-broken", "--batch-size", "1")
    assert found["broken"].tolist() == [str(folder / "photos" / "4.png")]
    assert "expected an image" in found["reasons"][0]
    assert len(found["z"]) == len(found["names"]) == N - 1
    assert str(folder / "photos" / "4.png") not in found["names"]
    assert "1 of 10 images could not be read" in caplog.text
    whole = encode(folder, "--skip-broken", images="photos/[5-9].png")
    np.testing.assert_allclose(found["z"][4:], whole["z"], rtol=0, atol=1e-6)


def test_nothing_readable(folder, capfd):
    (folder / "photos" / "4.png").write_bytes(b"broken")
    encode(folder, "--skip-broken", images="photos/4.png", status=2)
    assert "expected images, found 1 that cannot be read and no other" in capfd.readouterr().err
    assert not (folder / "z.npz").exists()


def test_deterministic_model_has_no_sigma(folder, capfd):
    model = small_model(stochastic=False)
    checkpoint.save(folder / "d.safetensors", small_card(model), ema=model.state_dict())
    assert encode(folder, ckpt="d.safetensors")["z"].shape == (N, 4)
    for option in (["--sigma"], ["--draws", "2"]):
        encode(folder, *option, ckpt="d.safetensors", status=2)
        assert "its z is a function of the image" in capfd.readouterr().err


def test_z_that_is_not_finite_names_the_image(folder, capfd, monkeypatch):
    def overflow(model, x0, indices, **options):
        rows = posterior_rows(model, x0, indices, **options)
        rows["z"][indices == 7] = np.inf
        return rows

    monkeypatch.setattr("dbae.encode.posterior_rows", overflow)
    encode(folder, status=2)
    err = capfd.readouterr().err
    assert "7.png: its z is not finite in fp32. The checkpoint itself has diverged" in err
    assert "--precision" not in err


@pytest.mark.parametrize("out", ["z.csv", "z.parquet"])
def test_a_table_has_the_numbers_of_the_arrays(folder, out, caplog):
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (folder / "photos" / "4.png").write_bytes(b"broken")
    options = ("--skip-broken", "--sigma", "--draws", "2", "--batch-size", "3")
    arrays = encode(folder, *options)
    encode(folder, *options, out=out)
    table = (pandas.read_csv if out.endswith("csv") else pandas.read_parquet)(folder / out)
    assert table["file"].tolist() == arrays["names"].tolist()
    assert len(table) == N - 1
    assert "1 of 10 images could not be read; they have no row" in caplog.text
    z, sigma, draw2 = (table.filter(regex=f"^{name}").to_numpy(np.float32) for name in ("z", "sigma", "draw2_"))
    np.testing.assert_array_equal(z, arrays["z"])
    np.testing.assert_array_equal(sigma, arrays["sigma"])
    np.testing.assert_array_equal(draw2, arrays["draws"][:, 1])
    assert set(table["checkpoint_sha256"]) == {sha256(folder / "a.safetensors")}
    assert set(table["model"]) == {"small"}
    assert table.shape[1] == 1 + 4 + 4 + 2 * 4 + 2


def test_tables_with_many_rows_in_groups(folder, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("dbae.latent_files._ROW_GROUP", 4)
    encode(folder, "--batch-size", "3", out="z.parquet")
    assert len(pandas.read_parquet(folder / "z.parquet")) == N


def test_a_name_that_is_no_utf8_is_escaped_in_a_table(folder):
    (folder / "photos" / "5.png").rename(folder / "photos" / "9a\udcff.png")
    encode(folder, out="z.csv")
    assert pandas.read_csv(folder / "z.csv")["file"].iloc[-1].endswith("9a\\udcff.png")


def test_a_table_of_nothing_is_not_written(folder, capfd):
    (folder / "photos" / "4.png").write_bytes(b"broken")
    for out in ("z.csv", "z.parquet"):
        encode(folder, "--skip-broken", images="photos/4.png", status=2, out=out)
        assert "expected images, found 1 that cannot be read and no other" in capfd.readouterr().err
        assert not (folder / out).exists()


def test_parquet_without_its_package_says_how_to_get_it(folder, capfd, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    encode(folder, status=2, out="z.parquet")
    assert "pip install 'dbae-bench[parquet]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [({"draws": -1}, "--draws: expected 0"), ({"batch_size": 0}, "--batch-size"), ({"out": "z.npy"}, r"\.npz")],
)
def test_options_out_of_range(tmp_path, option, message):
    fields = {"images": ("a",), "out": "z.npz"} | option
    with pytest.raises(UserError, match=message):
        Options(**fields | {"out": tmp_path / fields["out"]})


def test_rows_are_those_of_the_model():
    model, x0 = small_model().eval(), to_float(Pixels().batch(range(3)))
    rows = posterior_rows(model, x0, np.arange(3), draws=2)
    assert {name: value.shape for name, value in rows.items()} == {"z": (3, 4), "sigma": (3, 4), "draws": (3, 2, 4)}
    with torch.no_grad():
        np.testing.assert_array_equal(rows["z"], model.encode(x0).numpy())


def test_a_file_that_is_there_is_not_replaced_silently(folder, capfd):
    encode(folder)
    before = (folder / "z.npz").read_bytes()
    encode(folder, "--sigma", force=False, status=2)
    assert "z.npz: is there already. Add --force to replace it" in capfd.readouterr().err
    assert (folder / "z.npz").read_bytes() == before
    assert "sigma" in encode(folder, "--sigma")


def test_a_file_that_another_process_wrote_meanwhile_is_kept(folder, monkeypatch, capfd):
    def meanwhile(*given, **named):
        (folder / "z.npz").write_text("theirs")
        return posterior_rows(*given, **named)

    monkeypatch.setattr("dbae.encode.posterior_rows", meanwhile)
    encode(folder, force=False, status=2)
    assert "z.npz: is there already" in capfd.readouterr().err
    assert (folder / "z.npz").read_text() == "theirs"


def test_a_folder_is_no_file_to_write(folder, capfd):
    (folder / "z.npz").mkdir()
    encode(folder, status=2)
    assert "z.npz: expected a file, found a folder" in capfd.readouterr().err


def test_what_the_model_has_seen_is_said(folder, caplog):
    caplog.set_level("INFO")
    encode(folder)
    assert "was trained on images that its file does not name: z says of other images in what" in caplog.text


def test_example_of_the_help_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    example = next(line for line in description.splitlines() if "faces:" in line)
    words = shlex.split(example)[3:]
    assert run_command(main, Options, module="dbae.encode", description=description, arguments=words) == 0
    assert capfd.readouterr().out == "runs/z.npz\n"
    assert np.load(tmp_path / "runs" / "z.npz")["z"].shape == (100, 16)
