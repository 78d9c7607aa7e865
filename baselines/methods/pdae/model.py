"""PDAE: a representation learned for a diffusion model that was there before (NeurIPS 2022, arXiv 2212.12990).

    z        = Enc(x0)                                                                                 (deterministic)
    eps, G   = ShiftUNet(x_t, t, z)        eps from the frozen model; G shifts the mean of its reverse process to x0
    loss     = mean_pixels w_t (eps_true - eps - c_t G)^2,    w_t = SNR^0.1 / (1 + SNR),  SNR = ab_t / (1 - ab_t)

Networks: `baselines.methods.pdae.networks`. From x_T to images and back, and c_t: `baselines.methods.pdae.sampling`.
The loss: `baselines.methods.pdae.objective`. Source: ckczzj/PDAE.

What papers call 280 M parameters counts the frozen model twice: ffhq128 has 181.1 M, 82.4 M of them trained.

DEVIATION: the paper prints the loss with eps_true - eps + c_t G; in code c_t is negative and added to eps.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.diffusion import DiffusionModel, Predict, Schedule, even_times
from baselines.methods import ddim
from baselines.methods.pdae import sampling as pdae_sampling
from baselines.methods.pdae.networks import FROZEN, PDAEEncoder, PDAEEncoderConfig, ShiftUNet
from baselines.methods.pdae.sampling import Heads
from dbae.networks.trunk import UNetConfig
from dbae.noise import Noise
from dbae.samplers import Sampled, SamplerConfig, steps_for
from dbae.support.errors import UserError

_M = TypeVar("_M", bound="PDAE")

GENERATION = SamplerConfig("ddim", nfe=100, stop=0.3)
"""How the reference makes images of drawn z: the last 30 % of the steps are the frozen model's alone."""


@dataclasses.dataclass(frozen=True)
class PDAEConfig:
    """Everything that fixes the function computed by a PDAE, but its weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z.
        unet: shape of the frozen model, which the second way up repeats.
        encoder: shape of the encoder.
        learn_sigma: the frozen model puts out a variance too, which nobody reads.
        schedule: of beta, the frozen model's.
    """

    image_size: int
    latent_dim: int
    unet: UNetConfig
    encoder: PDAEEncoderConfig
    learn_sigma: bool = False
    schedule: Schedule = "linear"


class PDAE(DiffusionModel):
    """A PDAE as a `RepresentationModel`. Its state dict is `encoder.*`, `decoder.*`, the frozen model included.

    Args:
        config: architecture.
        name: name used in result rows.
    """

    endpoints = ("random", "inferred")
    prior_stop = GENERATION.stop

    def __init__(self, config: PDAEConfig, *, name: str = "pdae") -> None:
        super().__init__(config, name=name)
        size, self.latent_dim, self.schedule = config.image_size, config.latent_dim, config.schedule
        self.encoder = PDAEEncoder(config.encoder, image_size=size, latent_dim=self.latent_dim)
        self.decoder = self.built_decoder()

    def built_decoder(self) -> ShiftUNet:
        """The network, fresh."""
        c = self.config
        return ShiftUNet(c.unet, image_size=c.image_size, latent_dim=c.latent_dim, learn_sigma=c.learn_sigma)

    @classmethod
    def on_pretrained(cls: type[_M], model: ddim.DDIM, config: PDAEConfig, seed: int, *, name: str) -> _M:
        """A PDAE with `model` as its frozen part and fresh weights, a function of `seed`, elsewhere.

        Args:
            config: architecture, for the images of `model`, whose network and schedule replace those of `config`.

        Raises:
            UserError: images of another size, or an additive time embedding, which leaves z no place in a block.
        """
        found = model.config
        if found.image_size != config.image_size or found.unet.additive:
            raise UserError(
                f"{model.name}: expected a pre-trained model of {config.image_size} px whose blocks are scaled by the "
                f"time, found one of {found.image_size} px{' that adds it' if found.unet.additive else ''}. Take the "
                "preset of its size, or train another model with `python -m baselines.train --method ddim`."
            )
        config = dataclasses.replace(config, unet=found.unet, learn_sigma=found.learn_sigma, schedule=found.schedule)
        pdae = cls.initialised(config, seed, name=name)
        for part in FROZEN:
            pdae.decoder.get_submodule(part).load_state_dict(model.network.get_submodule(part).state_dict())
        return pdae

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z = Enc(x) of images in [-1, 1], not normalised."""
        return self.encoder(x), None

    def heads(self, z: Float[Tensor, "b l"]) -> Heads:
        """(x, t, shift) -> eps, G of the decoder under z."""

        def heads(x: Tensor, t: int, shift: bool) -> tuple[Tensor, Tensor | None]:
            eps, G = self.decoder(x, torch.full((len(x),), t, device=x.device), z if shift else None)
            return eps[:, :3], G

        return heads

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """The shifted noise of DDIM; that of the frozen model without z."""
        if z is None:
            return lambda x, t: self.decoder(x, torch.full((len(x),), t, device=x.device))[0][:, :3]
        return pdae_sampling.ddim_noise(self.heads(z), self.schedule)

    def require_budget(self, sampler: SamplerConfig) -> None:
        """See `dbae.interface.LimitsBudgets`: ddim has any number of steps, ddpm 2 to 1000."""
        if sampler.method == "ddpm":
            even_times(steps_for(sampler))

    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """As `DiffusionModel.decode`, on the times of PDAE, from 999 to 0, the last state being `Sampled.raw`."""
        x_T = self.started(z, x_T, noise)
        config = sampler or SamplerConfig("ddim")
        heads, schedule = self.heads(z), self.schedule
        return pdae_sampling.decode(heads, x_T, config, schedule=schedule, noise=noise, progress=progress)

    def infer_endpoint(
        self, x: Float[Tensor, "b 3 s s"], z: Float[Tensor, "b l"] | None, *, steps: int
    ) -> tuple[Float[Tensor, "b 3 s s"], int]:
        """x_T at time 999 of images in [-1, 1] under z, by DDIM upwards; and the evaluations (999 at most)."""
        found = pdae_sampling.infer(self.predictor(z), x, steps, schedule=self.schedule)
        return found.raw, found.nfe


def celeba64() -> PDAEConfig:
    """64 px, 117.5 M parameters, 53.5 M of them trained. The shape of its U-Net is inferred: no paper prints it."""
    unet = dataclasses.replace(ddim.published_unet(64, (1, 2, 4, 8)), embedding=256)
    return PDAEConfig(64, 512, unet, PDAEEncoderConfig((64, 128, 128, 128)))


def ffhq128() -> PDAEConfig:
    """128 px (FFHQ, CelebA-HQ, LSUN Horse, LSUN Bedroom), 181.1 M parameters, 82.4 M of them trained."""
    return PDAEConfig(128, 512, ddim.published_unet(128, (1, 1, 2, 3, 4)), PDAEEncoderConfig((64, 128, 256, 256, 256)))


celebahq128 = horse128 = bedroom128 = ffhq128


def faces64() -> PDAEConfig:
    """64 px, latent 64, around `ddim.faces64`."""
    return PDAEConfig(64, 64, ddim.faces64().unet, PDAEEncoderConfig((48, 96, 128, 128), groups=16))


def faces64s() -> PDAEConfig:
    """64 px, latent 64, around `ddim.faces64s`."""
    return PDAEConfig(64, 64, ddim.faces64s().unet, PDAEEncoderConfig((32, 64, 96, 96), groups=16))


def faces32() -> PDAEConfig:
    """32 px, latent 32, around `ddim.faces32`."""
    return PDAEConfig(32, 32, ddim.faces32().unet, PDAEEncoderConfig((32, 64, 96), attention_size=8, groups=8))
