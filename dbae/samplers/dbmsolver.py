"""DBMSolver (`snumprlab/dbmsolver`): a second-order singlestep method."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.noise import Noise
from dbae.samplers.base import NEAR_T, Denoiser, time_grid
from dbae.samplers.config import SamplerConfig
from dbae.samplers.dbim import BootedSampler
from dbae.samplers.drift import probability_flow


class DBMSolver(BootedSampler):
    """Linear in mu = -log rho through D at s and at a midpoint m; w = sqrt(1 / u - 1).

    x_t = [order 1 with D_s] + c_t / rho_T I (D_m - D_s) / (mu_m - mu_s),
    I = (mu_t - mu_s) w_t - (w_t - w_s) + atan w_t - atan w_s. The last step, to t = 0, is Euler on the flow.

    The midpoint is halfway in mu ("lambda", the reference's choice for DIODE) or in t ("time", for edges2handbags).
    """

    def __init__(
        self,
        denoise: Denoiser,
        x_T: Tensor,
        bridge: Bridge,
        config: SamplerConfig,
        noise: Noise | None,
        midpoint: Literal["lambda", "time"] = "lambda",
    ) -> None:
        self.midpoint = midpoint
        super().__init__(denoise, x_T, bridge, config, noise)

    def prepare(self) -> None:
        """Also rho at T and the drift of the last step, which goes to 0 by Euler."""
        super().prepare()
        self.rho_T = float(self.bridge.rho_squared(self.bridge.on_host(self.bridge.T)).sqrt())
        self.last_drift = probability_flow(self.bridge, self.t[-2])

    def times(self) -> Tensor:
        """The steps' times and their midpoints, interleaved; 0 at the end."""
        kind = "karras" if self.config.karras else "uniform"
        grid = time_grid(kind, self.bridge.T - NEAR_T, self.bridge.t_min, self.n, rho=self.config.rho)
        if self.midpoint == "time":
            middle = (grid[1:] + grid[:-1]) / 2
        else:
            rho = self.bridge.rho_squared(grid).sqrt()
            geometric = (rho[1:] * rho[:-1]).sqrt().tolist()
            middle = torch.tensor([self.bridge.time_at(v) for v in geometric], dtype=grid.dtype)
        return torch.cat([torch.stack([grid[:-1], middle], 1).flatten(), grid[-1:], grid.new_zeros(1)])

    def step(self, x: Tensor, i: int) -> Tensor:
        """From s to t by way of m between them; the last is an Euler step."""
        s, m, t = 2 * i, 2 * i + 1, 2 * i + 2
        D_s = self.D(x, self.t[s])
        if i == self.n - 1:
            return x - self.t[s] * self.last_drift(x, D_s, self.x_T)
        D_m = self.D(self.order_1(x, D_s, s, m), self.t[m])
        w_s, w_t = (self.c[j] * self.rho_T / (self.alpha[j] * self.rho[j] ** 2) for j in (s, t))
        mu_s, mu_m, mu_t = (-math.log(self.rho[j]) for j in (s, m, t))
        integral = (mu_t - mu_s) * w_t - (w_t - w_s) + math.atan(w_t) - math.atan(w_s)
        slope = (D_m - D_s) / (mu_m - mu_s)
        return self.order_1(x, D_s, s, t) + self.c[t] / self.rho_T * integral * slope
