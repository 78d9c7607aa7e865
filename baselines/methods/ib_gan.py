"""IB-GAN: a generator whose code is squeezed through a bottleneck, and a discriminator that also tells the noise.

    n ~ N(0, I),   r ~ e(r | n) = N(mu(n), sigma(n)^2),   x = G(r);        (D, Q)(x) = Enc(x): a logit, and n again

    G, e   gamma BCE(D(G(r)), 1)  - alpha I + beta KL(e(r | n) || N(0, I)),     I = 1/2 sum_d [ n^2 - (n - Q(G(r)))^2 ]
    Q      - alpha I
    D      BCE(D(x + s eps), u) + BCE(D(G(r) + s eps'), 0),   u ~ U(0.7, 1.2);  s falls from 0.5 to 0.01

I is a bound of what G(r) says of n; beta weighs what r may say of it. z of an image is r = mu(Q(x)), or with `code`
"noise" Q(x) itself; it is decoded in one evaluation. G is the shared endpoint decoder, Enc the shared encoder.

All three are one loss, of one backward pass and one optimiser: where G is judged, D's weights take no gradient, and
where D judges, G's image has none.

Source: insujeon/IB-GAN (AAAI 2021). DEVIATION: its players have RMSprop and rates of their own (5e-5, D 2e-6) and take
turns; here they move at once, at one rate. Its networks are convolutions with batch norm, its noise decays over steps.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from baselines.method import Method, Preset
from baselines.methods.ddim import DrawnNoise, NormalPrior
from baselines.one_step import OneStepModel
from baselines.options import ConfigOptions, differences, require
from baselines.regularisers import RegularisedLoss, gaussian_kl
from dbae import model as dbae_models
from dbae.model import DBAEConfig
from dbae.networks.encoder import Encoder, EncoderConfig
from dbae.networks.endpoint_decoder import EndpointDecoder, EndpointDecoderConfig
from dbae.noise import GeneratorNoise, Noise
from dbae.training.config import SMALL_PRESETS

Code = Literal["r", "noise"]


@dataclasses.dataclass(frozen=True)
class IBGANConfig:
    """Everything that fixes the functions computed by an IB-GAN and its loss, but the weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of r.
        encoder: shape of Enc.
        generator: shape of G.
        noise_dim: length of n.
        code: which of the two is z.
        alpha, beta, gamma: see the module docstring; the authors' for CelebA.
        noise_images: training images, of one process, over which s falls.

    Raises:
        UserError: a value out of range.
    """

    image_size: int
    latent_dim: int
    encoder: EncoderConfig
    generator: EndpointDecoderConfig
    noise_dim: int = 64
    code: Code = "r"
    alpha: float = 1.0
    beta: float = 0.35
    gamma: float = 1.0
    noise_images: int = 300_000

    def __post_init__(self) -> None:
        require(self, "0 or more", lambda value: value >= 0, "alpha", "beta", "gamma")
        require(self, "a positive number", lambda value: value > 0, "noise_dim", "noise_images")


class IBGAN(OneStepModel):
    """An IB-GAN as a `RepresentationModel`. Its state dict is `generator.*`, `bottleneck.*`, `encoder.*`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    def __init__(self, config: IBGANConfig, *, name: str = "ib_gan") -> None:
        super().__init__()
        self.config, self.name, self.image_size = config, name, config.image_size
        self.latent_dim = config.latent_dim if config.code == "r" else config.noise_dim
        size, n, r = config.image_size, config.noise_dim, config.latent_dim
        self.generator = EndpointDecoder(config.generator, image_size=size, latent_dim=r)
        self.bottleneck = nn.Sequential(nn.Linear(n, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2 * r))
        self.encoder = Encoder(config.encoder, image_size=size, outputs=1 + n)

    def squeezed(self, n: Float[Tensor, "b n"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"]]:
        """Mean and standard deviation of e(r | n)."""
        mean, raw = self.bottleneck(n).float().chunk(2, dim=1)
        return mean, F.softplus(raw) + 1e-6

    def generated(self, r: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """G(r), in [-1, 1]."""
        return self.generator(r).float().tanh()

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z of images in [-1, 1]."""
        n = self.encoder(x)[:, 1:].float()
        return (self.squeezed(n)[0] if self.config.code == "r" else n), None

    def images(self, z: Float[Tensor, "b l"]) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]:
        """G of r, or of the mean of r given n, twice: nothing is clamped."""
        images = self.generated(z if self.config.code == "r" else self.squeezed(z)[0])
        return images, images


@dataclasses.dataclass(frozen=True)
class BottleneckPrior:
    """r ~ e(r | n), n ~ N(0, I): what the generator is trained on. It costs no evaluation of it."""

    model: IBGAN

    @property
    def latent_dim(self) -> int:
        """Length of r."""
        return self.model.latent_dim

    @torch.no_grad()
    def sample(self, noise: Noise, n: int) -> DrawnNoise:
        """Draws n codes."""
        mean, sigma = self.model.squeezed(noise.normal((n, self.model.config.noise_dim)).to(self.model.device))
        return DrawnNoise(mean + sigma * noise.normal((n, self.latent_dim)).to(mean))


def loss(model: IBGAN, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective of all players (order of draws: n, r, eps, eps', u). `mse` is that of Q's n."""
    c, noise = model.config, GeneratorNoise(generator)
    n = noise.normal((len(x0), c.noise_dim)).to(x0)
    mean, sigma = model.squeezed(n)
    fake = model.generated(mean + sigma * noise.normal(mean.shape).to(mean))
    seen = (model.images_seen / c.noise_images).clamp(max=1)
    s = 0.5 + (0.01 - 0.5) * seen
    real, made = (x + s * noise.normal(x.shape).to(x) for x in (x0, fake))
    told = 0.7 + 0.5 * torch.rand(len(x0), generator=generator, device=generator.device)
    judged = _bce(_logit(model.encoder(real)), told) + _bce(_logit(model.encoder(made.detach())), 0.0)

    weights = {name: value.detach() for name, value in model.encoder.named_parameters()}
    passed = _bce(_logit(torch.func.functional_call(model.encoder, weights, (made,))), 1.0)
    error = (n - model.encoder(fake)[:, 1:].float()).square()
    information = 0.5 * (n.square() - error).sum(1)
    total = judged + c.gamma * passed - c.alpha * information + c.beta * gaussian_kl(mean, sigma).sum(1)
    if model.training:
        model.images_seen += len(x0)
    return RegularisedLoss(total, error.detach().mean(1))


def _logit(out: Float[Tensor, "b o"]) -> Float[Tensor, " b"]:
    """D, of what Enc puts out."""
    return out[:, 0].float()


def _bce(logit: Float[Tensor, " b"], label: Tensor | float) -> Float[Tensor, " b"]:
    """Cross-entropy of each image with its label, which may be above 1."""
    label = torch.as_tensor(label, dtype=logit.dtype, device=logit.device).expand_as(logit)
    return F.binary_cross_entropy_with_logits(logit, label, reduction="none")


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class IBGANOptions(ConfigOptions):
    """What IB-GAN can be told. None keeps the preset's value.

    Attributes:
        noise_dim: length of the noise n that an image is generated from.
        code: what z is: r, the bottleneck between noise and image, or the noise itself.
        alpha: weight in the loss of how much an image says of the noise it was made from.
        beta: weight in the loss of the KL divergence of the bottleneck.
        gamma: weight in the generator's loss of being taken for a real image.
        noise_images: training images over which the noise that is laid over the discriminator's images falls to 0.
    """

    noise_dim: int | None = None
    code: Code | None = None
    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None
    noise_images: int | None = None


def _sized_as(config: DBAEConfig | IBGANConfig) -> IBGANConfig:
    generator: Any = config.decoder if isinstance(config, DBAEConfig) else config.generator
    return IBGANConfig(config.image_size, config.latent_dim, config.encoder, generator)


def _variant(config: IBGANConfig) -> str:
    return differences(config, _sized_as(config))


# One rate for all players, the discriminator's gradient among them: a tenth of the other methods'.
METHOD = Method(
    key="ib_gan",
    label="IB-GAN",
    config=IBGANConfig,
    model=IBGAN,
    loss=loss,
    presets={
        "faces64": Preset(lambda: _sized_as(dbae_models.faces64()), SMALL_PRESETS["faces64"] | dict(lr=1e-4)),
        "faces64s": Preset(lambda: _sized_as(dbae_models.faces64s()), SMALL_PRESETS["faces64s"] | dict(lr=1e-4)),
        "faces32": Preset(lambda: _sized_as(dbae_models.faces32()), SMALL_PRESETS["faces32"] | dict(lr=2e-4)),
    },
    options=IBGANOptions,
    variant=_variant,
    prior=lambda model: BottleneckPrior(model) if model.config.code == "r" else NormalPrior(model.latent_dim),
)
