"""DBAE: encoder, endpoint decoder and score network behind one object.

    z   = Enc(x0)                                  deterministic model (DBAE-d), or
    z   = mu + sigma * eps,  mu = 5 tanh(m / 5),  sigma = exp(5 tanh(s / 5)) + 0.01,  (m, s) = Enc(x0)
    x_T = Dec(z)                                   with probability lambda = `endpoint_blend`, else x_T ~ N(0, I)
    D(x_t, t, x_T, z)                              x0-prediction of the bridge (`bridge.py`)

State-dict keys are `score.*`, `encoder.*`, `decoder.*`; a published file has no `score.` prefix.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dbae.bridge import Bridge
from dbae.interface import require_endpoint, require_images, require_latents
from dbae.networks.encoder import Encoder, EncoderConfig
from dbae.networks.endpoint_decoder import EndpointDecoder, EndpointDecoderConfig
from dbae.networks.unet import UNet, UNetConfig
from dbae.noise import Noise, mixed_seed
from dbae.samplers import BRIDGE_METHODS, Sampled, SamplerConfig, sample


@dataclasses.dataclass(frozen=True)
class DBAEConfig:
    """Everything that fixes the function computed by a DBAE, but its weights.

    Attributes:
        image_size: side of the images, pixels.
        latent_dim: length of z.
        stochastic: z is sampled (paper's "DBAE"); False is "DBAE-d".
        endpoint_blend: lambda of q(x_T | z) = lambda delta(Dec(z)) + (1 - lambda) N(0, I), from 0 (DiffAE's prior of
            x_T) to 1 (DBAE); see `DBAE.draw_endpoint`.
    """

    image_size: int
    latent_dim: int
    stochastic: bool
    score: UNetConfig
    encoder: EncoderConfig
    decoder: EndpointDecoderConfig
    bridge: Bridge = Bridge()
    endpoint_blend: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.endpoint_blend <= 1:
            raise ValueError(f"endpoint_blend must be in [0, 1], found {self.endpoint_blend}")


class DBAE(nn.Module):
    """A diffusion bridge autoencoder (paper arXiv 2405.17111; reference `aailab-kaist/DBAE`).

    It is a `RepresentationModel`: every benchmark runs on it as it is.

    Args:
        config: architecture and bridge.
        name: name used in result rows.
    """

    name: str
    image_size: int
    latent_dim: int
    samplers: tuple[str, ...] = BRIDGE_METHODS
    endpoints: tuple[str, ...]
    encode_nfe: int = 0

    def __init__(self, config: DBAEConfig, *, name: str = "dbae") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.image_size, self.latent_dim = config.image_size, config.latent_dim
        blend = config.endpoint_blend
        self.endpoints = ("decoded",) * (blend > 0) + ("random",) * (blend < 1)
        size, latent = config.image_size, config.latent_dim
        self.score = UNet(config.score, image_size=size, latent_dim=latent)
        self.encoder = Encoder(config.encoder, image_size=size, outputs=latent * (2 if config.stochastic else 1))
        self.decoder = EndpointDecoder(config.decoder, image_size=size, latent_dim=latent)

    @classmethod
    def initialised(cls, config: DBAEConfig, seed: int, *, name: str = "dbae") -> DBAE:
        """A model with fresh weights that are a function of `seed`; global random state stays as it was."""
        with torch.random.fork_rng([]):
            torch.manual_seed(mixed_seed(seed, "weights"))
            return cls(config, name=name)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.score.label_emb.weight.device

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b l"] | None]:
        """Mean and standard deviation of q(z | x); None when z is a function of x. x in [-1, 1]."""
        out = self.encoder(x)
        if not self.config.stochastic:
            return out, None
        mean, log_sigma = (5 * torch.tanh(half / 5) for half in out.chunk(2, dim=1))
        return mean, log_sigma.exp() + 0.01

    @torch.no_grad()
    def set_sigma(self, sigma: float) -> None:
        """Shift the encoder's bias so that an output s = 0 stands for this `sigma`, from 0.02 to 100."""
        last = self.encoder.out[-2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias[self.latent_dim :] += 5 * math.atanh(math.log(sigma - 0.01) / 5)

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "b 3 s s"], *, noise: Noise | None = None) -> Float[Tensor, "b l"]:
        """z = mu + sigma * eps; mu without noise. The released evaluation always draws.

        Without gradient, so that z can go anywhere; training takes `posterior`.

        Raises:
            ValueError: images of another size or dtype than the model's.
        """
        require_images(x, self.image_size, self)
        mean, sigma = self.posterior(x)
        if sigma is None or noise is None:
            return mean
        return mean + sigma * noise.normal(mean.shape)

    def endpoint(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b 3 s s"]:
        """x_T = Dec(z), neither clamped nor bounded."""
        return self.decoder(z)

    def draw_endpoint(
        self, z: Float[Tensor, "b l"], noise: Noise, *, blend: float | None = None
    ) -> Float[Tensor, "b 3 s s"]:
        """x_T ~ lambda delta(Dec(z)) + (1 - lambda) N(0, I): each image has either its decoded endpoint or noise.

        DEVIATION: the formula of paper eq. 101, which balances fidelity and diversity, is lost in the available text;
        this mixture is inferred from its two ends.

        Args:
            noise: with lambda < 1, draws the choice (b, 1) and then the noise (b, 3, s, s). One image keeps both
                draws whatever lambda is, so that the decoded ones of a smaller lambda are among those of a larger.
            blend: lambda; None is the model's own.
        """
        blend = self.config.endpoint_blend if blend is None else blend
        x_T = self.endpoint(z)
        if blend == 1:
            return x_T
        decoded = torch.special.ndtr(noise.normal((len(z), 1)).to(x_T)) < blend
        return torch.where(decoded[:, :, None, None], x_T, noise.normal(x_T.shape).to(x_T))

    def denoise(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Float[Tensor, " b"],
        x_T: Float[Tensor, "b 3 s s"],
        z: Float[Tensor, "b l"],
    ) -> Float[Tensor, "b 3 s s"]:
        """D(x_t, t, x_T, z): prediction of x0, not clamped."""
        return self.config.bridge.denoise(self.score, x_t, t, x_T, z)

    @torch.no_grad()
    def decode(
        self,
        z: Float[Tensor, "b l"],
        *,
        x_T: Float[Tensor, "b 3 s s"] | None = None,
        sampler: SamplerConfig | None = None,
        noise: Noise | None = None,
        progress: bool = False,
    ) -> Sampled:
        """Images in [-1, 1] sampled from the bridge that starts at x_T.

        Without x_T it is Dec(z), also where training blended it with noise: noise is the caller's choice, by
        `draw_endpoint`. But a model that never saw Dec(z) (`endpoint_blend` 0) starts at a draw from `noise`.

        The default sampler is the paper's: DDBM Euler, 100 network evaluations, no churn. `sampler.end_data`
        replaces the bridge's (0.5 as trained; 0.0 is what the released evaluation scripts compute).

        Raises:
            ValueError: z of another length, x_T of another size than the model's images, or another dtype.
        """
        require_latents(z, self.latent_dim, self)
        if x_T is not None:
            require_endpoint(x_T, self.image_size, self, of=z)
        sampler = sampler or SamplerConfig("ddbm_euler")
        bridge = dataclasses.replace(self.config.bridge, end_data=sampler.end_data)
        endpoint = self._default_endpoint(z, noise) if x_T is None else x_T
        # Under autocast x_T comes in half precision; the state of the sampler must not: steps would be rounded away.
        endpoint = endpoint.to(torch.promote_types(endpoint.dtype, torch.float32))

        def denoise(x: Tensor, t: float) -> Tensor:
            return bridge.denoise(self.score, x, t, endpoint, z)

        return sample(denoise, endpoint, bridge, sampler, noise=noise, progress=progress)

    def _default_endpoint(self, z: Tensor, noise: Noise | None) -> Tensor:
        if self.config.endpoint_blend:
            return self.endpoint(z)
        if noise is None:
            raise ValueError("this model starts at noise: pass `noise` or x_T")
        return self.draw_endpoint(z, noise)


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters of each top-level part and their "total"."""
    counts = {part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()}
    return counts | {"total": sum(p.numel() for p in model.parameters())}


def celeba64(latent_dim: int = 512, stochastic: bool = True) -> DBAEConfig:
    """The paper's CelebA 64x64 model, with latents of 32, 256 or 512."""
    return DBAEConfig(
        image_size=64,
        latent_dim=latent_dim,
        stochastic=stochastic,
        score=UNetConfig(base=64, channel_mult=(1, 2, 4, 8)),
        encoder=EncoderConfig(base=64, channel_mult=(1, 2, 4, 8, 8)),
        decoder=EndpointDecoderConfig(unused_block=True),
    )


def ffhq128(stochastic: bool = True) -> DBAEConfig:
    """The paper's 128x128 model (FFHQ, LSUN Horse, LSUN Bedroom), latent 512."""
    return DBAEConfig(
        image_size=128,
        latent_dim=512,
        stochastic=stochastic,
        score=UNetConfig(base=128, channel_mult=(1, 1, 2, 3, 4)),
        encoder=EncoderConfig(base=128, channel_mult=(1, 1, 2, 3, 4, 4)),
        decoder=EndpointDecoderConfig(unused_block=True),
    )


horse128 = bedroom128 = ffhq128


def faces64(stochastic: bool = True) -> DBAEConfig:
    """Our 64x64 model: trains on one GPU in hours."""
    return DBAEConfig(
        image_size=64,
        latent_dim=64,
        stochastic=stochastic,
        score=UNetConfig(base=64, channel_mult=(1, 2, 2, 3), attention_sizes=(16, 8)),
        encoder=EncoderConfig(base=48, channel_mult=(1, 2, 3, 4, 4), groups=16),
        decoder=EndpointDecoderConfig(width=16),
    )


def faces64s(stochastic: bool = True) -> DBAEConfig:
    """Our smaller 64x64 model: under 16 MB in half precision, whatever the method; trains on one GPU in minutes."""
    return DBAEConfig(
        image_size=64,
        latent_dim=64,
        stochastic=stochastic,
        score=UNetConfig(
            base=32, channel_mult=(1, 2, 3, 3), res_blocks=1, attention_sizes=(16, 8), head_channels=32, groups=16
        ),
        encoder=EncoderConfig(base=32, channel_mult=(1, 2, 3, 4, 4), groups=16),
        decoder=EndpointDecoderConfig(width=12),
    )


def faces32(stochastic: bool = True) -> DBAEConfig:
    """Our 32x32 model: trains on two CPU cores in an hour."""
    return DBAEConfig(
        image_size=32,
        latent_dim=32,
        stochastic=stochastic,
        score=UNetConfig(
            base=16, channel_mult=(1, 2, 3), res_blocks=1, attention_sizes=(8,), head_channels=16, groups=8
        ),
        encoder=EncoderConfig(base=32, channel_mult=(1, 2, 3, 3), res_blocks=1, attention_sizes=(8,), groups=8),
        decoder=EndpointDecoderConfig(width=8),
    )
