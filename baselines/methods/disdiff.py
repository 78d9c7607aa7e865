"""DisDiff: a code of N parts, each with a gradient field of its own for a diffusion model that was there before.

    z             = Enc(x0) = (z_1, ..., z_N)
    eps, G_1..N   = eps_theta(x_t, t),  G(x_t, t, z_c, c)     PDAE's network, once a part; c by an orthogonal embedding
    loss          = mean_pixels |eps_true - eps - c_t sum_c G_c| + weight L_dis                 c_t, d_t: see `_tables`

    L_dis         = w [ CE(near, c) + CE(moved, c) ],     c drawn for every image,     w = mean_pixels (x^ - x^c)^2
    near_k        = |Enc(x^)_k - z_k| - |Enc(x^c)_k - z_k|,     moved_k = |Enc(x^)_k - Enc(x^c)_k|

where x^ is the prediction of x_0 by eps alone, and x^c by eps + d_t G_c: adding the field of a part should move that
part of the code, towards what it is, and no other. For this term Enc and w have no gradient; it reaches G and, through
G, z. Decoding is PDAE's under the sum of all fields.

Source: ThomasMrY/DisDiff (NeurIPS 2023), ldm/models/diffusion/ddpm.py. DEVIATION: in pixels, not in the space of a VQ
autoencoder, so that predictions of x_0 are clamped to [-1, 1] where its decoder bounds them; encoder and network are
PDAE's; w is each image's own.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.diffusion import Process, Schedule, T, draw, q_sample
from baselines.method import Method, Preset
from baselines.methods import pdae
from baselines.methods.pdae import PDAE, OnPretrained, PDAEConfig
from baselines.methods.pdae.networks import ShiftUNet
from baselines.methods.pdae.sampling import shift_coefficients
from baselines.options import ConfigOptions, differences, in_sizes, require
from baselines.regularisers import RegularisedLoss
from dbae.support.errors import UserError
from dbae.training.config import SMALL_PRESETS


@dataclasses.dataclass(frozen=True)
class DisDiffConfig(PDAEConfig):
    """A PDAE, and:

    Attributes:
        parts: N.
        weight: of L_dis.

    Raises:
        UserError: parts that do not share z evenly, or a negative weight.
    """

    parts: int = 4
    weight: float = 0.05

    def __post_init__(self) -> None:
        require(self, f"1 to {self.unet.width}", lambda value: 1 <= value <= self.unet.width, "parts")
        require(self, "0 or more", lambda value: value >= 0, "weight")
        if self.latent_dim % self.parts:
            raise UserError(
                f"--latent-dim: expected a multiple of {self.parts}, the number of parts, found {self.latent_dim}; "
                "change --latent-dim or --parts."
            )


class PartsUNet(ShiftUNet):
    """PDAE's network with a G for each part of z.

    Args:
        parts: their number.
        latent_dim: length of all of z; the others are `ShiftUNet`'s.
    """

    def __init__(self, config: Any, *, image_size: int, latent_dim: int, parts: int, learn_sigma: bool = False) -> None:
        super().__init__(config, image_size=image_size, latent_dim=latent_dim // parts, learn_sigma=learn_sigma)
        self.parts = parts
        self.identity = nn.Parameter(torch.randn(config.width, config.width) / config.width**0.5)

    def identities(self) -> Float[Tensor, "n e"]:
        """Orthonormal embeddings of the parts, rows of exp(A - A^T)."""
        A = self.identity.float()
        return torch.linalg.matrix_exp(A - A.T)[: self.parts]

    def fields(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"]
    ) -> tuple[Float[Tensor, "b o s s"], Float[Tensor, "b n 3 s s"]]:
        """eps and the G of every part."""
        e = self.embed(t.float())
        maps = self.down(x, e)
        eps = self.up(maps, e)
        every = (e[:, None] + self.identities().to(e)).flatten(0, 1)
        repeated = [each.repeat_interleave(self.parts, 0) for each in maps]
        G = self.shift(repeated, every, z.unflatten(1, (self.parts, -1)).flatten(0, 1))
        return eps, G.unflatten(0, (-1, self.parts))

    def forward(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], z: Float[Tensor, "b l"] | None = None
    ) -> tuple[Float[Tensor, "b o s s"], Float[Tensor, "b 3 s s"] | None]:
        """eps and the sum of all fields; None without z."""
        if z is None:
            return super().forward(x, t)
        eps, G = self.fields(x, t, z)
        return eps, G.sum(1)


class DisDiff(PDAE):
    """A DisDiff as a `RepresentationModel`. Its state dict is a PDAE's, and `decoder.identity`."""

    config: DisDiffConfig
    decoder: PartsUNet
    prior_stop = 0.0

    def __init__(self, config: DisDiffConfig, *, name: str = "disdiff") -> None:
        super().__init__(config, name=name)

    def built_decoder(self) -> PartsUNet:
        c = self.config
        sizes = dict(image_size=c.image_size, latent_dim=c.latent_dim, parts=c.parts)
        return PartsUNet(c.unet, learn_sigma=c.learn_sigma, **sizes)


def loss(model: DisDiff, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective at uniform times (order of draws: t, eps, c, then dropout)."""
    t, noise = draw(x0, generator)
    true, z = noise.normal(x0.shape).to(x0), model.posterior(x0)[0]
    c = torch.randint(model.config.parts, (len(x0),), generator=generator, device=x0.device)
    x_t = q_sample(model.schedule, x0, t, true)
    eps, G = model.decoder.fields(x_t, t, z)
    eps, G = eps[:, :3].float(), G.float()
    tables = torch.stack([table[t] for table in _tables(model.schedule, x0.device)])[:, :, None, None, None]
    c_t, d_t, a, b = tables
    error = true - eps - c_t * G.sum(1)
    found = RegularisedLoss(error.abs().flatten(1).mean(1), error.detach().square().flatten(1).mean(1))
    if not model.config.weight:
        return found
    without = (a * x_t - b * eps).clamp(-1, 1)
    with_part = (a * x_t - b * (eps + d_t * G[torch.arange(len(G), device=c.device), c])).clamp(-1, 1)
    term = disentangling(model, without, with_part, z.detach(), c)
    return RegularisedLoss(found.loss + model.config.weight * term, found.mse)


def disentangling(
    model: DisDiff,
    without: Float[Tensor, "b 3 s s"],
    with_part: Float[Tensor, "b 3 s s"],
    z: Float[Tensor, "b l"],
    c: Int[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """L_dis of predictions x^ and x^c; the gradient is that of the second."""
    weights = {name: value.detach() for name, value in model.encoder.named_parameters()}

    def parts(code: Tensor) -> Tensor:
        return code.float().unflatten(1, (model.config.parts, -1))

    before = parts(torch.func.functional_call(model.encoder, weights, (without.detach(),)))
    after = parts(torch.func.functional_call(model.encoder, weights, (with_part,)))
    near = (before - parts(z)).norm(dim=2) - (after - parts(z)).norm(dim=2)
    moved = (before - after).norm(dim=2)
    w = (without - with_part).detach().square().flatten(1).mean(1)
    return w * (F.cross_entropy(near, c, reduction="none") + F.cross_entropy(moved, c, reduction="none"))


@functools.cache
def _tables(schedule: Schedule, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_t, d_t, and a, b of x_0 = a x_t - b eps, of all times, float32."""
    process = Process(schedule, tuple(range(T)))
    ab = process.alpha_bar
    tables = (*coefficients(process), ab**-0.5, (1 / ab - 1) ** 0.5)
    c_t, d_t, a, b = (torch.tensor(table, dtype=torch.float32, device=device) for table in tables)
    return c_t, d_t, a, b


def coefficients(process: Process) -> tuple[np.ndarray, np.ndarray]:
    """What G is multiplied by in training, and where x_0 is predicted as by DDIM: c_t and d_t of a `Process`."""
    return shift_coefficients(process), -np.sqrt(1 - process.alpha_bar)


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DisDiffOptions(OnPretrained, ConfigOptions):
    """What DisDiff can be told. None keeps the preset's value.

    Attributes:
        parts: number of parts of z, each with a gradient field of its own.
        weight: weight of the disentangling loss.
    """

    parts: int | None = None
    weight: float | None = None


METHOD = Method(
    key="disdiff",
    label="DisDiff",
    config=DisDiffConfig,
    model=DisDiff,
    loss=loss,
    presets={
        "faces64": Preset(lambda: in_sizes(DisDiffConfig, pdae.faces64()), SMALL_PRESETS["faces64"]),
        "faces64s": Preset(lambda: in_sizes(DisDiffConfig, pdae.faces64s()), SMALL_PRESETS["faces64s"]),
        "faces32": Preset(lambda: in_sizes(DisDiffConfig, pdae.faces32()), SMALL_PRESETS["faces32"]),
    },
    options=DisDiffOptions,
    variant=lambda config: differences(config, in_sizes(DisDiffConfig, config, schedule=config.schedule)),
)
