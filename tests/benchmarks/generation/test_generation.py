"""The generation benchmark on a small DBAE, random pixels and a small stand-in for Inception."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from generation_stand_ins import Extractor, StandardPrior, loaded_small, measure, options_of, values
from image_samples import picture
from small_model import Pixels

from benchmarks.generation import command as generation
from benchmarks.generation.command import GenerationOptions
from benchmarks.generation.distribution import Reference, features_of
from benchmarks.generation.generated import PART
from benchmarks.generation.report import format_generation
from benchmarks.generation.samplefiles import NpzImages, open_samples
from benchmarks.results import RecordFile
from benchmarks.results.file import beside
from benchmarks.results.noise import read_noise
from dbae.images import to_float, to_uint8
from dbae.noise import PerImageNoise
from dbae.sample_folder import SampleFolder
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError


@pytest.fixture
def extractors(monkeypatch):
    found = [Extractor()]
    monkeypatch.setattr(generation, "load_extractors", lambda kinds, weights, **_: found)
    return found


@pytest.fixture
def loaded(monkeypatch, tmp_path, extractors):
    monkeypatch.setattr(generation, "load_prior", lambda source, of: StandardPrior())
    return loaded_small()


@pytest.fixture
def options(tmp_path):
    return GenerationOptions(
        ckpt=("small",), data=("pixels",), out=tmp_path / "generation.csv", nfe=(2,), n=12, batch_size=5
    )


def test_unconditional_rows_are_those_of_images_made_by_hand(loaded, options, extractors):
    rows = measure(dataclasses.replace(options, mode=("prior",)), loaded)
    z = PerImageNoise(0, range(12), stream="prior").normal((12, 4))
    with torch.no_grad():
        decoded = loaded.model.decode(z, sampler=SamplerConfig("ddbm_euler", nfe=2))
    pixels = Pixels(40)
    order = generation.Images.of(pixels, "all", 12, 0).order
    assert sorted(order) == list(range(40))
    reference = Reference(extractors[0], extractors[0](pixels.batch(order[:12])))
    expected = {m.metric: m.value for m in reference.measure(extractors[0](to_uint8(decoded.images)))}
    found = [r for r in rows if r.model == "small"]
    assert {r.metric: r.value for r in found} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert set(expected) == {
        "FD-quarters",
        "KD-quarters",
        "Precision-quarters",
        "Recall-quarters",
        "Density-quarters",
        "Coverage-quarters",
    }
    row = found[0]
    assert (row.n, row.nfe, row.encode_nfe, row.x_T, row.sampler) == (12, 2, 3, "decoded", "ddbm_euler")
    assert row.z.startswith("prior ")
    assert row.versions.endswith("; quarters abababababab")


def test_autoencoded_rows_start_from_other_real_images(loaded, options, extractors):
    rows = measure(dataclasses.replace(options, mode=("ae",), protocol=("standard",)), loaded)
    pixels = Pixels(40)
    images = generation.Images.of(pixels, "all", 12, 0)
    assert not set(images.real) & set(images.others)
    with torch.no_grad():
        z = loaded.model.encode(to_float(pixels.batch(images.others)))
        decoded = loaded.model.decode(z, sampler=SamplerConfig("ddbm_euler", nfe=2))
    reference = Reference(extractors[0], extractors[0](pixels.batch(images.real)))
    expected = {m.metric: m.value for m in reference.measure(extractors[0](to_uint8(decoded.images)))}
    found = {r.metric: r.value for r in rows if r.model == "small"}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_modes_protocols_and_endpoints_have_rows_of_their_own(loaded, options):
    rows = measure(dataclasses.replace(options, protocol=("paper", "standard"), x_T=("own", "random")), loaded)
    fd = {key[:4]: value for key, value in values(rows).items() if key[-1] == "FD-quarters"}
    assert len(fd) == 2 * 2 * 2 + 2  # and real ones under each protocol
    encoded = {(key[2], key[3]): value for key, value in fd.items() if key[2] in ("sampled", "mean")}
    assert len(encoded) == 4
    assert encoded["sampled", "decoded"] != encoded["mean", "decoded"] != encoded["mean", "random"]
    priors = {key: value for key, value in fd.items() if key[2].startswith("prior")}
    assert len(set(priors.values())) == 2  # protocols differ in how images are encoded, and nothing is here
    assert {key[3] for key in fd} == {"decoded", "random", ""}


def test_blended_endpoints_run_from_random_to_decoded(loaded, options, caplog):
    options = dataclasses.replace(options, mode=("prior",), x_T=("own", 1.0, 0.5, 0.0))
    fd = {r.x_T: r.value for r in measure(options, loaded) if r.metric == "FD-quarters" and r.model == "small"}
    assert list(fd) == ["decoded", "blend 1", "blend 0.5", "blend 0"]
    assert fd["decoded"] == fd["blend 1"]
    assert len(set(fd.values())) == 3
    with pytest.raises(UserError, match="from 0 to 1"):
        dataclasses.replace(options, x_T=(1.5,))


def test_values_do_not_depend_on_the_batch_size(loaded, options, tmp_path, monkeypatch):
    many = values(measure(options, loaded))
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "another"))
    one = values(measure(dataclasses.replace(options, batch_size=1, out=tmp_path / "one.csv"), loaded))
    assert one == pytest.approx(many, rel=1e-4, abs=1e-6)


def test_what_is_done_is_read_back(loaded, options, extractors, monkeypatch):
    first = measure(options, loaded)
    before, seen = options.out.read_bytes(), extractors[0].seen
    monkeypatch.setattr(loaded.model, "decode", lambda *_, **__: pytest.fail("sampled again"))
    assert values(measure(options, loaded)) == values(first)
    assert options.out.read_bytes() == before
    assert extractors[0].seen == seen


def test_another_metric_and_more_images_do_not_sample_again(loaded, options, extractors, monkeypatch):
    monkeypatch.setattr("benchmarks.generation.generated.PART", 8)
    options = dataclasses.replace(options, mode=("prior",))
    measure(options, loaded)
    extractors[0] = Extractor("other")
    calls = []
    decode = loaded.model.decode
    monkeypatch.setattr(loaded.model, "decode", lambda z, **k: calls.append(len(z)) or decode(z, **k))
    assert "FD-other" in {r.metric for r in measure(options, loaded)}
    assert calls == []
    measure(dataclasses.replace(options, n=20), loaded)
    assert sum(calls) == 12  # all but the first part of 8


def test_a_killed_run_continues_with_the_part_it_was_at(loaded, options, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.generation.generated.PART", 4)
    options = dataclasses.replace(options, mode=("prior",), batch_size=4)
    decode, calls = loaded.model.decode, []

    def fails_at_the_third(z, **keywords):
        calls.append(len(z))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(z, **keywords)

    monkeypatch.setattr(loaded.model, "decode", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        measure(options, loaded)
    continued = values(measure(options, loaded))
    assert len(calls) == 4  # the first two parts are there
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "another"))
    whole = measure(dataclasses.replace(options, out=tmp_path / "whole.csv"), loaded)
    assert values(whole) == continued


def test_samples_of_another_program_have_the_rows_of_the_same_images(loaded, options, tmp_path):
    options = dataclasses.replace(options, mode=("prior",), save_npz=True)
    own = measure(options, loaded)
    (path,) = beside(options.out, "_samples").glob("*.npz")
    with np.load(path) as file:  # as guided-diffusion's evaluator reads it
        array = file["arr_0"]
    assert (array.shape, array.dtype) == ((12, 16, 16, 3), np.uint8)
    theirs = measure(dataclasses.replace(options, ckpt=(), samples=(str(path),)), loaded)
    rows = {r.metric: r.value for r in theirs if r.model == path.stem}
    assert rows == {r.metric: r.value for r in own if r.model == "small"}
    assert not [r for r in theirs if r.method == "DBAE"]


@pytest.mark.parametrize("query", ["", "?size=16"])
def test_of_a_folder_of_samples_its_sheets_are_no_samples(tmp_path, query):
    folder = SampleFolder(tmp_path / "mine", {})
    folder.write(np.arange(8), torch.from_numpy(np.stack([picture(i) for i in range(8)])).permute(0, 3, 1, 2))
    folder.write_grids(8)
    found = open_samples(f"{folder.path}{query}")
    assert (found.name, len(found), found.size) == ("mine", 8, 16)


def test_a_sheet_shows_the_images(loaded, options):
    measure(dataclasses.replace(options, mode=("prior", "ae")), loaded)
    sheets = list(beside(options.out, "_samples").glob("*.png"))
    assert len(sheets) == 2
    assert all(sheet.read_bytes()[:4] == b"\x89PNG" for sheet in sheets)


def test_names_of_inception_are_those_of_the_tables(loaded, options, extractors, monkeypatch):
    extractors[:] = [Extractor(f"inception-{v}") for v in ("clean", "legacy_pytorch", "tf1")]
    rows = measure(dataclasses.replace(options, mode=("prior",)), loaded)
    names = {r.metric for r in rows}
    assert names == {"FID", "KID", "FID_legacy_pytorch", "Precision", "Recall", "Density", "Coverage", "IS"}
    features = torch.from_numpy(np.random.default_rng(0).random((1000, 12))).float()
    reference = Reference(extractors[0], features)
    assert [(m.metric, m.n) for m in reference.measure(features)] == reference.metrics(1000)
    assert [name for name, _ in reference.metrics(1000)] == ["FID_1k", "KID"]
    few = Reference(extractors[2], features, limit=100)
    assert {(m.metric, m.n) for m in few.measure(features)} == set(few.metrics(1000))
    assert {n for _, n in few.metrics(1000)} == {100}


def test_control_rows_are_of_other_real_images(loaded, options):
    rows = [r for r in measure(options, loaded) if r.weights == "control"]
    assert {(r.model, r.n, r.sampler, r.z, r.checkpoint_sha256) for r in rows} == {("real", 12, "", "", "")}
    rows = measure(dataclasses.replace(options, n=38), loaded)
    assert not [r for r in rows if r.weights == "control"]


def test_mode_collapse_lowers_recall(loaded, options):
    """A prior that always draws the same z."""
    wide = measure(dataclasses.replace(options, mode=("ae",), n=20), loaded)

    class Collapsed(StandardPrior):
        def sample(self, noise, n):
            return types.SimpleNamespace(z=0.01 * noise.normal((n, 4)), nfe=0)

    loaded = dataclasses.replace(loaded, prior=Collapsed())
    narrow = measure(dataclasses.replace(options, mode=("prior",), n=20), loaded)
    coverage = [{r.model: r.value for r in rows if r.metric == "Coverage-quarters"} for rows in (wide, narrow)]
    assert coverage[1]["small"] < 0.5 < coverage[1]["real"]
    assert coverage[1]["small"] <= coverage[0]["small"]


def test_features_are_kept(extractors, tmp_path):
    pixels = Pixels(10)
    first = features_of(extractors[0], pixels, np.arange(10))
    assert torch.equal(features_of(extractors[0], pixels, np.arange(10)), first)
    assert extractors[0].seen == 10
    other = Extractor()
    other.fingerprint = "cd" * 32
    features_of(other, pixels, np.arange(10))
    assert other.seen == 10
    torch.testing.assert_close(first, extractors[0](pixels.batch(range(10))))


def test_table(loaded, options):
    table = format_generation(measure(options, loaded)).splitlines()
    assert max(map(len, table)) <= 120
    blocks = "\n".join(table[1:]).split("\n\n")
    assert [len(block.splitlines()) for block in blocks] == [1 + 3] * len(blocks)
    assert table[0].startswith("data: ")
    assert table[1].split()[0] == "model"
    assert not {"data", "protocol"} & set(table[1].split())


def test_a_model_lacks_a_sampler(loaded, options, caplog):
    rows = measure(dataclasses.replace(options, method=("ddim", "dbim"), nfe=(3,)), loaded)
    assert {r.sampler for r in rows if r.model == "small"} == {"dbim"}
    rows = measure(dataclasses.replace(options, method=("ddim",)), loaded)
    assert {r.model for r in rows} == {"real"}
    assert "small: has none of ddim" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nfe": (0,)}, "budget"),
        ({"n": 3}, "6 or more"),
        ({"limit": 2}, "6 or more"),
        ({"prior_nfe": 10}, "no diffusion model"),
        ({"split": "test"}, "no split"),
        ({"samples": ("none.npz",)}, "no such file"),
    ],
)
def test_impossible_options_are_refused(loaded, options, change, message):
    with pytest.raises(UserError, match=message):
        measure(dataclasses.replace(options, **change), loaded)


def test_without_a_prior_only_autoencoded_rows_are_possible(loaded, options):
    loaded = dataclasses.replace(loaded, prior=None)
    assert {r.z for r in measure(options, loaded) if r.model == "small"} == {"sampled"}
    with pytest.raises(UserError, match="--prior FILE"):
        measure(dataclasses.replace(options, mode=("prior",)), loaded)
    rows = measure(dataclasses.replace(options, mode=("prior",), prior="prior.safetensors"), loaded)
    assert {r.z.split()[0] for r in rows if r.model == "small"} == {"prior"}


def test_results_of_another_extractor_version_are_not_taken_for_ours(loaded, options, extractors):
    measure(options, loaded)
    extractors[0] = Extractor()
    extractors[0].fingerprint = "ef" * 32
    rows = measure(options, loaded)
    assert all(r.versions.endswith("efefefefefef") for r in rows)
    assert len(RecordFile(options.out).read()) == len(rows)  # replaced, for they have the same name


def test_a_part_holds_many_images():
    assert PART >= 64


def test_two_processes_have_the_rows_of_one(loaded, tmp_path, monkeypatch):
    folder = tmp_path / "two"
    folder.mkdir()
    program = Path(__file__).parents[2] / "helpers" / "generation_stand_ins.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program, folder]
    environment = os.environ | {"PYTHONPATH": str(Path(generation.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("benchmarks.generation.generated.PART", 4)
    one = measure(options_of(tmp_path), loaded)
    two = RecordFile(folder / "generation.csv").read()
    assert values(two) == values(one)
    assert len(two) == 3 * 6


class TestNpz:
    def test_stored_and_compressed_files_hold_the_same(self, tmp_path):
        pixels = Pixels(7).pixels
        np.savez(tmp_path / "a.npz", pixels)
        np.savez_compressed(tmp_path / "b.npz", arr_0=pixels)
        np.savez(tmp_path / "c.npz", mu=np.zeros(3), arr_0=np.asfortranarray(pixels))
        for name in "abc":
            images = NpzImages(tmp_path / f"{name}.npz")
            assert (len(images), images.size, images.name) == (7, 16, name)
            np.testing.assert_array_equal(images.batch(range(7)).permute(0, 2, 3, 1), pixels)
        assert isinstance(NpzImages(tmp_path / "a.npz").pixels, np.memmap)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"samples": np.zeros((2, 8, 8, 3), np.uint8)}, "expected an array called arr_0"),
            ({"arr_0": np.zeros((2, 8, 8, 3), np.float32)}, "uint8"),
            ({"arr_0": np.zeros((2, 3, 8, 8), np.uint8)}, "channels last"),
            ({"arr_0": np.zeros((2, 8, 9, 3), np.uint8)}, "square"),
            ({"arr_0": np.zeros((0, 8, 8, 3), np.uint8)}, "one or more"),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path, arrays, message):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(UserError, match=message):
            NpzImages(tmp_path / "x.npz")

    def test_other_files_are_refused(self, tmp_path):
        (tmp_path / "x.npz").write_text("nothing")
        with pytest.raises(UserError, match=r"x\.npz: expected an npz"):
            NpzImages(tmp_path / "x.npz")

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_changed_bytes_are_noticed_wherever_they_are(self, tmp_path, save):
        save(tmp_path / "whole.npz", arr_0=Pixels(7).pixels)
        whole = (tmp_path / "whole.npz").read_bytes()
        path = tmp_path / "x.npz"
        for share in (0.3, 0.5, 0.9):  # of the array's own bytes
            at = int(share * len(whole))
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(UserError, match=r"x\.npz: expected an npz, could not read it"):
                NpzImages(path)


def test_every_number_has_its_noise_beside_the_file(loaded, options):
    """12 images of 12 features: halves are too small for neighbours, and no Frechet distance has any."""
    rows = measure(dataclasses.replace(options, mode=("prior",), n=13), loaded)
    found = {r.metric: (r, read_noise(options.out, r)) for r in rows if r.model == "small"}
    for metric, (row, noise) in found.items():
        assert noise is not None, metric
        assert row.stderr == pytest.approx(noise.error, rel=1e-5)
        assert row.stderr > 0
    assert len(found["FD-quarters"][1].parts) == 2
    assert len(found["KD-quarters"][1].parts) == 3
    assert found["Recall-quarters"][1].halves.shape == (20, 2)
    few = measure(dataclasses.replace(options, mode=("prior",), n=12, out=options.out.with_name("few.csv")), loaded)
    assert {r.stderr for r in few if r.metric == "FD-quarters"} == {None}


def test_models_compared_with_the_same_real_images_are_paired(loaded, options):
    rows = measure(dataclasses.replace(options, mode=("prior",), n=13), loaded)
    noise = {r.model: read_noise(options.out, r) for r in rows if r.metric == "FD-quarters"}
    assert noise["small"].scheme == noise["real"].scheme
    assert not np.array_equal(noise["small"].parts[0], noise["real"].parts[0])
