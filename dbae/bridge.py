"""Diffusion bridges from an image x_0 to its endpoint x_T: VP and VE, one page of formulas.

Base process (T = 1 for VP, T = sigma_max for VE), with alpha the signal scale and rho = noise / signal:

    VP  f = -beta(t) x / 2, g^2 = beta(t) = beta_min + beta_d t
        alpha = exp(-beta_d t^2 / 4 - beta_min t / 2),  rho^2 = expm1(beta_d t^2 / 2 + beta_min t)
    VE  f = 0, g^2 = 2 t,   alpha = 1,  rho = t

Doob's h-transform pins it to x_T (paper Eq. 5). With u = rho_t^2 / rho_T^2 = SNR_T / SNR_t the marginal is

    q(x_t | x_0, x_T) = N(a_t x_T + b_t x_0, c_t^2 I)
    a_t = u alpha_t / alpha_T,   b_t = alpha_t (1 - u),   c_t = alpha_t rho_t sqrt(1 - u)      [c_t: standard deviation]

Preconditioning of the x_0 prediction D (DDBM, after Karras et al. 2022), sd = sigma_data, se = end_data, cov = cov_xy:

    A      = a^2 se^2 + b^2 sd^2 + 2 a b cov + c^2                [variance of x_t if x_0 and x_T have these moments]
    c_in   = A^(-1/2),  c_skip = (b sd^2 + a cov) / A,  c_out = sqrt(a^2 (se^2 sd^2 - cov^2) + sd^2 c^2) c_in
    D(x_t, t, x_T, z) = c_out F(c_in x_t, 250 log t, x_T, z) + c_skip x_t;   loss weight w = 1 / c_out^2

Source of constants and of the reference evaluation order: aailab-kaist/DBAE, ddbm/karras_diffusion.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

Network = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Three = tuple[Tensor, Tensor, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Bridge:
    """A schedule, its preconditioning and its loss weight.

    Every function of time takes a tensor, or a Python float for values on the host (and returns what it took).

    Args:
        mode: base process.
        end_data: assumed std of x_T in the preconditioning. Trained with 0.5.
            DEVIATION: the released evaluation scripts omit the flag and so sample with 0.0; then t = T is singular.
        sigma_data: assumed std of x_0. cov_xy: assumed covariance of x_0 and x_T.
        beta_d, beta_min: VP noise rate, beta_max = beta_min + beta_d. sigma_min, sigma_max: VE time range.
        preconditioned: False gives c_skip = 0, c_out = c_in = w = 1 (the reference's `vp_simple`, `ve_simple`).
        arithmetic: "float64" evaluates the closed forms above in float64 whatever the dtype of t. "reference" repeats
            the public code's operations in the dtype of t, cancellation included (float32: 1e-3 relative at t = 1e-4).
    """

    mode: Literal["vp", "ve"] = "vp"
    end_data: float = 0.5
    sigma_data: float = 0.5
    cov_xy: float = 0.0
    beta_d: float = 2.0
    beta_min: float = 0.1
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    preconditioned: bool = True
    arithmetic: Literal["float64", "reference"] = "float64"

    @property
    def T(self) -> float:
        """Time of the endpoint."""
        return 1.0 if self.mode == "vp" else self.sigma_max

    @property
    def t_min(self) -> float:
        """Smallest time of training and of the samplers."""
        return 1e-4 if self.mode == "vp" else self.sigma_min

    # --- base process -------------------------------------------------------------------------------------------

    def log_alpha(self, t: Tensor) -> Tensor:
        """The log of alpha_t, in the dtype of t."""
        return -0.25 * t**2 * self.beta_d - 0.5 * t * self.beta_min if self.mode == "vp" else torch.zeros_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """-2 log rho_t, in the dtype of t."""
        return -self.rho_squared(t).log()

    def rho_squared(self, t: Tensor) -> Tensor:
        """1 / SNR_t, in the dtype of t."""
        if self.mode == "ve":
            return t**2
        exponent = self._exponent(t)
        return exponent.exp() - 1 if self.arithmetic == "reference" else exponent.expm1()

    def time_at(self, rho: float) -> float:
        """The time t with rho_t = rho."""
        if self.mode == "ve":
            return rho
        return (math.sqrt(self.beta_min**2 + 2 * self.beta_d * math.log1p(rho**2)) - self.beta_min) / self.beta_d

    def _exponent(self, t: Tensor) -> Tensor:
        return 0.5 * self.beta_d * t**2 + self.beta_min * t

    # --- marginal -----------------------------------------------------------------------------------------------

    @overload
    def coefficients(self, t: float) -> tuple[float, float, float]: ...
    @overload
    def coefficients(self, t: Tensor) -> Three: ...
    def coefficients(self, t: float | Tensor) -> tuple[float, float, float] | Three:
        """a_t, b_t and the standard deviation c_t for t in [0, T]; shape and dtype of t."""
        if not isinstance(t, Tensor):
            a, b, c = self._coefficients(self.on_host(t))
            return float(a), float(b), float(c)
        a, b, c = self._coefficients(self._working(t))
        return a.to(t.dtype), b.to(t.dtype), c.to(t.dtype)

    def on_host(self, t: float) -> Tensor:
        """A time as a scalar tensor on the CPU, of the dtype in which `arithmetic` works."""
        return torch.tensor(t, dtype=torch.float32 if self.arithmetic == "reference" else torch.float64)

    def _working(self, t: Tensor) -> Tensor:
        return t if self.arithmetic == "reference" else t.double()

    def _coefficients(self, t: Tensor) -> Three:
        if self.arithmetic == "reference":
            return self._reference_coefficients(t)
        u, left = self.snr_ratio(t)
        alpha, alpha_T = self.log_alpha(t).exp(), self.log_alpha(self._T(t)).exp()
        return alpha / alpha_T * u, alpha * left, alpha * (self.rho_squared(t) * left).sqrt()

    def _T(self, t: Tensor) -> Tensor:
        return torch.tensor(self.T, dtype=t.dtype)

    def snr_ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The ratio u = SNR_T / SNR_t, and 1 - u; the latter without the cancellation at T, through T - t."""
        T = self._T(t)
        if self.mode == "ve":
            return (t / T) ** 2, (T - t) * (T + t) / T**2
        rho_squared_T = self.rho_squared(T)
        exponent_left = (T - t) * (0.5 * self.beta_d * (T + t) + self.beta_min)
        return self.rho_squared(t) / rho_squared_T, self._exponent(t).exp() * exponent_left.expm1() / rho_squared_T

    def _reference_coefficients(self, t: Tensor) -> Three:
        T = torch.tensor(self.T, dtype=torch.float32)  # even when t is float64, as in the public code
        if self.mode == "ve":
            left = 1 - t**2 / T**2
            return t**2 / T**2, left, t * left.sqrt()
        L, L_T, m, m_T = self.log_snr(t), self.log_snr(T), self.log_alpha(t), self.log_alpha(T)
        left = -torch.expm1(L_T - L)
        return (L_T - L + m - m_T).exp(), left * m.exp(), left.sqrt() * (m - L / 2).exp()

    # --- denoiser and training ----------------------------------------------------------------------------------

    @overload
    def scalings(self, t: float) -> tuple[float, float, float, float]: ...
    @overload
    def scalings(self, t: Tensor) -> Four: ...
    def scalings(self, t: float | Tensor) -> tuple[float, float, float, float] | Four:
        """c_skip, c_out, c_in, c_noise for t in (0, T]; shape and dtype of t. Singular at T if end_data is 0."""
        if not isinstance(t, Tensor):
            skip, out, into, noise = self._scalings(self.on_host(t))
            return float(skip), float(out), float(into), float(noise)
        skip, out, into, noise = self._scalings(self._working(t))
        return skip.to(t.dtype), out.to(t.dtype), into.to(t.dtype), noise.to(t.dtype)

    def _scalings(self, t: Tensor) -> Four:
        c_noise = 250.0 * (t + 1e-44).log()
        if not self.preconditioned:
            return torch.zeros_like(t), torch.ones_like(t), torch.ones_like(t), c_noise
        variance, covariance, determinant = self._moments(t)
        c_in = 1 / variance.sqrt()
        return covariance / variance, determinant.sqrt() * c_in, c_in, c_noise

    def _moments(self, t: Tensor) -> Three:
        """Of the pair (x_0, x_t) as assumed: variance A of x_t, covariance, determinant of the covariance matrix."""
        a, b, c = self._coefficients(t)
        sd, se, cov = self.sigma_data, self.end_data, self.cov_xy
        variance = a**2 * se**2 + b**2 * sd**2 + 2 * a * b * cov + c**2
        return variance, b * sd**2 + a * cov, a**2 * (se**2 * sd**2 - cov**2) + sd**2 * c**2

    def weight(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Loss weight `bridge_karras`, 1 / c_out^2; ones when not preconditioned."""
        if not self.preconditioned:
            return torch.ones_like(t)
        variance, _, determinant = self._moments(self._working(t))
        return (variance / determinant).to(t.dtype)

    def sample_times(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draws n training times, uniform on [t_min, T], on the generator's device."""
        uniform = torch.rand(n, generator=generator, device=generator.device)
        return (self.t_min + uniform * (self.T - self.t_min)).clamp(max=self.T)

    def sample(
        self,
        x0: Float[Tensor, "b c h w"],
        x_T: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"],
        eps: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b c h w"]:
        """x_t ~ q(x_t | x_0, x_T) from standard normal eps; differentiable in x_0 and x_T."""
        a_t, b_t, c_t = (v.to(x0.dtype)[:, None, None, None] for v in self.coefficients(t))
        return a_t * x_T + b_t * x0 + c_t * eps

    def denoise(
        self,
        network: Network,
        x_t: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | float,
        x_T: Float[Tensor, "b c h w"],
        z: Float[Tensor, "b l"],
    ) -> Float[Tensor, "b c h w"]:
        """D(x_t, t, x_T, z), unclamped, of `network(c_in x_t, c_noise, x_T, z)`; x_T enters the network unscaled.

        One time for the whole batch is best given as a float: its scalings are then computed on the host.
        """
        if not isinstance(t, Tensor):
            c_skip, c_out, c_in, c_noise = self.scalings(t)
            return c_out * network(c_in * x_t, x_t.new_full((len(x_t),), c_noise), x_T, z) + c_skip * x_t
        *scalings, c_noises = (v.to(x_t.dtype) for v in self.scalings(t))
        skip, out, into = (v[:, None, None, None] for v in scalings)
        return out * network(into * x_t, c_noises, x_T, z) + skip * x_t
