"""Drifts of the two generative processes of a bridge (paper Eq. 6 and 7), given a prediction D of x_0.

    reverse SDE       dx = [f - g^2 (s   - w h)] dt + g dw
    probability flow  dx = [f - g^2 (s/2 - w h)] dt

h = (k x_T - x) / (alpha^2 rho^2 (1/u - 1)), k = alpha_t / alpha_T, is Doob's transform; s = -(x - (a x_T + b D)) / c^2
is the score of the bridge, and s = p + h with p = (alpha D - x) / (alpha rho)^2, that of the base process. The paper
has w = 1.

DEVIATION: any other `guidance` w means two things in the public code. VP scales the whole h as above; VE has the
flow -t (p - w h), which scales half of h, and ignores w in the SDE. Both are kept: they agree at w = 1.

All numbers are Python floats, computed on the host before the loop of a sampler.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from dbae.bridge import Bridge


@dataclasses.dataclass(frozen=True)
class Drift:
    """The drift f x - g^2 (score_weight p - h_weight h) at one time.

    Here h = (x_T - x + k_minus_1 x_T) / q, so that nothing cancels where the samplers start: at x = x_T, k close to 1.
    """

    f: float
    g_squared: float
    score_weight: float
    h_weight: float
    alpha: float
    variance: float
    k_minus_1: float
    q: float

    def __call__(self, x: Tensor, D: Tensor, x_T: Tensor) -> Tensor:
        p = (self.alpha * D - x) / self.variance
        h = ((x_T - x) + self.k_minus_1 * x_T) / self.q
        return self.f * x - self.g_squared * (self.score_weight * p - self.h_weight * h)


@dataclasses.dataclass(frozen=True)
class ReferenceDrift:
    """The drift f x - g^2 (score_weight s - w h) of a VP bridge in the public code's float32 order of operations.

    The differences x - (a x_T + b D) and x - k x_T cancel near T, so the order of operations shows in the images.
    """

    f: float
    g_squared: float
    score_weight: float
    w: float
    a: float
    b: float
    k: float
    variance: float
    left: float
    excess: float

    def __call__(self, x: Tensor, D: Tensor, x_T: Tensor) -> Tensor:
        s = -(x - (self.a * x_T + self.b * D)) / self.variance / self.left
        h = -(x - self.k * x_T) / self.variance / self.excess
        return self.f * x - self.g_squared * (self.score_weight * s - self.w * h)


def probability_flow(bridge: Bridge, t: float, guidance: float = 1.0) -> Drift | ReferenceDrift:
    """The drift of the flow at time 0 < t < T."""
    return _drift(bridge, t, guidance, 0.5)


def reverse_sde(bridge: Bridge, t: float, guidance: float = 1.0) -> Drift | ReferenceDrift:
    """The drift of the SDE at time 0 < t < T; its diffusion coefficient is the square root of `g_squared`."""
    return _drift(bridge, t, guidance, 1.0)


def _drift(bridge: Bridge, t: float, guidance: float, score_weight: float) -> Drift | ReferenceDrift:
    time, T = bridge.on_host(t), bridge.on_host(bridge.T)
    if bridge.mode == "ve":
        h_weight = guidance / 2 if score_weight == 0.5 else 0.0
        return Drift(0.0, 2 * t, score_weight, h_weight, 1.0, t**2, 0.0, float(T**2 - time**2))
    if bridge.arithmetic == "reference":
        return _reference_drift(bridge, time, guidance, score_weight)
    rate = bridge.beta_min + bridge.beta_d * t
    u, left = bridge.snr_ratio(time)
    alpha, k_minus_1 = bridge.log_alpha(time).exp(), torch.expm1(bridge.log_alpha(time) - bridge.log_alpha(T))
    variance = alpha**2 * bridge.rho_squared(time)
    numbers = map(float, (alpha, variance, k_minus_1, variance * left / u))
    return Drift(-rate / 2, rate, score_weight, guidance - score_weight, *numbers)  # s = p + h


def _reference_drift(bridge: Bridge, t: Tensor, w: float, score_weight: float) -> ReferenceDrift:
    """From float32 scalars, through sigma = noise / signal and its derivative as in DDBM's `vp` closures."""
    T = torch.tensor(bridge.T, dtype=torch.float32)
    sigma, sigma_T = ((math.e ** (0.5 * bridge.beta_d * v**2 + bridge.beta_min * v) - 1).sqrt() for v in (t, T))
    sigma_deriv = 0.5 * (bridge.beta_min + bridge.beta_d * t) * (sigma + 1 / sigma)
    scale = (1 + sigma**2).rsqrt()
    scale_deriv = -sigma * sigma_deriv * scale**3
    # Correctly rounded logarithms: near T their difference amplifies the last place, where vector libraries differ.
    L, L_T = (-2 * v.double().log().float() for v in (sigma, sigma_T))
    m, m_T = bridge.log_alpha(t), bridge.log_alpha(T)
    left = -torch.expm1(L_T - L)
    return ReferenceDrift(
        f=float(scale_deriv * (-m).exp()),
        g_squared=float(2 * m.exp() ** 2 * sigma * sigma_deriv),
        score_weight=score_weight,
        w=w,
        a=float((L_T - L + m - m_T).exp()),
        b=float(left * m.exp()),
        k=float((m - m_T).exp()),
        variance=float((sigma * scale) ** 2),
        left=float(left),
        excess=float(torch.expm1(L - L_T)),
    )
