"""How an SB-VAE is trained, and its presets on the shared trunk.

    loss = ( -log pi(X_N) + sum_k of the chain's terms ) / D                    nats a number, but for - H(data) / D

One batch of `drift_every` sends gradients along whole paths, to U and S; its states are computed twice rather than
kept. In the others a path is given, and S is trained at one of its steps, drawn for each image and weighted by N: the
same loss in expectation. From `drift_images` on that is all there is.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from baselines.method import Method, Preset
from baselines.methods import ddim
from baselines.methods.ddim import DDIMConfig, NormalPrior
from baselines.methods.sb_vae import bridge
from baselines.methods.sb_vae.model import SBVAE, SBVAEConfig
from baselines.options import ConfigOptions, differences
from baselines.regularisers import RegularisedLoss
from dbae.noise import GeneratorNoise
from dbae.training.config import SMALL_PRESETS


def loss(model: SBVAE, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: the path's noise, then the step). `mse` is that of a step's start, in g^2 h."""
    c, noise = model.config, GeneratorNoise(generator)
    # Asking the device how far training is costs little beside N evaluations one after another.
    drifts = c.drift_images and int(model.images_seen) < c.drift_images and int(model.batches) % c.drift_every == 0
    with torch.set_grad_enabled(torch.is_grad_enabled() and bool(drifts)):
        u = functools.partial(checkpoint, model.u, use_reentrant=False) if drifts else model.u
        path = list(bridge.walk(u, x0, c.grid, c.g, noise))
        prior = bridge.prior_term(path[-1])
    if drifts:
        s = functools.partial(checkpoint, model.s, use_reentrant=False)
        steps = zip(c.grid, c.grid[1:], path, path[1:], strict=False)
        found = [bridge.chain_term(s(bridge.at(t, b), b), a, b, t - before, c.g) for before, t, a, b in steps]
        terms = torch.stack(found).sum(0)
    else:
        terms = _one_step(model, path, generator)
    if model.training:
        model.images_seen += len(x0)
        model.batches += 1
        model.follow(path[-1])
    mse = 1 + 2 * terms.detach() / (c.steps * c.size)
    return RegularisedLoss((prior + terms) / c.size, mse)


def _one_step(model: SBVAE, path: list[Tensor], generator: torch.Generator) -> Float[Tensor, " b"]:
    """The chain's terms, estimated by one of them for each image."""
    c, b = model.config, len(path[0])
    k = torch.randint(c.steps, (b,), generator=generator, device=generator.device)
    grid = torch.tensor(c.grid, dtype=torch.float32, device=k.device)
    states, images = torch.stack(path), torch.arange(b, device=k.device)
    before, after, t = states[k, images], states[k + 1, images], grid[k + 1]
    h = (t - grid[k])[:, None, None, None]
    return c.steps * bridge.chain_term(model.s(t, after), before, after, h, c.g)


@dataclasses.dataclass(frozen=True)
class SBVAEOptions(ConfigOptions):
    """What SB-VAE can be told. None keeps the preset's value.

    Attributes:
        g: strength of the noise; over the whole time it leaves exp(-g^2 / 2) of an image.
        steps: number of steps of the chain from image to z.
        drift_every: one of so many batches trains the encoder's drift, along whole paths.
        drift_images: training images after which the encoder's drift stays as it is; 0 makes a score model.
    """

    g: float | None = None
    steps: int | None = None
    drift_every: int | None = None
    drift_images: int | None = None


def sized_as(config: DDIMConfig, latent_dim: int) -> SBVAEConfig:
    """The configuration on the trunk of a plain diffusion model. Its drifts drop nothing out: noise is g's alone."""
    return SBVAEConfig(config.image_size, latent_dim, dataclasses.replace(config.unet, dropout=0.0))


METHOD = Method(
    key="sb_vae",
    label="SB-VAE",
    config=SBVAEConfig,
    model=SBVAE,
    loss=loss,
    presets={
        "faces64": Preset(lambda: sized_as(ddim.faces64(), 64), SMALL_PRESETS["faces64"]),
        "faces64s": Preset(lambda: sized_as(ddim.faces64s(), 64), SMALL_PRESETS["faces64s"]),
        "faces32": Preset(lambda: sized_as(ddim.faces32(), 32), SMALL_PRESETS["faces32"]),
    },
    options=SBVAEOptions,
    variant=lambda config: differences(config, SBVAEConfig(config.image_size, config.latent_dim, config.unet)),
    prior=lambda model: NormalPrior(model.latent_dim),
    least=lambda config: 2 if config.latent_dim < config.size else 1,  # the directions are those of a covariance
)
