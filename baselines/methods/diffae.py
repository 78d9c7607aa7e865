"""DiffAE: a diffusion model whose every residual block is scaled by the code z of a semantic encoder.

    z   = Enc(x0)                                                                                      (deterministic)
    eps_theta(x_t, t, z) = UNet(x_t; time_embed( sinusoid(t) ), z)         block: h = GN(h) (1 + ts) + tb,  h (1 + zs)
    x_T = N(0, I), or inferred from the image by running DDIM backwards under the same z

Source: `phizaz/diffae` (CVPR 2022), model/unet_autoenc.py. Its keys differ from ours in two names:

    official                        ours
    encoder.*                       encoder.*
    *.cond_emb_layers.1.*           network.*.latent_layers.1.*
    time_embed.time_embed.*         network.time_embed.*
    everything else                 network.*

DEVIATION: the paper writes z_s (t_s GN(h) + t_b) without the 1 that code adds to both scales.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.diffusion import DiffusionModel, NoiseLoss, Predict, Schedule, draw, noise_loss
from baselines.method import LatentOptions, Method, Official, Preset
from baselines.methods import ddim
from baselines.methods.ddim import ATTENTION, AUTHORS, published_unet
from dbae import model as dbae_models
from dbae.checkpoints.facts import DIFFUSION, UNET, Facts, Question, applied, applied_encoder
from dbae.checkpoints.own import load_strictly
from dbae.checkpoints.shapes import encoder_shape, unet_shape
from dbae.model import DBAEConfig
from dbae.networks import latent_mlp
from dbae.networks.encoder import Encoder, EncoderConfig
from dbae.networks.trunk import Layers, Trunk, UNetConfig
from dbae.prior import LatentPrior
from dbae.training.config import SMALL_PRESETS

_RENAMED = (("time_embed.time_embed.", "time_embed."), (".cond_emb_layers.", ".latent_layers."))


@dataclasses.dataclass(frozen=True)
class DiffAEConfig:
    """Everything that fixes the function computed by a DiffAE, but its weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z.
        schedule: of beta.
    """

    image_size: int
    latent_dim: int
    unet: UNetConfig
    encoder: EncoderConfig
    schedule: Schedule = "linear"


class SemanticUNet(Trunk):
    """eps_theta of the module docstring."""

    def __init__(self, config: UNetConfig, *, image_size: int, latent_dim: int) -> None:
        super().__init__(Layers(config, image_size, nn.Conv1d, latent=latent_dim))

    def forward(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"]
    ) -> Float[Tensor, "b 3 s s"]:
        """Noise in x_t at times t of 0 to 999, under the code z."""
        e = self.embed(t.float())
        return self.up(self.down(x, e, z), e, z)


class DiffAE(DiffusionModel):
    """A diffusion autoencoder as a `RepresentationModel`. Its state dict is `network.*`, `encoder.*`.

    Args:
        config: architecture.
        name: name used in result rows.
    """

    endpoints = ("random", "inferred")

    def __init__(self, config: DiffAEConfig, *, name: str = "diffae") -> None:
        super().__init__(config, name=name)
        self.latent_dim, self.schedule = config.latent_dim, config.schedule
        self.network = SemanticUNet(config.unet, image_size=config.image_size, latent_dim=config.latent_dim)
        self.encoder = Encoder(config.encoder, image_size=config.image_size, outputs=config.latent_dim)

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z = Enc(x) of images in [-1, 1]."""
        return self.encoder(x), None

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        """The network under z. Raises ValueError without z, of which nothing was learnt."""
        if z is None:
            raise ValueError("DiffAE predicts noise under a code: pass z")
        return lambda x, t: self.network(x, torch.full((len(x),), t, device=x.device), z)


def loss(model: DiffAE, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> NoiseLoss:
    """Noise prediction under z = Enc(x0) at uniform times (order of draws: t, eps, then dropout).

    Of a fresh model, the gradient that reaches the encoder is exactly zero in the first two steps: the last layers of
    the U-Net, and then of its blocks, start at zero.
    """
    t, noise = draw(x0, generator)
    z, _ = model.posterior(x0)
    return noise_loss(lambda x, t: model.network(x, t, z), model.schedule, x0, t, noise=noise)


# --- files of others --------------------------------------------------------------------------------------------------


def detect(state: Mapping[str, Tensor]) -> DiffAEConfig | None:
    """Configuration of an autoencoder of DiffAE's authors, from keys and shapes (without `ema_model.`); or None."""
    encoder_state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    ours = from_official(state)
    unet = unet_shape({key.removeprefix("network."): ours[key] for key in ours if key.startswith("network.")})
    size = unet.image_size(ATTENTION) or ddim.UNSIZED if unet else None
    encoder = encoder_shape(encoder_state, size, res_blocks=unet.res_blocks) if unet and size else None
    if unet is None or size is None or encoder is None:
        return None
    latent_dim = encoder_state["out.3.weight"].shape[0] if "out.3.weight" in encoder_state else 0
    conditioned = "network.output_blocks.0.0.latent_layers.1.weight" in ours
    return DiffAEConfig(size, latent_dim, unet.config(size), encoder) if latent_dim and conditioned else None


def settled(config: DiffAEConfig, facts: Facts, path: object) -> DiffAEConfig:
    """The configuration with its facts (`dbae.checkpoints.facts.UNET`); its encoder has the heads of its U-Net."""
    size = int(facts["image_size"])
    unet = applied(config.unet, facts, path, size=size, was=config.image_size)
    encoder = applied_encoder(config.encoder, facts, path, size=size, was=config.image_size)
    return DiffAEConfig(size, config.latent_dim, unet, encoder, facts["schedule"])  # type: ignore[arg-type]


def our_key(key: str) -> str:
    """Our name of an official key (see the table of the module docstring)."""
    if key.startswith("encoder."):
        return key
    for official, ours in _RENAMED:
        key = key.replace(official, ours)
    return f"network.{key}"


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of theirs (without `ema_model.`)."""
    return {our_key(key): value for key, value in state.items()}


def build_prior(
    state: Mapping[str, Tensor],
    mean: Float[Tensor, " l"],
    std: Float[Tensor, " l"],
    path: str | os.PathLike[str],
    *,
    name: str,
) -> LatentPrior:
    """The prior of an official latent DPM, filled.

    It draws with 1000 steps and never clamps, as the reference does where nothing else is said; see
    `LatentPrior.sampling`.

    Args:
        state: what stands under `ema_model.latent_net.`, tied tensors under both of their names.
        mean, std: statistics of z, `conds_mean` and `conds_std`.
        path: the file, for messages.

    Raises:
        UserError: keys or shapes that do not fit.
    """
    network = latent_mlp.without_aliases(state)
    with torch.device("meta"):
        prior = LatentPrior(latent_mlp.config_of(network), name=name)
    tensors = {f"network.{key}": value for key, value in network.items()}
    load_strictly(prior, tensors | {"mean": mean.flatten(), "std": std.flatten()}, path)
    return prior.eval()


# --- presets ----------------------------------------------------------------------------------------------------------


def celeba64() -> DiffAEConfig:
    """64 px, 71.5 M + 19.3 M parameters."""
    return _published(64, 64, (1, 2, 4, 8), (1, 2, 4, 8, 8))


def ffhq128() -> DiffAEConfig:
    """128 px (FFHQ, LSUN Horse, LSUN Bedroom), 103.9 M + 24.7 M parameters."""
    return _published(128, 128, (1, 1, 2, 3, 4), (1, 1, 2, 3, 4, 4))


horse128 = bedroom128 = ffhq128


def ffhq256() -> DiffAEConfig:
    """256 px, 138.3 M + 30.2 M parameters."""
    return _published(256, 128, (1, 1, 2, 2, 4, 4), (1, 1, 2, 2, 4, 4, 4))


def faces64() -> DiffAEConfig:
    """64 px, latent 64, the sizes of DBAE's `faces64`."""
    return _sized_as(dbae_models.faces64())


def faces64s() -> DiffAEConfig:
    """64 px, latent 64, the sizes of DBAE's `faces64s`."""
    return _sized_as(dbae_models.faces64s())


def faces32() -> DiffAEConfig:
    """32 px, latent 32, the sizes of DBAE's `faces32`."""
    return _sized_as(dbae_models.faces32())


def _published(
    image_size: int, base: int, channel_mult: tuple[int, ...], encoder_mult: tuple[int, ...]
) -> DiffAEConfig:
    return DiffAEConfig(image_size, 512, published_unet(base, channel_mult), EncoderConfig(base, encoder_mult))


def _sized_as(other: DBAEConfig) -> DiffAEConfig:
    return DiffAEConfig(other.image_size, other.latent_dim, other.score, other.encoder)


def small_presets(sized_as: Callable[[DiffAEConfig], Any], **training: Any) -> dict[str, Preset]:
    """`faces64`, `faces64s` and `faces32` of another method, at DiffAE's sizes.

    Args:
        sized_as: its configuration, from DiffAE's.
        training: options in which it differs from everyone's.
    """
    return {
        "faces64": Preset(lambda: sized_as(faces64()), SMALL_PRESETS["faces64"] | training),
        "faces64s": Preset(lambda: sized_as(faces64s()), SMALL_PRESETS["faces64s"] | training),
        "faces32": Preset(lambda: sized_as(faces32()), SMALL_PRESETS["faces32"] | training),
    }


METHOD = Method(
    key="diffae",
    label="DiffAE",
    config=DiffAEConfig,
    model=DiffAE,
    loss=loss,
    presets={
        "celeba64": Preset(celeba64, AUTHORS | dict(images=72_000_000)),
        "ffhq128": Preset(ffhq128, AUTHORS),
        "horse128": Preset(horse128, AUTHORS),
        "bedroom128": Preset(bedroom128, AUTHORS | dict(images=120_000_000)),
        "ffhq256": Preset(ffhq256, AUTHORS | dict(images=200_000_000, batch_size=64)),
        "faces32": Preset(faces32, SMALL_PRESETS["faces32"]),
        "faces64": Preset(faces64, SMALL_PRESETS["faces64"]),
        "faces64s": Preset(faces64s, SMALL_PRESETS["faces64s"]),
    },
    options=LatentOptions,
    official=(
        Official(
            claims=("DiffAE",),
            detect=lambda parts: detect(parts["model"]),
            state=lambda parts: from_official(parts["model"]),
            question=Question("an autoencoder of no published configuration", UNET, DIFFUSION),
            settled=settled,
            facts=ddim.FACTS,
            published=lambda config: config in (celeba64(), ffhq128(), ffhq256()),
            written=ddim.written,
        ),
    ),
)
