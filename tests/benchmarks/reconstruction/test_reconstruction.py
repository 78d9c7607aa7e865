"""The reconstruction benchmark on a small DBAE and random pixels."""

from __future__ import annotations

import dataclasses
import json
import logging
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import Pixels, small_model

from baselines.interface import LoadedModel
from benchmarks.extractors import perceptual
from benchmarks.metrics import reconstruction as metrics
from benchmarks.reconstruction import study as reconstruction_study
from benchmarks.reconstruction.command import ReconstructionOptions, run
from benchmarks.reconstruction.report import draw_sweep, format_sweep
from benchmarks.reconstruction.study import NAMES
from benchmarks.results import RecordFile
from benchmarks.subjects.settings import SettingOptions
from dbae.images import to_float
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support import cli
from dbae.support.errors import UserError


def loaded_as(model, **cells):
    cells = {"name": "small", "method": "DBAE", "variant": "", "train_data": "", "sha256": "0" * 64} | cells
    return LoadedModel(model, weights="untrained", untrained=lambda seed: model, path=Path("small.pt"), **cells)


@pytest.fixture
def loaded():
    model = small_model()
    with torch.no_grad():
        model.score.out[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    return loaded_as(model)


@pytest.fixture
def options(tmp_path):
    return ReconstructionOptions(
        data=("pixels",), out=tmp_path / "reconstruction.csv", settings=SettingOptions(nfe=(2, 4)), limit=6,
        device="cpu",
    )  # fmt: skip


def change(options: ReconstructionOptions, **fields) -> ReconstructionOptions:
    """Options with other settings, or other fields of its own."""
    own = {f.name for f in dataclasses.fields(options)}
    settings = {name: fields.pop(name) for name in list(fields) if name not in own}
    return dataclasses.replace(options, settings=dataclasses.replace(options.settings, **settings), **fields)


def measure(options: ReconstructionOptions, loaded):
    return run(options, lambda source: loaded, lambda source, size: Pixels(10, size))


def test_rows_have_what_decoding_by_hand_gives(loaded, options):
    rows = measure(change(options, protocol=("standard",)), loaded)
    x0 = to_float(Pixels(10).batch(range(6)))
    with torch.no_grad():
        fake = loaded.model.decode(loaded.model.encode(x0), sampler=SamplerConfig("ddbm_euler", nfe=4)).images
    expected = metrics.measure(real=x0, fake=fake)
    found = {r.metric: r.value for r in rows if r.nfe_requested == 4}
    assert found == pytest.approx({name: float(getattr(expected, f).mean()) for f, name in NAMES.items()}, rel=1e-5)
    assert {(r.sampler, r.nfe, r.x_T, r.encode_nfe) for r in rows} == {
        ("one_step", 1, "decoded", 0), ("ddbm_euler", 2, "decoded", 0), ("ddbm_euler", 4, "decoded", 0),
    }  # fmt: skip


def test_scikit_image_itself_measures_an_image_of_every_setting(loaded, options, monkeypatch):
    monkeypatch.setattr("skimage.metrics.structural_similarity", lambda *images, **options: 0.5)
    with pytest.raises(UserError, match="SSIM_skimage"):
        measure(options, loaded)


def test_values_do_not_depend_on_the_batch_size(loaded, options, tmp_path):
    options = change(options, method=("dbim",))
    many = measure(options, loaded)
    one = measure(change(options, batch_size=1, out=tmp_path / "one.csv"), loaded)
    assert [r.value for r in one] == pytest.approx([r.value for r in many], rel=1e-5)


def test_noise_starts_differ_from_starts_without_and_have_rows_of_their_own(loaded, options):
    options = change(options, method=("dbim",), nfe=(4,))
    noisy = measure(options, loaded)
    quiet = measure(change(options, boot_noise=False), loaded)
    pick = [next(r for r in rows if r.sampler == "dbim" and r.metric == "MSE") for rows in (noisy, quiet)]
    assert [r.boot_noise for r in pick] == [True, False]
    assert pick[0].value != pick[1].value
    assert pick[0].identity != pick[1].identity


def test_grids_have_rows_of_their_own(loaded, options):
    rows = measure(change(options, nfe=(4,), grid=("native", "uniform")), loaded)
    euler = [r for r in rows if r.sampler == "ddbm_euler" and r.metric == "MSE"]
    assert [r.grid for r in euler] == ["native", "uniform"]
    assert euler[0].value != euler[1].value


def test_a_finished_setting_is_read_back_and_not_sampled_again(loaded, options, monkeypatch):
    first = measure(options, loaded)
    before = options.out.read_bytes()
    monkeypatch.setattr(reconstruction_study.ReconstructionStudy, "_measure", lambda *_: pytest.fail("sampled again"))
    assert measure(options, loaded) == first
    assert options.out.read_bytes() == before


def test_a_setting_is_measured_again_where_its_rows_or_its_values_are_gone(loaded, options):
    first = measure(options, loaded)
    RecordFile(options.out).path.unlink()
    assert [r.value for r in measure(options, loaded)] == [r.value for r in first]
    for file in (options.out.parent / "reconstruction_images").glob("*.npz"):
        file.unlink()
    assert [r.value for r in measure(options, loaded)] == [r.value for r in first]
    assert len(list((options.out.parent / "reconstruction_images").glob("*.npz"))) == 3


def test_values_of_every_image_lie_beside_the_results(loaded, options):
    rows = measure(options, loaded)
    files = sorted((options.out.parent / "reconstruction_images").glob("*.npz"))
    assert len(files) == 3
    means = {(int(f["nfe"]), name): f[name].mean() for f in map(np.load, files) for name in NAMES.values()}
    assert means == pytest.approx({(r.nfe, r.metric): r.value for r in rows})
    for file in map(np.load, files):
        columns = json.loads(str(file["columns"]))
        same = [r for r in rows if all(getattr(r, name) == cell for name, cell in columns.items())]
        assert {r.metric for r in same} == set(NAMES.values())
        np.testing.assert_array_equal(file["index"], np.arange(6))


def test_per_image_noise_is_that_of_the_seed_and_the_index(loaded, options):
    rows = measure(change(options, protocol=("standard",), method=("dbim",), nfe=(4,), limit=3), loaded)
    x0 = to_float(Pixels(10).batch(range(3)))
    noise = PerImageNoise(0, range(3), stream="sample")
    fake = loaded.model.decode(loaded.model.encode(x0), sampler=SamplerConfig("dbim", nfe=4), noise=noise).images
    found = next(r.value for r in rows if r.sampler == "dbim" and r.metric == "MSE")
    assert found == pytest.approx(float(metrics.measure(real=x0, fake=fake).mse.mean()), rel=1e-5)


class Inverting(torch.nn.Module):
    """Its x_T is the image (inferred, exact after 5 steps), or noise (random); z plays no part in decoding."""

    name, image_size, latent_dim = "inverting", 16, 2
    samplers, endpoints, encode_nfe = ("ddim", "ddpm"), ("random", "inferred"), 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[torch.Tensor] = []

    def posterior(self, x):
        return x.mean((2, 3))[:, :2], None

    def encode(self, x, *, noise=None):
        return self.posterior(x)[0]

    def infer_endpoint(self, x, z, *, steps):
        return x * min(1, steps / 5), steps - 1

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        self.seen.append(x_T)
        return types.SimpleNamespace(images=x_T.clamp(-1, 1), nfe=sampler.nfe)


def test_random_and_inferred_endpoints_have_rows_of_their_own(options):
    model = Inverting()
    rows = measure(change(options, encode_steps=("match", 10)), loaded_as(model))
    found = {(r.x_T, r.nfe, r.encode_nfe): r.value for r in rows if r.metric == "MSE"}
    expected = {("random", 2, 0), ("random", 4, 0), ("inferred", 2, 1), ("inferred", 4, 3)}
    assert set(found) == expected | {("inferred", 2, 9), ("inferred", 4, 9)}
    assert found["inferred", 4, 9] == 0
    assert found["inferred", 2, 1] > found["inferred", 4, 3] > 0
    assert found["random", 2, 0] == found["random", 4, 0]  # budgets share their x_T
    assert {r.sampler for r in rows} == {"ddim"}
    assert {r.end_data for r in rows} == {None}
    noise = PerImageNoise(0, range(6), stream="x_T").normal((6, 3, 16, 16))
    assert torch.equal(model.seen[0], noise)


def test_inferring_rows_are_read_back(options, monkeypatch):
    wanted = change(options, encode_steps=("match", 10), endpoint=("inferred",))
    first = measure(wanted, loaded_as(Inverting()))
    monkeypatch.setattr(reconstruction_study.ReconstructionStudy, "_measure", lambda *_: pytest.fail("sampled again"))
    assert measure(wanted, loaded_as(Inverting())) == first


class NoiseAsLatent(Inverting):
    """As DDIM: z is the x_T that three evaluations infer."""

    latent_dim, endpoints, encode_nfe = 3 * 16 * 16, ("decoded", "inferred"), 3

    def posterior(self, x):
        return self.infer_endpoint(x, None, steps=3)[0].flatten(1), None

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        x_T = z.view(-1, 3, 16, 16) if x_T is None else x_T
        return super().decode(z, x_T=x_T, sampler=sampler, noise=noise)


def test_a_model_whose_encoder_evaluates_the_network_is_charged_for_it(options):
    rows = measure(change(options, nfe=(4,)), loaded_as(NoiseAsLatent()))
    found = {r.x_T: r for r in rows if r.metric == "MSE"}
    assert {x_T: r.encode_nfe for x_T, r in found.items()} == {"decoded": 3, "inferred": 3}
    assert {r.z for r in rows} == {"inferred x_T"}
    assert found["decoded"].value > found["inferred"].value > 0


def test_what_a_model_lacks_is_left_out_with_a_message(loaded, options, caplog):
    with caplog.at_level(logging.WARNING):
        rows = measure(change(options, method=("ddim", "dbim"), endpoint=("inferred", "decoded")), loaded)
    assert {r.sampler for r in rows} == {"one_step", "dbim"}
    assert {r.x_T for r in rows} == {"decoded"}
    assert "no sampler ddim" in caplog.text
    assert "no x_T inferred" in caplog.text


class Distance:
    """In place of LPIPS, whose weights are a factor."""

    def __init__(self, weight=1.0):
        self.weight, self.fingerprint = weight, f"{weight:.10f}"

    def __call__(self, *, real, fake):
        return self.weight * (real - fake).abs().mean((1, 2, 3))


def test_lpips_joins_in_where_it_is_found(loaded, options, monkeypatch):
    without = measure(options, loaded)
    monkeypatch.setattr("benchmarks.extractors.perceptual.load_lpips", lambda net, path, device: Distance())
    rows = measure(options, loaded)
    found = {r.metric for r in rows} - {r.metric for r in without}
    assert found == {"LPIPS", "LPIPS_vgg"}
    assert {r.better for r in rows if r.metric.startswith("LPIPS")} == {"lower"}
    assert [r.value for r in rows if r.metric == "MSE"] == [r.value for r in without if r.metric == "MSE"]
    assert len(RecordFile(options.out).read()) == len(rows)


def test_lpips_of_other_weights_is_measured_anew(loaded, options, monkeypatch):
    def lpips(weight):
        monkeypatch.setattr("benchmarks.extractors.perceptual.load_lpips", lambda net, path, device: Distance(weight))
        return [r.value for r in measure(options, loaded) if r.metric == "LPIPS"]

    first = lpips(1.0)
    assert lpips(1.0) == first
    assert lpips(2.0) == pytest.approx([2 * value for value in first])


def test_a_model_has_no_name_of_a_control(options):
    for name in ("pca", "Random"):
        with pytest.raises(UserError, match="expected another than untrained, pca"):
            measure(options, loaded_as(Inverting(), name=name))


def test_weights_that_are_missing_are_named_once(monkeypatch, caplog):
    """However many models a command measures."""
    monkeypatch.setattr("benchmarks.extractors.weights.torch.hub.get_dir", lambda: "/nowhere")
    monkeypatch.delenv("DBAE_WEIGHTS_DIR", raising=False)
    perceptual._say_left_out.cache_clear()
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert perceptual.available((), torch.device("cpu")) == {}
    assert [text.split(":")[0] for text in caplog.messages if "no weights found" in text] == ["LPIPS", "LPIPS_vgg"]


def test_a_named_weight_file_that_is_wrong_is_refused(loaded, options, tmp_path, monkeypatch):
    def find(net, path, device):
        raise UserError(f"{path or net}: not what it should be")

    monkeypatch.setattr("benchmarks.extractors.perceptual.load_lpips", find)
    assert measure(options, loaded)  # nothing named, nothing found
    with pytest.raises(UserError, match=r"vgg16\.pth: not"):
        measure(change(options, lpips_weights=(tmp_path / "vgg16.pth",)), loaded)


def test_table_and_figure(loaded, options):
    rows = measure(options, loaded) + measure(options, loaded_as(Inverting()))
    table = format_sweep(rows).splitlines()
    assert max(map(len, table)) <= 120
    blocks = "\n".join(table[1:-1]).split("\n\n")
    assert [len(block.splitlines()) for block in blocks] == [1 + 3 + 4] * len(blocks)
    assert table[-1].startswith("(± standard error over images; NFE")
    assert "data: pixels; protocol: paper" in table[0]
    assert not {"data", "protocol"} & set(table[1].split())
    assert any("4 + 3" in line for line in table)
    draw_sweep(rows, options.out.with_suffix(".png"))
    assert options.out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_data_sets_of_one_name_seeds_and_precisions_are_lines_of_their_own(loaded, options, monkeypatch):
    rows = measure(options, loaded)
    lines = format_sweep(rows).count("\n")
    for other in ({"data_sha256": "d" * 64}, {"seed": "7"}, {"precision": "bf16"}, {"split": "train"}):
        both = rows + [dataclasses.replace(row, value=row.value / 2, **other) for row in rows]
        assert format_sweep(both).count("\n") > 1.4 * lines
        drawn = []
        with monkeypatch.context() as patch:
            patch.setattr("matplotlib.axes.Axes.errorbar", lambda *data, to=drawn, **style: to.append(data[1]))
            draw_sweep(both, options.out.with_suffix(".png"))
        assert all(len(set(nfe)) == len(nfe) for nfe in drawn)


def test_two_checkpoints_of_one_name_are_two_lines(loaded, options, monkeypatch):
    rows = measure(options, loaded)
    other = [dataclasses.replace(row, checkpoint_sha256="c" * 64, value=row.value / 2) for row in rows]
    assert "cccc" in format_sweep(rows + other)
    lines = []
    monkeypatch.setattr("matplotlib.axes.Axes.errorbar", lambda *a, label, **to: lines.append(label))
    draw_sweep(rows, options.out.with_suffix(".png"))
    alone = len(set(lines))
    draw_sweep(rows + other, options.out.with_suffix(".png"))
    assert len({label for label in lines[alone:] if "cccc" in label}) == alone


@pytest.mark.parametrize("fields", [{"nfe": (0,)}, {"churn": 1.5}, {"limit": 1}, {"eta": 2.0, "method": ("dbim",)}])
def test_impossible_options_are_refused(loaded, options, fields):
    with pytest.raises(UserError):
        measure(change(options, **fields), loaded)


def test_options_of_the_settings_are_flat(capsys):
    with pytest.raises(SystemExit):
        cli.run(
            print, ReconstructionOptions, module="benchmarks.reconstruction", description=None, arguments=["--help"]
        )
    text = capsys.readouterr().out
    for name in ("--nfe", "--encode-steps", "--end-data", "--lpips-weights", "--no-boot-noise"):
        assert name in text
    parsed = []
    arguments = ["--encode-steps", "match", "1000", "--method", "ddim", "--nfe", "5"]
    assert cli.run(parsed.append, ReconstructionOptions, module="m", description=None, arguments=arguments) == 0
    assert parsed[0].settings == SettingOptions(method=("ddim",), nfe=(5,), encode_steps=("match", 1000))
