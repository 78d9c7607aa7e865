"""Two processes between data and a prior, the bound on their distance, and its forms that can be computed.

    encoder    dX = u(t, X) dt + g dW,      X_0 ~ data,     rho_t its density
    decoder    dX = s(t, X) dt + g dW,      X_T ~ pi,       backwards in time
    bound      KL(data || decoder) <= KL(rho_T || pi) + int E |u - g^2 grad log rho - s|^2 / (2 g^2) dt

The first term is the prior loss, the second drift matching: a VAE whose latent is the whole path. Without rho, it is

    total      - H(data) - E log pi(X_T) + int E [ |u - s|^2 / (2 g^2) - div s ] dt                   `continuous_term`
    chain      - H(data) - E log pi(X_N) + sum_k E [ |X_k - X_{k+1} + h s(t_{k+1}, X_{k+1})|^2 / (2 g^2 h) - D / 2 ]
    regression of s(t_{k+1}, X_{k+1}) on (X_{k+1} - X_k) / h: the chain's terms, for s alone, on paths that are given

The chain is the bound of Euler's discretisation, X_{k+1} = X_k + h u(t_k, X_k) + g sqrt(h) xi_k, exactly, and needs no
divergence. Steps h may differ. Drifts are functions of times (b,) and states (b, ...); everything is per image.

Source: Kaba, Shimizu, Ohzeki and Sughiyama (arXiv 2412.18237), of which no program is public.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dbae.noise import Noise

Drift = Callable[[Tensor, Tensor], Tensor]
"""(t (b,), X (b, ...)) -> the drift there, like X."""


def times(steps: int, duration: float = 1.0, *, power: int = 1) -> list[float]:
    """T (k / N)^power for k = 0 .. N: evenly spaced, or with a power above 1 closer near the data."""
    return [duration * (k / steps) ** power for k in range(steps + 1)]


def walk(u: Drift, x0: Float[Tensor, "b ..."], grid: Sequence[float], g: float, noise: Noise) -> Iterator[Tensor]:
    """X_0, X_1, ..., X_N of the encoder at the times of `grid`; one draw of the shape of x0 a step."""
    x = x0
    yield x
    for t, after in itertools.pairwise(grid):
        h = after - t
        x = x + h * u(at(t, x), x) + g * math.sqrt(h) * noise.normal(x.shape).to(x)
        yield x


def walk_back(
    u: Drift,
    s: Drift,
    x_T: Float[Tensor, "b ..."],
    grid: Sequence[float],
    g: float,
    noise: Noise | None,
    eta: float = 1.0,
) -> Iterator[Tensor]:
    """X_N, ..., X_0 of the decoder; the last step is a mean.

    Where s is u - g^2 grad log rho, the drift u - (1 + eta^2) / 2 (u - s) under noise eta g has the same marginals:
    eta = 1 is the decoder, which asks s alone, and eta = 0 the flow, without noise.
    """
    x, share = x_T, (1 + eta * eta) / 2
    yield x
    for t, after in list(itertools.pairwise(grid))[::-1]:
        h, drift = after - t, s(at(after, x), x)
        x = x - h * (drift if eta == 1 else torch.lerp(u(at(t, x), x), drift, share))
        if eta and t > 0:
            if noise is None:
                raise ValueError("the decoder draws noise: pass `noise`, or eta 0")
            x = x + eta * g * math.sqrt(h) * noise.normal(x.shape).to(x)
        yield x


def flow(u: Drift, s: Drift, x0: Float[Tensor, "b ..."], grid: Sequence[float]) -> Tensor:
    """X_T of images, along the flow whose steps `walk_back` with eta = 0 takes back."""
    x = x0
    for t, after in itertools.pairwise(grid):
        x = x + (after - t) * torch.lerp(u(at(t, x), x), s(at(after, x), x), 0.5)
    return x


def chain_term(
    s: Tensor, x: Float[Tensor, "b ..."], after: Float[Tensor, "b ..."], h: float | Tensor, g: float
) -> Float[Tensor, " b"]:
    """What a step from x to `after` adds to the chain; s: the decoder's drift at `after` and its time."""
    return 0.5 * (square(x - after + h * s) / (g * g * h) - 1).flatten(1).sum(1)


def continuous_term(u: Tensor, s: Tensor, div_s: Float[Tensor, " b"], g: float) -> Float[Tensor, " b"]:
    """The integrand of the total, of both drifts and the decoder's divergence at one time."""
    return square(u - s).flatten(1).sum(1) / (2 * g * g) - div_s


def divergence(drift: Drift, t: Float[Tensor, " b"], x: Float[Tensor, "b d"]) -> tuple[Tensor, Float[Tensor, " b"]]:
    """The drift and its divergence, by one derivative for each of d dimensions: for small d."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        value = drift(t, x)
        rows = (torch.autograd.grad(value[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[1]))
        return value, torch.stack(list(rows)).sum(0)


def prior_term(x_T: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """- log pi(X_T) for pi = N(0, I)."""
    return 0.5 * (square(x_T) + math.log(2 * math.pi)).flatten(1).sum(1)


def chain(u: Drift, s: Drift, x0: Float[Tensor, "b ..."], grid: Sequence[float], g: float, noise: Noise) -> Tensor:
    """The chain of the module docstring, but - H(data), of each image: one path, along which gradients flow."""
    total = x0.new_zeros(len(x0))
    path = walk(u, x0, grid, g, noise)
    x = next(path)
    for before, t, after in zip(grid, grid[1:], path, strict=False):
        total = total + chain_term(s(at(t, after), after), x, after, t - before, g)
        x = after
    return total + prior_term(x)


def at(t: float, x: Tensor) -> Float[Tensor, " b"]:
    """t for every image."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def square(x: Tensor) -> Tensor:
    """x^2 in float32 at least."""
    return (x if x.dtype == torch.float64 else x.float()).square()
