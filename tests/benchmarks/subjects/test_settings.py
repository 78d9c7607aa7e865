"""Settings of a decoder: options a method lacks are left out, and what a row says of a sampler tells it apart."""

from __future__ import annotations

import pytest
from diffusion_networks import small_diffae
from pdae_models import small_config
from small_model import small_model
from stand_ins import TinyModel
from systems import fresh, tiny

import benchmarks.reconstruction
from baselines.interface import LoadedModel
from baselines.methods import pdae, sb_vae
from baselines.methods.ddim import DDIMConfig
from benchmarks.generation import command as generation
from benchmarks.generation.source import Source
from benchmarks.subjects.settings import SettingOptions, sampler, sampler_columns
from dbae.samplers import SamplerConfig
from dbae.samplers.config import METHODS
from dbae.support.errors import UserError


def test_a_row_tells_exponents_and_variances_apart():
    assert sampler_columns(SamplerConfig("ddbm_euler", 10))["grid"] == "native"
    assert sampler_columns(SamplerConfig("ddbm_euler", 10, rho=3.5))["grid"] == "native, rho 3.5"
    assert sampler_columns(SamplerConfig("ddpm", 10))["sampler"] == "ddpm"
    assert sampler_columns(SamplerConfig("ddpm", 10, variance="small"))["sampler"] == "ddpm, small variance"


@pytest.mark.parametrize("method", METHODS)
def test_exponent_and_variance_reach_the_methods_that_have_them(method):
    nfe = 1 if method == "one_step" else 10
    config = sampler(method, nfe, rho=3.0, variance="small")
    assert config.rho == (3.0 if method in ("ddbm_euler", "ddbm_heun", "dbms2") else 7.0)
    assert config.variance == ("small" if method == "ddpm" else "native")
    if method.startswith("dbim"):
        assert sampler(method, nfe, "karras", rho=3.0).rho == 3.0


@pytest.mark.parametrize("method", METHODS)
def test_a_sampler_takes_what_its_method_has(method):
    config = sampler(method, 10, churn=0.3, eta=0.5, end_data=0.0, boot_noise=False, stop=0.2)
    columns = sampler_columns(config)
    has = {name for name in ("churn", "eta", "end_data", "boot_noise") if name in columns}
    assert config.churn == (0.3 if "churn" in has else 0.0)
    assert config.eta == (0.5 if "eta" in has else 0.0)
    assert config.end_data == (0.0 if "end_data" in has else 0.5)
    assert config.boot_noise == ("boot_noise" not in has)
    assert ("grid" in columns) == bool(has & {"churn", "boot_noise"})


def test_models_without_a_bridge_have_one_setting_and_no_end_data():
    at_once, bridge = TinyModel(), TinyModel()
    at_once.samplers = ("one_step",)
    options = SettingOptions(nfe=(4,), end_data=(0.5, 0.0))
    (setting,) = options.settings(at_once)
    assert setting.columns == {"sampler": "one_step", "nfe_requested": 1, "x_T": "decoded"}
    ends = [s.columns["end_data"] for s in options.settings(bridge) if s.sampler.method == "one_step"]
    assert ends == [0.5, 0.0]


def small_pdae():
    return fresh(pdae.PDAE, small_config())


def small_sb_vae():
    return fresh(sb_vae.SBVAE, sb_vae.sized_as(DDIMConfig(8, tiny().unet), 4))


def _source(model) -> Source:
    source = Source.__new__(Source)  # the choice of settings needs only these of it
    source.model, source.prior = model, object()
    return source


def test_guidance_is_for_models_that_know_it(caplog):
    plain, guided = TinyModel(), TinyModel()
    plain.samplers = guided.samplers = ("ddim",)
    guided.takes_guidance = True
    options = SettingOptions(nfe=(4,), guidance=2.0)
    found = [[s.columns["sampler"] for s in options.settings(model)] for model in (plain, guided)]
    assert found == [["ddim"], ["ddim, guidance 2"]]
    assert "always decodes with z, --guidance 2 is left out" in caplog.text
    generate = generation.GenerationOptions(nfe=(4,), guidance=2.0, mode=("ae",))
    made = [[way.sampler.guidance for way in generate.settings(_source(model))] for model in (plain, guided)]
    assert made == [[1.0], [2.0]]


def test_a_row_tells_samplers_that_end_without_z():
    assert sampler_columns(SamplerConfig("ddim", 10))["sampler"] == "ddim"
    assert sampler_columns(SamplerConfig("ddim", 10, stop=0.3))["sampler"] == "ddim, stop 0.3"


def test_pdae_leaves_z_out_at_the_end_as_released_where_it_comes_from_a_prior():
    model = TinyModel()
    model.samplers, model.prior_stop = ("ddim", "ddpm"), 0.3
    options = generation.GenerationOptions(protocol=("paper", "standard"), method=("ddim", "ddpm"), nfe=(10,))
    stops = {(s.mode, s.protocol, s.sampler.method): s.sampler.stop for s in options.settings(_source(model))}
    assert stops.pop(("prior", "paper", "ddim")) == 0.3
    assert set(stops.values()) == {0.0}
    assert len(stops) == 7


def test_a_sampler_for_a_model_that_decodes_at_once_and_a_budget_of_none(caplog):
    model = TinyModel()
    model.samplers = ("one_step",)
    assert [s.sampler.method for s in SettingOptions(method=("ddim",)).settings(model)] == ["one_step"]
    assert "no sampler ddim, which is left out; it has one_step alone" in caplog.text
    with pytest.raises(UserError, match="expected budgets of 1 or more, found 0"):
        SettingOptions(nfe=(10, 0))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (small_diffae, {"nfe": (10, 1)}, "--nfe 1, 1 steps: no stride .* The nearest numbers that one gives: 2"),
        (small_diffae, {"nfe": (400,)}, "--nfe 400, 400 steps: no stride"),
        (small_diffae, {"nfe": (1,), "method": ("ddpm",)}, "--nfe 1, ddpm with 1 steps: expected 2 to 1000"),
        (small_diffae, {"nfe": (10,), "encode_steps": ("match", 1)}, "--encode-steps 1, 1 steps: no stride"),
        (small_pdae, {"nfe": (1,), "method": ("ddpm",)}, "--nfe 1, ddpm with 1 steps: expected 2 to 1000"),
        (small_sb_vae, {"nfe": (1,)}, "--nfe 1, 1 evaluations: a step of SB-VAE takes 2"),
        (small_model, {"nfe": (1,), "method": ("dbim",)}, "--method, --nfe, .*: dbim needs a budget of at least 2 nfe"),
    ],
)
def test_a_budget_that_a_model_has_no_steps_for_names_both(make, options, message):
    model = make()
    with pytest.raises(UserError, match=f"^{model.name}, {message}"):
        SettingOptions(**options).settings(model)
    if "encode_steps" not in options:
        with pytest.raises(UserError, match=f"^{model.name}, {message}"):
            list(generation.GenerationOptions(**options, mode=("ae",)).settings(_source(model)))


@pytest.mark.parametrize("make", [small_diffae, small_pdae, small_sb_vae, small_model])
def test_budgets_of_the_papers_are_possible(make):
    assert len(SettingOptions(endpoint=(make().endpoints[0],)).settings(make())) >= 4


def test_nothing_is_encoded_for_a_budget_that_is_refused(tmp_path, monkeypatch):
    model = small_diffae()
    loaded = LoadedModel.of(model)
    monkeypatch.setattr(type(model), "posterior", lambda *args: pytest.fail("encoded"))
    with pytest.raises(UserError, match="--nfe 1, "):
        benchmarks.reconstruction.measure(loaded, data="faces:?n=4", out=tmp_path / "r.csv", nfe=1, device="cpu")


def test_a_budget_of_an_inference_is_one_or_more():
    with pytest.raises(UserError, match="--encode-steps: expected budgets of 1 or more, found 0"):
        SettingOptions(encode_steps=("match", 0))
