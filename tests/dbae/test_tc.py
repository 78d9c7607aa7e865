"""Total correlation: the estimators against the public program, and the regularised loss."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from small_model import small_model
from torch import Tensor

from dbae.losses import TCEstimator, TotalCorrelation, bridge_loss, log_densities
from dbae.noise import PerImageNoise

DBAE = json.loads((GOLDEN / "dbae" / "tc_estimator.json").read_text())
TCVAE = json.loads((GOLDEN / "systems" / "tcvae.json").read_text())


def dbae_codes() -> tuple[Tensor, Tensor, Tensor]:
    r, shape = np.random.RandomState(DBAE["seed"]), (DBAE["B"], DBAE["D"])
    mu, log_sigma, eps = r.standard_normal(shape), 0.3 * r.standard_normal(shape) - 0.5, r.standard_normal(shape)
    sigma = np.exp(log_sigma) + 0.01
    z, mean, std = (torch.from_numpy(v) for v in (mu + sigma * eps, mu, sigma))
    return z, mean, std


def tcvae_codes() -> tuple[Tensor, Tensor, Tensor]:
    shape = (TCVAE["inputs"]["B"], TCVAE["inputs"]["D"])
    mu, log_sigma, eps = (torch.from_numpy(np.random.RandomState(s).standard_normal(shape)) for s in (10, 11, 12))
    sigma = (0.3 * log_sigma - 0.5).exp()
    return mu + sigma * eps, mu, sigma


@pytest.mark.golden
@pytest.mark.parametrize(("estimator", "key"), [("weighted", "tc_mws"), ("stratified_released", "tc_mss")])
def test_tc_as_the_formula_gives_it(estimator: TCEstimator, key: str) -> None:
    joint, marginals = log_densities(*dbae_codes(), images=DBAE["N"], estimator=estimator)
    assert abs(float((joint - marginals).mean()) - DBAE[key]) < 1e-9


@pytest.mark.golden
def test_weighted_constant_is_the_one_of_the_formula() -> None:
    joint, marginals = log_densities(*dbae_codes(), images=DBAE["N"])
    shift = (DBAE["D"] - 1) * math.log(DBAE["B"] * DBAE["N"])
    assert abs(float((joint - marginals).mean()) - shift - DBAE["tc_raw_no_constant"]) < 1e-9


@pytest.mark.golden
@pytest.mark.parametrize(
    ("estimator", "key"),
    [("weighted", "mws"), ("stratified_released", "mss_reference"), ("stratified", "mss_diagonal")],
)
def test_densities_of_the_public_program(estimator: TCEstimator, key: str) -> None:
    joint, marginals = log_densities(*tcvae_codes(), images=TCVAE["inputs"]["dataset_size"], estimator=estimator)
    expected = TCVAE[key]
    assert float(joint.mean()) == pytest.approx(expected["logqz_mean"], rel=1e-5)  # the program computes in float32
    assert float(marginals.mean()) == pytest.approx(expected["log_prod_marginals_mean"], rel=1e-5)
    if "logqz" in expected:
        np.testing.assert_allclose(joint, expected["logqz"], rtol=1e-5)
        np.testing.assert_allclose(marginals, expected["log_prod_marginals"], rtol=1e-5)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_dependent_codes_have_more_tc_than_independent_ones(estimator: TCEstimator) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(256, 1, generator=generator), torch.randn(256, 1, generator=generator)
    sigma = torch.full((256, 2), 0.1)

    def tc(mean: Tensor) -> float:
        joint, marginals = log_densities(mean, mean, sigma, images=10_000, estimator=estimator)
        return float((joint - marginals).mean())

    assert tc(torch.cat([one, one], 1)) > tc(torch.cat([one, other], 1)) + 1


def test_half_precision_codes_are_compared_in_float32() -> None:
    z, mean, sigma = (v.bfloat16() for v in dbae_codes())
    half = log_densities(z, mean, sigma, images=1000)
    full = log_densities(z.float(), mean.float(), sigma.float(), images=1000)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(half, full, strict=True))


@pytest.mark.parametrize("b", [1, 5])
def test_number_of_codes_is_checked(b: int) -> None:
    code = torch.zeros(b, 2)
    with pytest.raises(ValueError, match=f"no more than the 4 images, found {b}"):
        log_densities(code, code, code + 1, images=4)


def loss(tc: TotalCorrelation | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of four images by a small model and the gradient that reaches its parameters."""
    model = small_model().eval()
    x0 = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    result = bridge_loss(model, x0, torch.full((4,), 0.5), noise=PerImageNoise(0, range(4)), tc=tc)
    result.loss.mean().backward()
    return result.loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_regulariser_adds_to_the_loss_and_reaches_the_encoder_alone() -> None:
    plain, gradient = loss(None)
    regularised, regularised_gradient = loss(TotalCorrelation(0.1, images=100))
    twice, _ = loss(TotalCorrelation(0.2, images=100))
    assert (regularised - plain).abs().min() > 1e-3
    # The loss of an untrained model is 1e4 in float32: differences have two digits.
    torch.testing.assert_close(twice - plain, 2 * (regularised - plain), rtol=0.03, atol=0)
    changed = {n.split(".")[0] for n in gradient if not torch.equal(gradient[n], regularised_gradient[n])}
    assert changed == {"encoder"}


def test_regulariser_needs_a_density() -> None:
    model = small_model(stochastic=False)
    with pytest.raises(ValueError, match="stochastic encoder"):
        bridge_loss(
            model,
            torch.zeros(2, 3, 16, 16),
            torch.full((2,), 0.5),
            noise=PerImageNoise(0, range(2)),
            tc=TotalCorrelation(1.0, images=9),
        )


@pytest.mark.parametrize(("weight", "images"), [(0.0, 9), (math.inf, 9), (1.0, 1)])
def test_regulariser_checks_its_options(weight: float, images: int) -> None:
    with pytest.raises(ValueError, match="expected a positive weight"):
        TotalCorrelation(weight, images)
