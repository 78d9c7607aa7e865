"""Budgets and options of the samplers."""

from __future__ import annotations

import pytest

from dbae.samplers.config import SamplerConfig, evaluations, steps_for


@pytest.mark.parametrize(
    ("config", "n", "nfe"),
    [
        (SamplerConfig("ddbm_euler", 100), 100, 100),
        (SamplerConfig("ddbm_heun", 100), 50, 99),
        (SamplerConfig("ddbm_euler", 667, churn=0.33), 333, 666),
        (SamplerConfig("ddbm_heun", 1000, churn=0.33), 333, 998),
        (SamplerConfig("ddbm_heun", 500, churn=0.33), 167, 500),
        (SamplerConfig("ddbm_heun", 250, churn=0.33), 83, 248),
        (SamplerConfig("dbim3", 20), 19, 20),
        (SamplerConfig("dbms2", 21), 10, 20),
        (SamplerConfig("one_step", 100), 1, 1),
        (SamplerConfig("ddim", 21, guidance=2.0), 10, 20),
    ],
)
def test_published_budgets(config, n, nfe):
    assert (steps_for(config), evaluations(config, n)) == (n, nfe)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "dbim", "churn": 0.3},
        {"method": "dbms2", "eta": 0.5},
        {"method": "dbim2", "eta": 1.0},
        {"method": "ddbm_heun", "eta": 1.0},
        {"method": "ddbm_euler", "boot_noise": False},
        {"method": "one_step", "boot_noise": False},
        {"method": "one_step", "grid": "karras"},
        {"method": "dbim", "guidance": 0.5},
        {"method": "dbim", "rho": 3.0},
        {"method": "one_step", "rho": 3.0},
        {"method": "ddbm_euler", "grid": "uniform", "rho": 3.0},
        {"method": "ddbm_euler", "rho": 0.0},
        {"method": "ddbm_euler", "rho": float("nan")},
        {"method": "ddbm_euler", "variance": "small"},
        {"method": "ddim", "variance": "small"},
        {"method": "ddbm_euler", "churn": 1.0},
        {"method": "ddbm_euler", "churn": -0.1},
        {"method": "dbim", "eta": 1.1},
        {"method": "ddbm_euler", "end_data": -0.5},
        {"method": "one_step", "end_data": float("nan")},
        {"method": "ddbm_euler", "end_data": float("inf")},
        {"method": "ddim", "guidance": float("nan")},
        {"method": "ddbm_euler", "nfe": 0},
        {"method": "ddbm_euler", "nfe": 1, "churn": 0.3},
        {"method": "dbim", "nfe": 1},
        {"method": "dbms2", "nfe": 1},
        {"method": "one_step", "nfe": 0},
    ],
    ids=str,
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"no option|must be|rho belongs to the karras grid|needs a budget"):
        SamplerConfig(**options)


@pytest.mark.parametrize("options", [{"method": "euler"}, {"method": "dbim", "grid": "cosine"}], ids=str)
def test_unknown_names_are_refused(options):
    with pytest.raises((ValueError, TypeError)):  # TypeError where annotations are checked at run time
        SamplerConfig(**options)


def test_cards_of_what_older_versions_knew_are_theirs():
    """Keys of images that are kept depend on it."""
    assert {"rho", "variance"}.isdisjoint(SamplerConfig("ddbm_euler").card)
    assert len(SamplerConfig("ddbm_euler").card) == 10
    assert SamplerConfig("ddbm_euler", rho=3.0).card["rho"] == 3.0
    assert SamplerConfig("ddpm", variance="small").card["variance"] == "small"
