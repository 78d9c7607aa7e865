"""Plain diffusion models: a U-Net that predicts the noise in x_t, the DDIM and DDPM rows of the tables.

    eps_theta(x_t, t) = out( output_blocks( middle_block( skips[-1] ), skips; e ) ),   e = time_embed( sinusoid(t) )

There is no encoder. What stands for z is the image's own noise, x_T inferred by inversion and flattened, and so the
prior is N(0, I). Files: `phizaz/diffae` (model/unet.py, BeatGANsUNetModel), `openai/guided-diffusion` and PDAE's
pre-trained networks are this network, key by key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.diffusion import DiffusionModel, NoiseLoss, Predict, Schedule, draw, noise_loss
from baselines.method import Built, Load, Method, Official, Preset
from dbae import model as dbae_models
from dbae.checkpoints.facts import DIFFUSION, UNET, Facts, Question, applied
from dbae.checkpoints.shapes import unet_shape
from dbae.networks.trunk import Layers, Trunk, UNetConfig
from dbae.noise import Noise
from dbae.support.errors import UserError
from dbae.training.config import SMALL_PRESETS

ATTENTION = 16
"""Side of the only maps with attention in the networks of DiffAE's and PDAE's authors."""


@dataclasses.dataclass(frozen=True)
class DDIMConfig:
    """Everything that fixes the function computed by a plain diffusion model, but its weights.

    Attributes:
        image_size: side of the images, pixels.
        learn_sigma: the network predicts a variance too, for "ddpm" (guided-diffusion).
        schedule: of beta.
    """

    image_size: int
    unet: UNetConfig
    learn_sigma: bool = False
    schedule: Schedule = "linear"


class NoiseUNet(Trunk):
    """eps_theta of the module docstring; with learn_sigma three channels of variance follow."""

    def __init__(self, config: UNetConfig, *, image_size: int, learn_sigma: bool = False) -> None:
        super().__init__(Layers(config, image_size, nn.Conv1d), out_channels=6 if learn_sigma else 3)

    def forward(self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"]) -> Float[Tensor, "b o s s"]:
        """Noise in x_t at times t of 0 to 999; o is 6 with `learn_sigma`, the variance last."""
        e = self.embed(t.float())
        return self.up(self.down(x, e), e)


class DDIM(DiffusionModel):
    """A plain diffusion model as a `RepresentationModel`. Its state dict is `network.*`.

    Args:
        config: architecture and schedule.
        name: name used in result rows.
        encode_steps: evaluations of an inversion by `encode`.
    """

    endpoints = ("decoded", "inferred")

    def __init__(self, config: DDIMConfig, *, name: str = "ddim", encode_steps: int = 100) -> None:
        super().__init__(config, name=name)
        self.encode_nfe, self.schedule, self.latent_dim = encode_steps, config.schedule, 3 * config.image_size**2
        self.network = NoiseUNet(config.unet, image_size=config.image_size, learn_sigma=config.learn_sigma)

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """x_T inferred from images in [-1, 1], flattened."""
        return self.infer_endpoint(x, None, steps=self.encode_nfe)[0].flatten(1), None

    def endpoint(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """x_T is z."""
        return z.reshape(-1, 3, self.image_size, self.image_size)

    def start(self, z: Float[Tensor, "b l"], noise: Noise | None) -> Float[Tensor, "b 3 s s"]:
        """x_T is z."""
        return self.endpoint(z)

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """The network, whatever z."""
        return lambda x, t: self.network(x, torch.full((len(x),), t, device=x.device))


@dataclasses.dataclass(frozen=True)
class DrawnNoise:
    """Codes `z`; they cost no evaluation."""

    z: Float[Tensor, "n l"]
    nfe: int = 0


@dataclasses.dataclass(frozen=True)
class NormalPrior:
    """N(0, I), the distribution of x_T."""

    latent_dim: int

    def sample(self, noise: Noise, n: int) -> DrawnNoise:
        """Draws n codes."""
        return DrawnNoise(noise.normal((n, self.latent_dim)))


def loss(model: DDIM, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> NoiseLoss:
    """Noise prediction at uniform times (order of draws: t, eps, then dropout)."""
    t, noise = draw(x0, generator)
    return noise_loss(model.network, model.config.schedule, x0, t, noise=noise)


def plain_model(source: str, load: Load) -> tuple[DDIM, dict[str, str]]:
    """A plain diffusion model to build on, and what a card says of it. Raises UserError where it is another kind."""
    found = load(source)
    if not isinstance(found.model, DDIM):
        raise UserError(f"{source}: expected a plain diffusion model (ddim) to build on, found {found.method}.")
    return found.model, {"pretrained": found.name, "sha256": found.sha256}


def on_plain_model(
    source: str, load: Load, method: Method, config: Any, seed: int, name: str, *, part: str, **changed: Any
) -> Built:
    """A fresh model whose `part` is the network of a plain one, of which it takes architecture and schedule.

    Args:
        changed: what else its configuration says then.

    Raises:
        UserError: another kind of model, images of another size, or a network that predicts a variance.
    """
    plain, about = plain_model(source, load)
    if plain.image_size != config.image_size or plain.config.learn_sigma:
        raise UserError(
            f"{source}: expected a plain model of {config.image_size} px that predicts no variance, found one of "
            f"{plain.image_size} px{' that does' if plain.config.learn_sigma else ''}. Take the preset of its size, or "
            "train another with `python -m baselines.train --method ddim`."
        )
    config = dataclasses.replace(config, unet=plain.config.unet, schedule=plain.schedule, **changed)
    model = method.fresh(config, seed, name)
    model.get_submodule(part).load_state_dict(plain.network.state_dict())
    return Built(model, about)


# --- files of others --------------------------------------------------------------------------------------------------


def detect(state: Mapping[str, Tensor]) -> DDIMConfig | None:
    """Configuration of a network of DiffAE's or PDAE's authors; None for any other.

    They have one head of attention, in maps of 16x16 pixels alone.
    """
    shape = unet_shape(state)
    if shape is None or (shape.in_channels, shape.out_channels) != (3, 3) or len(shape.attention_levels) != 1:
        return None
    size = shape.image_size(ATTENTION)
    return DDIMConfig(size, shape.config(size)) if size else None


FACTS = {"heads": "1", "attention_order": "legacy", "schedule": "linear"}
"""Facts of all networks that DiffAE's and PDAE's authors publish, which their shapes do not show."""

UNSIZED = 1 << 12
"""Stands for the side of the images until it is told."""


def unsized(state: Mapping[str, Tensor]) -> DDIMConfig | None:
    """Configuration of any other unconditional network, for images of a side that has to be told; or None.

    Files of guided-diffusion have attention in several places and may predict a variance.
    """
    shape = unet_shape(state)
    if shape is None or shape.in_channels != 3 or shape.out_channels not in (3, 6) or "label_emb.weight" in state:
        return None
    return DDIMConfig(UNSIZED, shape.config(UNSIZED), learn_sigma=shape.out_channels == 6)


def published(config: DDIMConfig) -> bool:
    """Whether DiffAE's or PDAE's authors publish a network of this configuration."""
    of_pdae = dataclasses.replace(celeba64(), unet=dataclasses.replace(celeba64().unet, embedding=256))
    return config in (celeba64(), of_pdae, ffhq128())


def settled(config: DDIMConfig, facts: Facts, path: object) -> DDIMConfig:
    """The configuration with its facts (`dbae.checkpoints.facts.UNET`)."""
    size, schedule = int(facts["image_size"]), facts["schedule"]
    unet = applied(config.unet, facts, path, size=size, was=config.image_size)
    return dataclasses.replace(config, image_size=size, unet=unet, schedule=schedule)  # type: ignore[arg-type]


def written(hyper_parameters: Mapping[str, Any]) -> Facts:
    """What DiffAE's program writes into its files. Its attention has the legacy order, whatever else is chosen."""
    names = {
        "img_size": "image_size",
        "net_beatgans_attn_head": "heads",
        "beta_scheduler": "schedule",
        "T": "timesteps",
    }
    found = {ours: str(hyper_parameters[name]) for name, ours in names.items() if name in hyper_parameters}
    return found | ({"attention_order": "legacy"} if "heads" in found else {})


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of theirs: the same keys under `network.`."""
    return {f"network.{key}": value for key, value in state.items()}


# --- presets ----------------------------------------------------------------------------------------------------------


def published_unet(base: int, channel_mult: tuple[int, ...]) -> UNetConfig:
    """The U-Net of DiffAE's authors: attention at 16x16, one head, time embedding of 512 whatever the base."""
    return UNetConfig(base, channel_mult, attention_sizes=(ATTENTION,), head_channels=None, embedding=512)


def celeba64() -> DDIMConfig:
    """64 px, 67.8 M parameters.

    DEVIATION: the released template of this name keeps the 128 px network, evidently by oversight.
    """
    return DDIMConfig(64, published_unet(64, (1, 2, 4, 8)))


def ffhq128() -> DDIMConfig:
    """128 px (FFHQ, LSUN Horse, LSUN Bedroom), 98.6 M parameters."""
    return DDIMConfig(128, published_unet(128, (1, 1, 2, 3, 4)))


horse128 = bedroom128 = ffhq128


def faces64() -> DDIMConfig:
    """64 px, the sizes of DBAE's `faces64`."""
    return DDIMConfig(64, dbae_models.faces64().score)


def faces64s() -> DDIMConfig:
    """64 px, the sizes of DBAE's `faces64s`."""
    return DDIMConfig(64, dbae_models.faces64s().score)


def faces32() -> DDIMConfig:
    """32 px, the sizes of DBAE's `faces32`."""
    return DDIMConfig(32, dbae_models.faces32().score)


# DEVIATION: the authors of DiffAE train in float16; here --precision is fp32 unless given.
AUTHORS: dict[str, Any] = dict(optimizer="adam", clip_grad=1.0, images=130_000_000)
"""Training options of DiffAE's authors, for their autoencoders and for their plain diffusion models."""

METHOD = Method(
    key="ddim",
    label="DDIM",
    config=DDIMConfig,
    model=DDIM,
    loss=loss,
    presets={
        "celeba64": Preset(celeba64, AUTHORS | dict(images=72_000_000)),
        "ffhq128": Preset(ffhq128, AUTHORS),
        "horse128": Preset(horse128, AUTHORS),
        "bedroom128": Preset(bedroom128, AUTHORS | dict(images=120_000_000)),
        "faces32": Preset(faces32, SMALL_PRESETS["faces32"]),
        "faces64": Preset(faces64, SMALL_PRESETS["faces64"]),
        "faces64s": Preset(faces64s, SMALL_PRESETS["faces64s"]),
    },
    official=(
        Official(
            claims=("DDIM",),
            detect=lambda parts: detect(parts["model"]) or unsized(parts["model"]),
            state=lambda parts: from_official(parts["model"]),
            question=Question("a plain diffusion model of no published configuration", UNET, DIFFUSION),
            settled=settled,
            facts=FACTS,
            published=published,
            written=written,
        ),
        Official(
            claims=("U-Net",),
            detect=lambda parts: unsized(parts["model"]),
            state=lambda parts: from_official(parts["model"]),
            question=Question("a bare U-Net of guided-diffusion", UNET, DIFFUSION),
            settled=settled,
        ),
    ),
    prior=lambda model: NormalPrior(model.latent_dim),
)
