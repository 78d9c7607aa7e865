"""The samplers of DDBM and of the DBAE paper: Euler and Heun from x_T itself, and the one-step prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dbae.samplers.base import NEAR_T, Sampler, time_grid
from dbae.samplers.drift import probability_flow, reverse_sde


class OneStep(Sampler):
    """D(y, T - 1e-4), the cheapest competitor in pixel error."""

    def times(self) -> Tensor:
        """T - 1e-4 and 0."""
        return torch.tensor([self.bridge.T - NEAR_T, 0.0], dtype=torch.float64)

    def step(self, x: Tensor, i: int) -> Tensor:
        """The prediction itself."""
        return self.D(x, self.t[i])


class DDBM(Sampler):
    """Euler or Heun on the probability flow, each step preceded by a churn step of the reverse SDE (DDBM, Alg. 1)."""

    def prepare(self) -> None:
        """The times that churn ends at, and the drifts at all times."""
        bridge, config = self.bridge, self.config
        churned = self.grid[:-1] + config.churn * self.grid.diff()
        self.t_hat: list[float] = churned.tolist()
        self.dt: list[float] = (self.grid[1:] - churned).tolist()
        self.sde = [reverse_sde(bridge, t, config.guidance) for t in self.t[:-1] if config.churn]
        self.ode = [probability_flow(bridge, t, config.guidance) for t in self.t_hat]
        self.ode_next = [probability_flow(bridge, t, config.guidance) for t in self.t[1:] if t > 0]

    def times(self) -> Tensor:
        """n times from T - 1e-4 down to t_min, karras unless asked otherwise, then 0."""
        kind = "karras" if self.config.karras else "uniform"
        dtype = torch.float32 if self.bridge.arithmetic == "reference" else torch.float64
        grid = time_grid(kind, self.bridge.T - NEAR_T, self.bridge.t_min, self.n, dtype, rho=self.config.rho)
        return torch.cat([grid, grid.new_zeros(1)])

    def step(self, x: Tensor, i: int) -> Tensor:
        """Churn by the reverse SDE, if any; then the ODE by Euler, corrected by Heun."""
        t, t_hat, t_next, dt = self.t[i], self.t_hat[i], self.t[i + 1], self.dt[i]
        if self.config.churn:
            sde, elapsed = self.sde[i], t_hat - t
            x = x + sde(x, self.D(x, t), self.x_T) * elapsed + self.normal() * math.sqrt(-elapsed * sde.g_squared)
            self.record(x)
        d = self.ode[i](x, self.D(x, t_hat), self.x_T)
        euler = x + d * dt
        if self.config.method == "ddbm_euler" or t_next == 0:
            return euler
        d_next = self.ode_next[i](euler, self.D(euler, t_next), self.x_T)
        return x + (d + d_next) * dt / 2
