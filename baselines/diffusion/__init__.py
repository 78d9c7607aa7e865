"""Diffusion models of the usual kind, from noise to data: what the methods that are one are made of.

process        schedules, times, the noised image, the loss of noise
samplers       DDIM, DDPM, and DDIM upwards
model          a diffusion model with a z, as the benchmarks take it
time_encoder   an encoder that is told the time
emphasis       times drawn unevenly
"""

from baselines.diffusion.model import DiffusionModel
from baselines.diffusion.process import (
    NoiseLoss,
    Process,
    Schedule,
    T,
    alpha_bar,
    draw,
    even_times,
    noise_loss,
    q_sample,
)
from baselines.diffusion.samplers import (
    DDIMSampler,
    DDPMSampler,
    Inversion,
    Predict,
    invert,
    require_unguided,
    sample,
    variance_of,
)
from baselines.diffusion.time_encoder import TimeEncoder
from dbae.samplers.strides import stride_times

__all__ = [
    "DDIMSampler",
    "DDPMSampler",
    "DiffusionModel",
    "Inversion",
    "NoiseLoss",
    "Predict",
    "Process",
    "Schedule",
    "T",
    "TimeEncoder",
    "alpha_bar",
    "draw",
    "even_times",
    "invert",
    "noise_loss",
    "q_sample",
    "require_unguided",
    "sample",
    "stride_times",
    "variance_of",
]
