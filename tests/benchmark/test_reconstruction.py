"""The reconstruction benchmark on a small DBAE and random pixels."""

import dataclasses
import types

import numpy as np
import pytest
import torch
from small_model import Pixels, small_model

from benchmarks import reconstruction
from benchmarks.metrics import reconstruction as metrics
from benchmarks.reconstruction import NAMES, Options, run
from benchmarks.reconstruction_report import draw_sweep, format_sweep
from dbae.errors import UserError
from dbae.images import to_float
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reconstruction, "open_data", lambda source, size: Pixels(10, size))
    model = small_model()
    with torch.no_grad():
        model.score.out[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    return types.SimpleNamespace(
        model=model,
        name="small",
        method="DBAE",
        variant="stochastic",
        train_data="",
        weights="untrained",
        sha256="0" * 64,
        untrained=lambda seed: small_model(seed=seed),
    )


@pytest.fixture
def options(tmp_path):
    return Options(data=("pixels",), out=tmp_path / "reconstruction.csv", nfe=(2, 4), limit=6)


def test_rows_have_what_decoding_by_hand_gives(loaded, options):
    rows = run(dataclasses.replace(options, protocol=("standard",)), lambda source: loaded)
    x0 = to_float(Pixels(10).batch(range(6)))
    with torch.no_grad():
        fake = loaded.model.decode(loaded.model.encode(x0), sampler=SamplerConfig("ddbm_euler", nfe=4)).images
    expected = metrics.measure(real=x0, fake=fake)
    found = {r.metric: r.value for r in rows if r.nfe_requested == 4}
    assert found == pytest.approx({name: float(getattr(expected, f).mean()) for f, name in NAMES.items()}, rel=1e-5)
    assert {(r.sampler, r.nfe) for r in rows} == {("one_step", 1), ("ddbm_euler", 2), ("ddbm_euler", 4)}


def test_values_do_not_depend_on_the_batch_size(loaded, options, tmp_path):
    options = dataclasses.replace(options, method=("dbim",), churn=0.0)
    many = run(options, lambda source: loaded)
    one = run(dataclasses.replace(options, batch_size=1, out=tmp_path / "one.csv"), lambda source: loaded)
    assert [r.value for r in one] == pytest.approx([r.value for r in many], rel=1e-5)


def test_noise_starts_differ_from_starts_without_and_have_rows_of_their_own(loaded, options):
    options = dataclasses.replace(options, method=("dbim",), nfe=(4,))
    noisy = run(options, lambda source: loaded)
    quiet = run(dataclasses.replace(options, boot_noise=False), lambda source: loaded)
    pick = [next(r for r in rows if r.sampler == "dbim" and r.metric == "MSE") for rows in (noisy, quiet)]
    assert [r.boot_noise for r in pick] == [True, False]
    assert pick[0].value != pick[1].value
    assert pick[0].identity != pick[1].identity


def test_a_finished_setting_is_read_back_and_not_sampled_again(loaded, options, monkeypatch):
    first = run(options, lambda source: loaded)
    before = options.out.read_bytes()
    monkeypatch.setattr(reconstruction.Study, "_measure", lambda *_: pytest.fail("sampled again"))
    assert run(options, lambda source: loaded) == first
    assert options.out.read_bytes() == before


def test_values_of_every_image_lie_beside_the_results(loaded, options):
    rows = run(options, lambda source: loaded)
    files = sorted((options.out.parent / "reconstruction_images").glob("*.npz"))
    assert len(files) == 3
    means = {(int(f["nfe"]), name): f[name].mean() for f in map(np.load, files) for name in NAMES.values()}
    assert means == pytest.approx({(r.nfe, r.metric): r.value for r in rows})


def test_per_image_noise_is_that_of_the_seed_and_the_index(loaded, options):
    options = dataclasses.replace(options, protocol=("standard",), method=("dbim",), nfe=(4,), limit=3)
    rows = run(options, lambda source: loaded)
    x0 = to_float(Pixels(10).batch(range(3)))
    noise = PerImageNoise(0, range(3), stream="sample")
    fake = loaded.model.decode(loaded.model.encode(x0), sampler=SamplerConfig("dbim", nfe=4), noise=noise).images
    found = next(r.value for r in rows if r.sampler == "dbim" and r.metric == "MSE")
    assert found == pytest.approx(float(metrics.measure(real=x0, fake=fake).mse.mean()), rel=1e-5)


def test_table_and_figure(loaded, options):
    rows = run(options, lambda source: loaded)
    table = format_sweep(rows).splitlines()
    assert len(table) == 4
    assert table[0].split()[:2] == ["model", "data"]
    draw_sweep(rows, options.out.with_suffix(".png"))
    assert options.out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("change", [{"nfe": (0,)}, {"churn": 1.5}, {"limit": 1}])
def test_impossible_options_are_refused(loaded, options, change):
    with pytest.raises(UserError):
        run(dataclasses.replace(options, **change), lambda source: loaded)
