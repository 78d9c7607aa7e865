"""The variation benchmark, and its statistics, on models whose spread is known."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import Pixels, small_model

from baselines.interface import LoadedModel
from benchmarks.metrics.spread import spread
from benchmarks.subjects.settings import SettingOptions
from benchmarks.variation import study as variation_study
from benchmarks.variation.command import VariationOptions, run
from benchmarks.variation.report import draw_maps, format_variation
from dbae.support.errors import UserError


def test_spread_of_known_draws():
    x0 = torch.zeros(3, 2, 2)
    draws = torch.stack([x0 + value for value in (-0.4, 0.0, 0.4, 0.8)])  # pixels 0.3, 0.5, 0.7, 0.9 in [0, 1]
    found = spread(draws, x0)
    pixels = np.array([0.3, 0.5, 0.7, 0.9])
    assert found.values["std"] == pytest.approx(pixels.std(ddof=1))
    pairs = [(a - b) ** 2 for i, a in enumerate(pixels) for j, b in enumerate(pixels) if i != j]
    assert found.values["MSE_pairwise"] == pytest.approx(np.mean(pairs))
    assert found.values["MSE"] == pytest.approx(((pixels - 0.5) ** 2).mean())
    assert found.values["MSE_of_mean"] == pytest.approx(0.1**2)
    assert found.values["MSE"] == pytest.approx(0.1**2 + 3 / 4 * pixels.var(ddof=1))
    assert found.mean == pytest.approx(np.full((3, 2, 2), 0.6))
    with pytest.raises(ValueError, match="two draws"):
        spread(draws[:1], x0)


class Noisy(torch.nn.Module):
    """Adds 0.2 of the sampler's noise to the image's mean colour; its x_T is not used."""

    name, image_size, latent_dim = "noisy", 16, 3
    samplers, endpoints, encode_nfe = ("ddim",), ("random",), 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def posterior(self, x):
        return 0.1 * x.mean((2, 3)), None

    def encode(self, x, *, noise=None):
        return self.posterior(x)[0]

    def decode(self, z, *, x_T=None, sampler=None, noise=None):
        images = z[:, :, None, None] + 0.2 * noise.normal((len(z), 3, 16, 16))
        return types.SimpleNamespace(images=images, nfe=sampler.nfe)


def loaded_as(model):
    cells = {"name": "m", "method": "M", "variant": "", "train_data": "", "sha256": "0" * 64, "weights": "trained"}
    return LoadedModel(model, untrained=lambda seed: model, path=Path("m.pt"), **cells)


@pytest.fixture
def options(tmp_path) -> VariationOptions:
    return VariationOptions(
        data=("pixels",), out=tmp_path / "v.csv", draws=20, draw_images=3, settings=SettingOptions(nfe=(2,)),
        device="cpu",
    )  # fmt: skip


def measure(options, model):
    found = run(options, lambda source: loaded_as(model), lambda source, size: Pixels(10, size))
    return [row for varied in found for row in varied.rows], [varied.shown for varied in found]


def test_noise_of_the_sampler_is_what_varies(options):
    rows, (shown,) = measure(options, Noisy())
    found = {r.metric: r for r in rows}
    assert found["std"].value == pytest.approx(0.1, rel=0.05)
    assert found["MSE_pairwise"].value == pytest.approx(2 * 0.01, rel=0.05)
    assert {(r.n, r.seed, r.x_T, r.nfe, r.better) for r in rows} == {(3, "0, 20 draws", "random", 2, "lower")}
    assert shown.std.shape == (3, 3, 16, 16)
    assert shown.draws.shape == (3, 3, 3, 16, 16)
    np.testing.assert_array_equal(shown.x0, Pixels(10).batch(range(3)).numpy())


def test_a_deterministic_chain_does_not_vary_and_a_drawn_z_does(options):
    model = small_model()
    with torch.no_grad():
        model.score.out[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    rows, _ = measure(dataclasses.replace(options, protocol=("standard", "paper")), model)
    found = {(r.protocol, r.sampler): r.value for r in rows if r.metric == "std"}
    assert found["standard", "ddbm_euler"] == 0
    assert found["paper", "ddbm_euler"] > 1e-3
    assert {(r.protocol, r.z) for r in rows} == {("standard", "mean"), ("paper", "sampled")}


def test_values_do_not_depend_on_the_batch_size(options, tmp_path):
    many, _ = measure(options, small_model())
    one, _ = measure(dataclasses.replace(options, batch_size=1, out=tmp_path / "one.csv"), small_model())
    assert [r.value for r in one] == pytest.approx([r.value for r in many], rel=1e-4)


def test_a_finished_setting_is_read_back(options, monkeypatch):
    first, (pictures,) = measure(options, Noisy())
    monkeypatch.setattr(variation_study.VariationStudy, "_measure", lambda *_: pytest.fail("sampled again"))
    again, (same,) = measure(options, Noisy())
    assert again == first
    np.testing.assert_array_equal(same.std, pictures.std)


class Distance:
    def __call__(self, *, real, fake):
        return (real - fake).square().mean((1, 2, 3)) / 4


def test_perceptual_distance_between_draws(options, monkeypatch):
    monkeypatch.setattr("benchmarks.extractors.perceptual.load_lpips", lambda net, path, device: Distance())
    rows, _ = measure(dataclasses.replace(options, batch_size=7, draws=200), Noisy())
    found = {r.metric: r.value for r in rows}
    assert found["LPIPS_pairwise"] == pytest.approx(found["MSE_pairwise"], rel=0.02)


def test_table_and_figure(options):
    rows, shown = measure(options, Noisy())
    table = format_variation(rows).splitlines()
    assert len(table) == 2
    draw_maps(shown, options.out.with_suffix(".png"))
    assert options.out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("change", [{"draws": 1}, {"draw_images": 0}, {"batch_size": 0}])
def test_impossible_options_are_refused(options, change):
    with pytest.raises(UserError):
        measure(dataclasses.replace(options, **change), Noisy())
