"""Benchmarks from Python: any model, z alone, data sets and tables in place of names; the README's example."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from image_samples import picture, png, write_folder
from small_model import Pixels, small_model
from stand_ins import Squares, TinyModel

import benchmarks.cost
import benchmarks.disentanglement
import benchmarks.downstream
import benchmarks.generation
import benchmarks.reconstruction
import benchmarks.trajectories
import benchmarks.variation
from baselines.load import load
from benchmarks.downstream.command import DownstreamOptions
from benchmarks.reconstruction.command import ReconstructionOptions
from benchmarks.results import COLUMNS, RecordFile
from benchmarks.runner.call import options_of
from benchmarks.subjects.given import open_latents
from dbae.data import open_data
from dbae.support.errors import UserError

README = Path(benchmarks.cost.__file__).parents[2] / "README.md"


class OwnModel:
    """A user's autoencoder that is no torch module: z is the mean colour, decoded as a plain image."""

    name, image_size, latent_dim = "mine", 16, 3
    samplers, endpoints, encode_nfe = ("one_step",), ("decoded",), 0

    def posterior(self, x):
        return x.mean((2, 3)), None

    def encode(self, x, *, noise=None):
        return self.posterior(x)[0]

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        return types.SimpleNamespace(images=z[:, :, None, None].expand(-1, -1, 16, 16), nfe=1)


def test_an_object_of_ones_own_is_measured_without_touching_the_project(tmp_path):
    out = tmp_path / "r.csv"
    found = benchmarks.reconstruction.measure(OwnModel(), data=Squares(size=16), out=out, device="cpu", batch_size=8)
    assert list(found.columns) == list(COLUMNS)
    assert set(found.model) == {"mine"}
    row = found[found.metric == "MSE"].iloc[0]
    assert (row.n, row.nfe, row.dataset) == (20, 1, "squares")
    assert [r.value for r in RecordFile(out).read() if r.metric == "MSE"] == [row.value]
    again = benchmarks.reconstruction.measure(OwnModel(), data=Squares(size=16), out=out, device="cpu", batch_size=8)
    assert sorted(again.value) == sorted(found.value)
    assert set(again.seconds) == set(found.seconds)  # read back, not measured again


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        (lambda x: (x.mean((2, 3))[:, :2], None), r"latent_dim = 3 numbers .*, found \(\d+, 2\)"),
        (lambda x: x.mean((2, 3)), "expected posterior\\(x\\) to give the mean of z .*, found Tensor"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(tmp_path, posterior, message):
    model = OwnModel()
    model.posterior = posterior
    with pytest.raises(UserError, match=f"mine: .*{message}"):
        benchmarks.downstream.measure(model, data=Squares(size=16), out=tmp_path / "d.csv", device="cpu")


@pytest.mark.parametrize(
    ("decoded", "message"),
    [
        (lambda x: x, "an object with the attributes images and nfe .*, found Tensor. Return one"),
        (lambda x: types.SimpleNamespace(images=x[:, :1], nfe=1), r"shape \(8, 3, 16, 16\), found \(8, 1, 16, 16\)"),
        (lambda x: types.SimpleNamespace(images=x.numpy(), nfe=1), r"shape \(8, 3, 16, 16\), found ndarray"),
    ],
)
@pytest.mark.parametrize("family", [benchmarks.reconstruction, benchmarks.variation, benchmarks.generation])
def test_a_model_that_decodes_to_something_else_is_refused(tmp_path, family, decoded, message):
    model = OwnModel()
    model.decode = lambda z, **options: decoded(z[:, :, None, None].expand(-1, -1, 16, 16))
    options = {"draws": 8} if family is benchmarks.variation else {}
    options |= {"mode": "ae", "n": 10} if family is benchmarks.generation else {}
    with pytest.raises(UserError, match=rf"^mine: expected decode\(z\) to give .*{message}"):
        family.measure(
            model, data=Squares(size=16), out=tmp_path / "r.csv", device="cpu", batch_size=8, split="all", **options
        )


def test_several_models_and_options_of_settings_by_their_names(tmp_path):
    models = [small_model(), small_model(seed=1)]
    found = benchmarks.reconstruction.measure(
        models, data=Pixels(6), out=tmp_path / "r.csv", nfe=2, method=["dbim"], device="cpu"
    )
    assert len(set(found.checkpoint_sha256)) == 2
    assert set(found.sampler) == {"one_step", "dbim"}


def test_z_alone_is_probed_with_the_labels_of_a_data_set(tmp_path):
    squares = Squares()
    z = np.column_stack([squares.colour, squares.bright]).astype(np.float32)
    options = {"data": squares, "seeds": (0,), "protocol": "paper", "device": "cpu"}
    found = benchmarks.downstream.measure(z, out=tmp_path / "d.csv", **options)
    assert set(found.model) == {"z", "random", "prevalence"}
    assert squares.reads == 0
    assert set(found[found.metric == "AP"].attribute) == {"mean", "Red", "Bright"}
    with pytest.raises(UserError, match="one row of z for each of the 100 images"):
        benchmarks.downstream.measure(z[:50], out=tmp_path / "d.csv", **options)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_z_is_refused_by_its_file(tmp_path, save):
    labels = pandas.DataFrame({"Tall": np.arange(60) % 2})
    save(tmp_path / "whole.npz", z=np.random.default_rng(0).standard_normal((60, 3)))
    whole = (tmp_path / "whole.npz").read_bytes()
    middle = len(whole) // 2
    for broken in (whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], b"text", b""):
        (tmp_path / "z.npz").write_bytes(broken)
        with pytest.raises(UserError, match=r"z\.npz: expected an npz with z, could not read it"):
            benchmarks.downstream.measure(tmp_path / "z.npz", data=labels, out=tmp_path / "d.csv", device="cpu")


def test_z_of_a_file_and_a_table_of_labels_need_no_data_set(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((120, 3)).astype(np.float32)
    np.savez(tmp_path / "codes.npz", z=z, sigma=np.full_like(z, 0.1))
    labels = pandas.DataFrame({"Tall": z[:, 0] > 0, "Old": (z[:, 1] > 0.5).astype(int), "Age": z[:, 2] * 3})
    out = tmp_path / "d.csv"
    found = benchmarks.disentanglement.measure(
        tmp_path / "codes.npz", data=labels, out=out, protocol="standard", device="cpu"
    )
    tad = {row.model: row.value for row in found[(found.metric == "TAD") & (found.attribute == "mean")].itertuples()}
    assert set(tad) == {"codes", "random"}
    assert tad["codes"] > tad["random"]
    assert set(found[found.attribute != "mean"].attribute) == {"Tall", "Old"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"Name": ["a", "b"]}, "column Name"),
        ({"Age": [1.0, float("nan")]}, "column Age"),
        ({"Unnamed: 0": [0, 1]}, "a name in one line"),
        ({1: [0, 1], "1": [1, 0]}, "found two of '1'"),
        ({"Age": [1.5, 2.5], "split": ["train", "dev"]}, "expected train, test"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_before_anything_is_measured(tmp_path, labels, message):
    with pytest.raises(UserError, match=message):
        benchmarks.downstream.measure(np.zeros((2, 2)), data=pandas.DataFrame(labels), out=tmp_path / "d.csv")


COUNT = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (1e9 + COUNT, "column 0 of z with mean 1e.09 and standard deviation 3.42. Subtract the mean"),
        (2**62 + COUNT.astype(np.int64), "keep their differences in float32"),
        (1e-60 * COUNT, "where they are tiny divide"),
        (1e39 * COUNT, "up to 3.4e38, found 1.1e.40 in z"),
        (COUNT[:0], r"a row and a column or more, found \(0, 2\)"),
        (COUNT[:, :0], r"a row and a column or more, found \(6, 0\)"),
    ],
)
def test_z_that_float32_does_not_hold_is_refused(z, message):
    with pytest.raises(UserError, match=f"^z: expected .*{message}"):
        open_latents(z)


def test_z_is_rounded_to_float32_where_that_loses_nothing():
    z = COUNT / 3 + [0, 1000]
    for given in (z, np.where([True, False], z, 1e9 + 0.1), COUNT.astype(np.int16)):
        np.testing.assert_array_equal(open_latents(given).model.latents(np.arange(6)).array[:, 0, 0], np.float32(given))


def test_z_alone_decodes_nothing_and_unknown_options_are_named(tmp_path):
    with pytest.raises(UserError, match="found z alone"):
        benchmarks.reconstruction.measure(np.zeros((100, 2)), data=Squares(), out=tmp_path / "r.csv", device="cpu")
    with pytest.raises(UserError, match="repeats"):
        benchmarks.cost.measure(TinyModel(), out=tmp_path / "c.csv", repetitions=3)
    with pytest.raises(UserError, match=r"^object: .*found none called name, image_size.*, encode, decode\."):
        benchmarks.downstream.measure(object(), data=Squares(), out=tmp_path / "d.csv", device="cpu")
    model = TinyModel()
    model.name = "two\nlines"
    with pytest.raises(UserError, match="expected text in one line"):
        benchmarks.downstream.measure(model, data=Squares(), out=tmp_path / "d.csv", device="cpu")


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (benchmarks.trajectories, {"path": "lines"}, r"path: expected 'open' or 'closed', found 'lines'"),
        (benchmarks.downstream, {"probe": "svm"}, "probe: expected 'linear', 'mlp' or 'knn', or a list of such, found"),
        (benchmarks.downstream, {"precision": "fp64"}, "precision: expected 'fp32', 'bf16' or 'fp16', found 'fp64'"),
        (benchmarks.downstream, {"protocol": ["paper", "standrad"]}, "protocol: expected 'paper' or 'standard'"),
        (benchmarks.downstream, {"seeds": 0.5}, "seeds: expected a whole number, or a list of such, found 0.5"),
        (benchmarks.downstream, {"force": 1}, "force: expected True or False, found 1"),
        (benchmarks.disentanglement, {"generation": 3}, "generation: expected a path, or a list of such, found 3"),
        (benchmarks.reconstruction, {"nfe": True}, "nfe: expected a whole number"),
        (benchmarks.variation, {"grid": "log"}, "grid: expected 'native', 'karras' or 'uniform', or a list of such"),
        (benchmarks.generation, {"x_T": "mine"}, "x_T: expected 'own' or 'random' or a number, or a list of such"),
        (benchmarks.downstream, {"limit": "5"}, "limit: expected a whole number or None, found '5'"),
    ],
)
def test_what_a_command_line_would_refuse_is_refused(family, options, message):
    with pytest.raises(UserError, match=message):
        family.measure(TinyModel(), data=Squares(), **options)


def test_values_of_numpy_and_whole_numbers_are_those_of_the_command_line(tmp_path):
    given = {
        "seeds": np.arange(2),
        "limit": np.int64(50),
        "out": str(tmp_path / "d.csv"),
        "device": torch.device("cpu"),
    }
    chosen = options_of(DownstreamOptions, given)
    assert chosen == DownstreamOptions(seeds=(0, 1), limit=50, out=tmp_path / "d.csv", device="cpu")
    churn = options_of(ReconstructionOptions, {"churn": 1, "encode_steps": ["match", 5]}).settings
    assert (type(churn.churn), churn.encode_steps) == (float, ("match", 5))


def test_data_sets_of_one_name_are_all_measured(tmp_path):
    options = {"out": tmp_path / "r.csv", "device": "cpu", "nfe": 2}
    found = benchmarks.reconstruction.measure(
        TinyModel(size=16), data=[Squares(size=16), Squares(90, size=16)], **options
    )
    assert found.data_sha256.nunique() == 2


def test_a_table_is_no_checkpoint_and_a_data_set_has_a_name_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"z\.csv: expected a checkpoint, or z .* found a table"):
        benchmarks.downstream.measure(tmp_path / "z.csv", data=Squares())
    folder = tmp_path / "two\nlines"
    write_folder(folder, {"a.png": png(picture(0))})
    assert open_data(f"folder:{folder}").name == "two\\nlines"


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    section = README.read_text().partition("## From Python")[2].partition("\n## ")[0]
    example = next(code for code in re.findall(r"```python\n(.*?)```", section, re.S) if "measure(" in code)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"loaded": load("builtin:dbae")}
    exec(example.replace('"faces"', '"faces?n=60"'), names)
    found = names["table"]
    assert isinstance(found, pandas.DataFrame)
    assert len(found)
    assert list(tmp_path.rglob("*.csv"))
