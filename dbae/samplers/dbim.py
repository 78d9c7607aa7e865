"""Samplers that first jump off x_T, and the DBIM family among them (`thu-ml/DiffusionBridge`)."""

from __future__ import annotations

import math

from torch import Tensor

from dbae.samplers.base import NEAR_T, Sampler, time_grid


class BootedSampler(Sampler):
    """Jumps off x_T by one stochastic step to t_0."""

    def prepare(self) -> None:
        """a, b, c, rho and alpha at the times of the grid."""
        self.a, self.b, self.c = (v.tolist() for v in self.bridge.coefficients(self.grid))
        self.rho: list[float] = self.bridge.rho_squared(self.grid).sqrt().tolist()
        self.alpha: list[float] = self.bridge.log_alpha(self.grid).exp().tolist()

    def start(self) -> Tensor:
        """x at the grid's first time, from a prediction at x_T."""
        # With end_data = 0 the preconditioning is singular at T (c_in is infinite).
        T = self.bridge.T if self.config.end_data else self.bridge.T - NEAR_T
        x = self.a[0] * self.x_T + self.b[0] * self.D(self.x_T, T)
        return self.record(x + self.c[0] * self.normal() if self.config.boot_noise else x)

    def order_1(self, x: Tensor, D: Tensor, s: int, t: int, r: float | None = None) -> Tensor:
        """The exact step from t[s] to t[t] for a frozen D; r = c_t / c_s, less where noise is to be added."""
        r = self.c[t] / self.c[s] if r is None else r
        return r * x + (self.b[t] - r * self.b[s]) * D + (self.a[t] - r * self.a[s]) * self.x_T


class DBIM(BootedSampler):
    """First order with any eta: x_t = k x + (b_t - k b_s) D + (a_t - k a_s) y + g n, no noise in the last step.

    g = eta alpha_t rho_t sqrt(1 - rho_t^2 / rho_s^2),  k^2 = (c_t^2 - g^2) / c_s^2.
    """

    def times(self) -> Tensor:
        """n + 1 times from T - 1e-3 down to t_min, uniform unless asked otherwise."""
        kind = "karras" if self.config.karras else "uniform"
        return time_grid(kind, self.bridge.T - 1e-3, self.bridge.t_min, self.n + 1, rho=self.config.rho)

    def step(self, x: Tensor, i: int) -> Tensor:
        """From time s to t; k carries the noise of x_s over, g adds new."""
        s, t, eta = i, i + 1, self.config.eta
        g = eta * self.alpha[t] * self.rho[t] * math.sqrt(1 - (self.rho[t] / self.rho[s]) ** 2)
        k = math.sqrt(self.c[t] ** 2 - g**2) / self.c[s]
        x = self.order_1(x, self.D(x, self.t[s]), s, t, k)
        if eta == 0 and self.noise is None:
            return x
        n = self.normal()  # at every step, used or not: runs that differ in eta share their draws
        return x + g * n if i < self.n - 1 else x


class MultistepDBIM(DBIM):
    """Polynomial in lambda through the last 2 or 3 predictions.

    With h = lam_t - lam_s, q = 1 - e^-h, base = r x + (a_t - r a_s) y and divided differences F1, F2 of D at s:
    x_t = base + b_t [q D + (e^-h + h - 1) F1 + (h^2 / 2 - h + 1 - e^-h) F2]. First and last step are of order 1.
    """

    def prepare(self) -> None:
        """Also half log SNRs, lambda, and the order."""
        super().prepare()
        self.order = 2 if self.config.method == "dbim2" else 3
        self.lam = [math.log(b / c) for b, c in zip(self.b, self.c, strict=True)]
        self.history: list[Tensor] = []  # predictions at the times before s, latest first

    def start(self) -> Tensor:
        """As of any booted sampler, without a history."""
        self.history = []
        return super().start()

    def step(self, x: Tensor, i: int) -> Tensor:
        """A first-order step, corrected by differences of predictions; the first and the last stay of first order."""
        s, t, lam = i, i + 1, self.lam
        D, history = self.D(x, self.t[s]), self.history
        self.history = [D, *history][: self.order - 1]
        x = self.order_1(x, D, s, t)
        if i in (0, self.n - 1):
            return x
        h, h1 = lam[t] - lam[s], lam[s] - lam[s - 1]
        F1, decay = (D - history[0]) / h1, -math.expm1(-h)
        if len(history) == 1:
            return x + self.b[t] * (h - decay) * F1
        h2 = lam[s - 1] - lam[s - 2]
        A1, A2 = F1, (history[0] - history[1]) / h2
        F1 = (A1 * (2 * h1 + h2) - A2 * h1) / (h1 + h2)
        F2 = 2 * (A1 - A2) / (h1 + h2)
        return x + self.b[t] * ((h - decay) * F1 + (h**2 / 2 - h + decay) * F2)
