"""Settings of a decoder: options a method lacks are left out, and what a row says of a sampler tells it apart."""

from __future__ import annotations

import pytest
from stand_ins import TinyModel

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
