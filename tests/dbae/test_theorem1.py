"""Theorem 1 on a Gaussian toy, where every expectation of it has a closed form.

x_0 ~ N(0, 1), z = w x_0 + s e, x_T = v z, x_0-prediction D = p x_t + q z: all random variables are linear forms in
three independent standard normals (x_0, e, eps), written as vectors of coefficients, so E[form^2] is a dot product.
The parameters (w, s) are the encoder, v the endpoint decoder, (p, q) the score network.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.samplers.drift import reverse_sde

PARAMETERS = ("w", "s", "v", "p", "q")


@pytest.fixture
def parameters() -> dict[str, Tensor]:
    values = {"w": 0.8, "s": 0.5, "v": -0.7, "p": 0.3, "q": 0.6}
    return {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()}


def gradient(loss: Tensor, parameters: dict[str, Tensor]) -> dict[str, float]:
    values = list(parameters.values())
    grads = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
    return {k: 0.0 if g is None else g.item() for k, g in zip(parameters, grads, strict=True)}


class Toy:
    """The linear forms at the times t (n,), each of shape (n, 3) or (3,)."""

    def __init__(self, bridge: Bridge, t: Tensor, parameters: dict[str, Tensor]) -> None:
        w, s, v, p, q = (parameters[name] for name in PARAMETERS)
        self.a, self.b, self.c = (value[:, None] for value in bridge.coefficients(t))
        self.x0, e, eps = torch.eye(3, dtype=torch.float64)
        z = w * self.x0 + s * e
        self.x_T = v * z
        self.x_t = self.a * self.x_T + self.b * self.x0 + self.c * eps
        self.D = p * self.x_t + q * z
        self.mean, self.variance = w / (w**2 + s**2) * z, s**2 / (w**2 + s**2)  # of x_0 given z

    def score(self, x0: Tensor) -> Tensor:
        """Grad log q(x_t | x_0, x_T), or its parametrisation by a prediction of x_0."""
        return -(self.x_t - self.a * self.x_T - self.b * x0) / self.c**2

    def score_given_z(self) -> Tensor:
        """Grad log q(x_t | z, x_T)."""
        centre = self.a * self.x_T + self.b * self.mean
        return -(self.x_t - centre) / (self.b**2 * self.variance + self.c**2)


@pytest.fixture
def quadrature() -> tuple[Tensor, Tensor]:
    """Times and the weights of the trapezoidal rule in log t and log(1 - t), from 1e-6 to 1 - 1e-6."""
    logit = torch.linspace(-14, 14, 4001, dtype=torch.float64)
    t = logit.sigmoid()
    return t, t * (1 - t) * (logit[1] - logit[0])


def g_squared(bridge: Bridge, t: Tensor) -> Tensor:
    return torch.tensor([reverse_sde(bridge, v).g_squared for v in t.tolist()], dtype=torch.float64)


def mean_square(form: Tensor) -> Tensor:
    return (form**2).sum(-1)


def test_denoising_and_x0_forms_have_the_same_gradient(parameters, quadrature):
    """Eq. 14 and 15, lambda = g^2 b^2 / (2 c^4): equal in every parameter, encoder and endpoint decoder included."""
    bridge, (t, dt) = Bridge(), quadrature
    toy, g2 = Toy(bridge, t, parameters), g_squared(bridge, t)
    score_form = (dt * g2 / 2 * mean_square(toy.score(toy.D) - toy.score(toy.x0))).sum()
    weight = g2 * toy.b[:, 0] ** 2 / (2 * toy.c[:, 0] ** 4)
    x0_form = (dt * weight * mean_square(toy.D - toy.x0)).sum()
    assert gradient(score_form, parameters) == pytest.approx(gradient(x0_form, parameters), rel=1e-9)


@pytest.mark.parametrize("t", [1e-3, 0.2, 0.5, 0.8, 0.999])
def test_denoising_and_score_matching_agree_at_every_time_for_a_fixed_posterior(parameters, t):
    """The target given z is the mean of the target given x_0, so the network cannot tell them apart."""
    toy = Toy(Bridge(), torch.tensor([t], dtype=torch.float64), parameters)
    matching = mean_square(toy.score(toy.D) - toy.score_given_z())
    denoising = mean_square(toy.score(toy.D) - toy.score(toy.x0))
    of_matching, of_denoising = gradient(matching, parameters), gradient(denoising, parameters)
    for name in ("v", "p", "q"):
        assert of_denoising[name] == pytest.approx(of_matching[name], rel=1e-7, abs=1e-9)
    assert abs(of_matching["p"]) > 1e-4


@pytest.mark.parametrize("mode", ["vp", "ve"])
def test_score_matching_plus_entropy_is_denoising_score_matching(parameters, quadrature, mode):
    """Theorem 1: 1/2 int g^2 E|s_theta - grad log q(x_t | z, x_T)|^2 dt + H(x_0 | z) = (14) up to a constant.

    The entropy term is what the encoder's gradient needs. Stopping the integral of (14) at t costs it 1 / SNR(t).
    """
    bridge, (t, dt) = Bridge(mode=mode, sigma_max=1.0), quadrature
    toy, g2 = Toy(bridge, t, parameters), g_squared(bridge, t)
    matching = (dt * g2 / 2 * mean_square(toy.score(toy.D) - toy.score_given_z())).sum()
    denoising = (dt * g2 / 2 * mean_square(toy.score(toy.D) - toy.score(toy.x0))).sum()
    entropy = toy.variance.log() / 2
    of_denoising = gradient(denoising, parameters)
    with_entropy, without = gradient(matching + entropy, parameters), gradient(matching, parameters)
    assert of_denoising == pytest.approx(with_entropy, rel=1e-4)
    assert abs(of_denoising["w"] - without["w"]) > 0.1
    assert abs(of_denoising["s"] - without["s"]) > 0.1
