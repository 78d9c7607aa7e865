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
    dbim2, 3    the same, sample_dbim_high_order: multistep in lambda = log(b / c); local order  n + 1
                2 and 3, globally about 1.2: the first and the last step are of order 1, as published
    dbms2       snumprlab/dbmsolver, sample_dbmsolver: two stages in mu = -log rho               2 n
    one_step    D(y, T - 1e-4)                                                                   1

Scalars are Python floats computed on the host before the loop; images stay on their device and in their dtype.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dbae.bridge import Bridge
from dbae.noise import Noise
from dbae.samplers.base import Denoiser, Sampled, Sampler, time_grid
from dbae.samplers.config import (
    BOOTED_METHODS,
    BRIDGE_METHODS,
    DDBM_METHODS,
    OwnSampler,
    SamplerConfig,
    evaluations,
    sampler_of,
    steps_for,
)
from dbae.samplers.dbim import DBIM, MultistepDBIM
from dbae.samplers.dbmsolver import DBMSolver
from dbae.samplers.ddbm import DDBM, OneStep

__all__ = [
    "BOOTED_METHODS",
    "BRIDGE_METHODS",
    "DBIM",
    "DDBM",
    "DDBM_METHODS",
    "DBMSolver",
    "Denoiser",
    "MultistepDBIM",
    "OneStep",
    "OwnSampler",
    "Sampled",
    "Sampler",
    "SamplerConfig",
    "evaluations",
    "sample",
    "sampler_of",
    "steps_for",
    "time_grid",
]


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
        ValueError: noise is missing where it is needed, no method of a bridge, or bridge and config disagree
            about the end_data.
        NotFiniteError: an image becomes NaN or infinite.
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
        case "ddim" | "ddpm":
            raise ValueError(f"{config.method} starts at noise; a bridge starts at x_T: use one of {BRIDGE_METHODS}")
    return sampler.run(progress=progress, keep_path=keep_path).checked()
