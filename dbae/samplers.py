"""Samplers: from the endpoint x_T to an image, given a denoiser D(x, t) that predicts x_0.

Symbols a, b, c, alpha, rho, u as in `dbae.bridge`; y = x_T; a step goes from time s down to t; r = c_t / c_s. For D
frozen at s the flow of the bridge has the exact solution

    x_t = r x_s + (b_t - r b_s) D_s + (a_t - r a_s) y                                                          (order 1)

and every booted method below is a better quadrature of its D term. A booted method cannot start at T, where the bridge
is a point mass: it first jumps to x_{t_0} = a y + b D(y, T) + c eps. With eps = 0 (`boot_noise=False`) it approximates
a posterior mean, like the DDBM samplers without churn, which start at y itself; with eps ~ N(0, I) it draws a sample.

    method      after                                                                            evaluations, n steps
    ddbm_euler  DBAE, ddbm/karras_diffusion.py: Euler on the flow, to t = 0                      n; churn: 2 n
    ddbm_heun   the same with Heun's corrector, except in the step to 0                          2 n - 1; churn: 3 n - 1
    dbim        thu-ml/DiffusionBridge, sample_dbim: order 1; eta = 1 is the Markovian posterior n + 1
    dbim2, 3    the same, sample_dbim_high_order: multistep in lambda = log(b / c)               n + 1
    dbms2       snumprlab/dbmsolver, sample_dbmsolver: two stages in mu = -log rho               2 n
    one_step    D(y, T - 1e-4)                                                                   1

Scalars are Python floats computed on the host before the loop; images stay on their device and in their dtype.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from dbae.bridge import Bridge
from dbae.drift import probability_flow, reverse_sde
from dbae.noise import Noise
from dbae.sampler_config import DDBM_METHODS, SamplerConfig, evaluations, steps_for

__all__ = ["Denoiser", "Sampled", "Sampler", "SamplerConfig", "evaluations", "sample", "steps_for", "time_grid"]

Denoiser = Callable[[Tensor, float], Tensor]

_NEAR_T = 1e-4  # T minus the first time of the DDBM grid, where even end_data = 0 has a finite preconditioning


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Result of a run.

    images: clamped to [-1, 1]; raw: the same before the clamp; nfe: counted evaluations;
    path: with `keep_path`, every unclamped state from x_T to raw, those after churn and booting included.
    """

    images: Float[Tensor, "b c h w"]
    nfe: int
    raw: Float[Tensor, "b c h w"]
    path: list[Tensor] | None = None


def sample(
    denoise: Denoiser,
    x_T: Float[Tensor, "b c h w"],
    bridge: Bridge,
    config: SamplerConfig,
    *,
    noise: Noise | None = None,
    progress: bool = False,
    keep_path: bool = False,
) -> Sampled:
    """Runs the configured sampler from x_T.

    Args:
        denoise: D(x, t) with one Python float t for the batch, already conditioned on x_T and z, unclamped.
        x_T: endpoint; images keep its dtype and device.
        bridge: schedule; its `end_data` must be the config's. Its "reference" arithmetic concerns ddbm_* alone.
        config: method and options.
        noise: source of every draw, each of the shape of x_T: one for booting, then one a step (churn, dbim).
        progress: show a bar.
        keep_path: return the states as well.

    Raises:
        ValueError: noise is missing where it is needed, or bridge and config disagree about `end_data`.
    """
    if bridge.end_data != config.end_data:
        raise ValueError(f"the bridge has end_data {bridge.end_data}, the sampler config {config.end_data}")
    sampler: Sampler
    match config.method:
        case "ddbm_euler" | "ddbm_heun":
            sampler = DDBM(denoise, x_T, bridge, config, noise)
        case "dbim":
            sampler = DBIM(denoise, x_T, bridge, config, noise)
        case "dbim2" | "dbim3":
            sampler = MultistepDBIM(denoise, x_T, bridge, config, noise)
        case "dbms2":
            sampler = DBMSolver(denoise, x_T, bridge, config, noise)
        case "one_step":
            sampler = OneStep(denoise, x_T, bridge, config, noise)
    return sampler.run(progress=progress, keep_path=keep_path)


def time_grid(kind: str, start: float, stop: float, n: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, " n"]:
    """Spaces n times from start down to stop; n = 1 gives start.

    Kinds: "karras" (Karras et al. 2022, Eq. 5, exponent 7) or "uniform".
    """
    ramp = torch.linspace(0, 1, n, dtype=dtype)
    if kind == "uniform":
        return start + ramp * (stop - start)
    first, last = start ** (1 / 7), stop ** (1 / 7)
    return (first + ramp * (last - first)) ** 7


class Sampler(ABC):
    """One run: owns the grid `t`, the loop, the progress bar and the count of evaluations. A method is one `step`."""

    def __init__(
        self, denoise: Denoiser, x_T: Tensor, bridge: Bridge, config: SamplerConfig, noise: Noise | None
    ) -> None:
        if config.method not in DDBM_METHODS:  # the public programs of the other methods are float64 throughout
            bridge = dataclasses.replace(bridge, arithmetic="float64")
        self.denoise, self.x_T, self.bridge, self.config, self.noise = denoise, x_T, bridge, config, noise
        self.n = steps_for(config)
        self.grid = self.times()
        self.t: list[float] = self.grid.tolist()
        self.nfe = 0
        self.path: list[Tensor] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Computes the scalars of every step; a method without any has nothing to prepare."""
        return

    @abstractmethod
    def times(self) -> Tensor:
        """The n + 1 times of n steps, decreasing, on the host."""

    @abstractmethod
    def step(self, x: Tensor, i: int) -> Tensor:
        """The state at t[i + 1] from the state x at t[i]."""

    def start(self) -> Tensor:
        """The state at t[0]."""
        return self.x_T

    def D(self, x: Tensor, t: float) -> Tensor:
        """The prediction of x_0, counted and clamped."""
        self.nfe += 1
        D = self.denoise(x, t)
        return D.clamp(-1, 1) if self.config.clip_denoised else D

    def normal(self) -> Tensor:
        """The next draw, in the dtype of the images."""
        if self.noise is None:
            raise ValueError(f"{self.config} draws noise: pass `noise`")
        return self.noise.normal(self.x_T.shape).to(self.x_T)

    def record(self, x: Tensor) -> Tensor:
        """Appends x to the path, if one is kept."""
        if self.path is not None:
            self.path.append(x)
        return x

    @torch.no_grad()
    def run(self, *, progress: bool = False, keep_path: bool = False) -> Sampled:
        """The loop."""
        self.nfe, self.path = 0, [self.x_T] if keep_path else None
        x = self.start()
        for i in tqdm(range(self.n), desc=self.config.method, leave=False, disable=not progress):
            x = self.record(self.step(x, i))
        return Sampled(x.clamp(-1, 1), self.nfe, x, self.path)


class OneStep(Sampler):
    """D(y, T - 1e-4), the cheapest competitor in pixel error."""

    def times(self) -> Tensor:
        return torch.tensor([self.bridge.T - _NEAR_T, 0.0], dtype=torch.float64)

    def step(self, x: Tensor, i: int) -> Tensor:
        return self.D(x, self.t[i])


class DDBM(Sampler):
    """Euler or Heun on the probability flow, each step preceded by a churn step of the reverse SDE (DDBM, Alg. 1)."""

    def prepare(self) -> None:
        bridge, config = self.bridge, self.config
        churned = self.grid[:-1] + config.churn * self.grid.diff()
        self.t_hat: list[float] = churned.tolist()
        self.dt: list[float] = (self.grid[1:] - churned).tolist()
        self.sde = [reverse_sde(bridge, t, config.guidance) for t in self.t[:-1] if config.churn]
        self.ode = [probability_flow(bridge, t, config.guidance) for t in self.t_hat]
        self.ode_next = [probability_flow(bridge, t, config.guidance) for t in self.t[1:] if t > 0]

    def times(self) -> Tensor:
        kind = "karras" if self.config.grid == "native" else self.config.grid
        dtype = torch.float32 if self.bridge.arithmetic == "reference" else torch.float64
        grid = time_grid(kind, self.bridge.T - _NEAR_T, self.bridge.t_min, self.n, dtype)
        return torch.cat([grid, grid.new_zeros(1)])

    def step(self, x: Tensor, i: int) -> Tensor:
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


class BootedSampler(Sampler):
    """Jumps off x_T by one stochastic step to t_0."""

    def prepare(self) -> None:
        self.a, self.b, self.c = (v.tolist() for v in self.bridge.coefficients(self.grid))
        self.rho: list[float] = self.bridge.rho_squared(self.grid).sqrt().tolist()
        self.alpha: list[float] = self.bridge.log_alpha(self.grid).exp().tolist()

    def start(self) -> Tensor:
        # With end_data = 0 the preconditioning is singular at T (c_in is infinite).
        T = self.bridge.T if self.config.end_data else self.bridge.T - _NEAR_T
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
        kind = "uniform" if self.config.grid == "native" else self.config.grid
        return time_grid(kind, self.bridge.T - 1e-3, self.bridge.t_min, self.n + 1)

    def step(self, x: Tensor, i: int) -> Tensor:
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
        super().prepare()
        self.order = 2 if self.config.method == "dbim2" else 3
        self.lam = [math.log(b / c) for b, c in zip(self.b, self.c, strict=True)]
        self.history: list[Tensor] = []  # predictions at the times before s, latest first

    def start(self) -> Tensor:
        self.history = []
        return super().start()

    def step(self, x: Tensor, i: int) -> Tensor:
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
        super().prepare()
        self.rho_T = float(self.bridge.rho_squared(self.bridge.on_host(self.bridge.T)).sqrt())
        self.last_drift = probability_flow(self.bridge, self.t[-2])

    def times(self) -> Tensor:
        """The steps' times and their midpoints, interleaved; 0 at the end."""
        kind = "karras" if self.config.grid == "native" else self.config.grid
        grid = time_grid(kind, self.bridge.T - _NEAR_T, self.bridge.t_min, self.n)
        if self.midpoint == "time":
            middle = (grid[1:] + grid[:-1]) / 2
        else:
            rho = self.bridge.rho_squared(grid).sqrt()
            geometric = (rho[1:] * rho[:-1]).sqrt().tolist()
            middle = torch.tensor([self.bridge.time_at(v) for v in geometric], dtype=grid.dtype)
        return torch.cat([torch.stack([grid[:-1], middle], 1).flatten(), grid[-1:], grid.new_zeros(1)])

    def step(self, x: Tensor, i: int) -> Tensor:
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
