"""InfoDiffusion: a DiffAE whose codes are drawn to N(0, I) by a kernel, so that one may sample them (ICML 2023).

    loss = mean_pixels (eps - eps_theta(x_t, t, z))^2 + mmd MMD(z, N(0, I)),    z = Enc(x0)

That is the objective of its paper for CelebA (zeta = 1, lambda = .1). Without the second term it is DiffAE bit for bit.

Two-phase generation: z is a draw from N(0, I), and the last steps are those of a plain diffusion model, which knows no
code and so suffers from no wrong one (`SamplerConfig.stop` is their share; .5 as published). A model has this phase if
it was trained beside a plain one, whose weights it carries as they are (`network_plain.*`).

Source: `isjakewong/InfoDiffusion`. DEVIATION: its loss adds 1/T of the error of an x_0 that is estimated from the clean
image and noise of another time, left out here. Its two-phase sampler counts steps in a variable that stays 0 where it
is read, so that every step is the plain model's; here as its paper says. Its `betas` are the schedule "infodiffusion".
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import Predict, Schedule, T, draw, noise_loss, sample
from baselines.method import Built, Load, Method
from baselines.methods.ddim import NoiseUNet, NormalPrior, on_plain_model
from baselines.methods.diffae import DiffAE, DiffAEConfig, small_presets
from baselines.options import ConfigOptions, in_sizes, require, unusual
from baselines.regularisers import RegularisedLoss, mmd
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig


@dataclasses.dataclass(frozen=True)
class InfoDiffusionConfig(DiffAEConfig):
    """A DiffAE, and:

    Attributes:
        mmd: weight of MMD in the loss.
        schedule: of beta; "infodiffusion" is the authors'.
        plain: the model carries a plain diffusion model of the same U-Net, for two-phase generation.

    Raises:
        UserError: a negative weight.
    """

    mmd: float = 0.1
    schedule: Schedule = "linear"
    plain: bool = False

    def __post_init__(self) -> None:
        require(self, "0 or more", lambda value: value >= 0, "mmd")


class InfoDiffusion(DiffAE):
    """An InfoDiffusion as a `RepresentationModel`. Its state dict is DiffAE's, and `network_plain.*` with two phases.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    config: InfoDiffusionConfig

    def __init__(self, config: InfoDiffusionConfig, *, name: str = "infodiffusion") -> None:
        super().__init__(config, name=name)
        self.schedule = config.schedule
        if config.plain:
            self.prior_stop = 0.5
            self.network_plain = NoiseUNet(config.unet, image_size=config.image_size).requires_grad_(False)

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """As `DiffAE.decode`; with `sampler.stop` the steps at times below stop 1000 are the plain model's.

        Raises:
            ValueError: `stop` without a plain model.
        """
        if sampler is None or not sampler.stop:
            return super().decode(z, x_T=x_T, sampler=sampler, noise=noise, progress=progress)
        if not self.config.plain:
            raise ValueError(f"{self.name} has no plain model for the steps after `stop`: train one with --pretrained")
        x_T = self.started(z, x_T, noise)
        phases = self._phases(z, sampler.stop * T)
        return sample(
            phases, x_T, self.schedule, dataclasses.replace(sampler, stop=0.0), noise=noise, progress=progress
        )

    def _phases(self, z: Tensor, since: float) -> Predict:
        """The network under z from time `since` on, the plain one before."""
        under_z = self.predictor(z)

        def predict(x: Tensor, t: int) -> Tensor:
            if t >= since:
                return under_z(x, t)
            return self.network_plain(x, torch.full((len(x),), t, device=x.device))

        return predict

    def train(self, mode: bool = True) -> InfoDiffusion:
        """The plain model stays in evaluation mode."""
        super().train(mode)
        if self.config.plain:
            self.network_plain.eval()
        return self


def loss(model: InfoDiffusion, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, eps, the samples of N(0, I), then dropout). MMD counts for every image."""
    t, noise = draw(x0, generator)
    z, _ = model.posterior(x0)  # `encode` has no gradient
    found = noise_loss(lambda x, t: model.network(x, t, z), model.schedule, x0, t, noise=noise)
    if not model.config.mmd:
        return RegularisedLoss(found.loss, found.mse)
    return RegularisedLoss(found.loss + model.config.mmd * mmd(noise.normal(z.shape), z), found.mse)


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class InfoDiffusionOptions(ConfigOptions):
    """What InfoDiffusion can be told.

    Attributes:
        mmd: weight of the maximum mean discrepancy between z and N(0, I) in the loss; 0.1 unless given.
        schedule: how the noise grows with time: linear, or as in InfoDiffusion's program.
        pretrained: checkpoint of a ddim to begin sampling with (two phases); its noise schedule is taken over.
    """

    mmd: float | None = None
    schedule: Literal["linear", "infodiffusion"] | None = None
    pretrained: str | None = None

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """With `pretrained`, a model that carries the plain network, of which it takes architecture and schedule."""
        if self.pretrained is None:
            return super().built(method, config, seed, name, load)
        return on_plain_model(self.pretrained, load, method, config, seed, name, part="network_plain", plain=True)


METHOD = Method(
    key="infodiffusion",
    label="InfoDiffusion",
    config=InfoDiffusionConfig,
    model=InfoDiffusion,
    loss=loss,
    presets=small_presets(partial(in_sizes, InfoDiffusionConfig)),
    options=InfoDiffusionOptions,
    variant=unusual,
    prior=lambda model: NormalPrior(model.latent_dim),
)
