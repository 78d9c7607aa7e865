"""FDAE: a code of N parts, each with what it shows and a mask that says where (Wu and Zheng, AAAI 2024).

    (c_1 .. c_N, m_1 .. m_N) = z = Enc(x0)                                   contents and masks, all of one length
    M_n = softmax_n( MaskDecoder(m_n) ),    C = sum_n M_n (W_n c_n + b_n)    maps of the size of the image
    eps_theta(x_t, t, z) = UNet( Conv(x_t) + C, t )
    loss = mean_pixels (eps - eps_theta)^2 + decorrelation L_CD + entropy L_ME

    L_CD   mean over pairs of parts of |sum over the batch of f_i . f_j|, where f are contents less their mean over the
           batch, of length 1 / N each. It grows with the batch.
    L_ME   mean over pixels of the entropy of M over the parts

Nothing else of z reaches the network, which is the plain one of DDIM behind a convolution of its own. Source:
`wuancong/FDAE` (cmfnet, edm/losses.py).

DEVIATION: encoder (a ResNet-18 there), network and noise (EDM's there) are the shared trunk's; all parts share a mask
decoder, whose widths follow the U-Net's; parts are as long as z allows (80 and 80 numbers each there).
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.diffusion import DiffusionModel, Predict, draw, noise_loss
from baselines.method import Method
from baselines.methods import diffae
from baselines.methods.diffae import DiffAEConfig
from baselines.options import ConfigOptions, differences, in_sizes, require
from baselines.regularisers import RegularisedLoss
from dbae.networks.blocks import GroupNorm
from dbae.networks.encoder import Encoder
from dbae.networks.trunk import Layers, Trunk, UNetConfig
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class FDAEConfig(DiffAEConfig):
    """Shapes as a DiffAE's, and:

    Attributes:
        parts: N.
        decorrelation: weight of L_CD.
        entropy: weight of L_ME.

    Raises:
        UserError: a value out of range, or a z that N contents and N masks cannot share.
    """

    parts: int = 4
    decorrelation: float = 2.5e-5
    entropy: float = 1e-4

    def __post_init__(self) -> None:
        require(self, "2 or more", lambda value: value >= 2, "parts")
        require(self, "0 or more", lambda value: 0 <= value < math.inf, "decorrelation", "entropy")
        if self.latent_dim % (2 * self.parts):
            raise UserError(
                f"--latent-dim: expected a multiple of {2 * self.parts}, as z is the contents and masks of "
                f"{self.parts} parts, found {self.latent_dim}; change --latent-dim or --parts."
            )

    @property
    def length(self) -> int:
        """Numbers of a content, and of a mask's code."""
        return self.latent_dim // (2 * self.parts)


class MaskDecoder(nn.Module):
    """From codes (b, length) to maps (b, 1, s, s): doubled from 4 px on, over 6, 4, 2 and 1 times `base` channels."""

    def __init__(self, length: int, image_size: int, *, base: int, groups: int) -> None:
        super().__init__()
        self.side = image_size
        widths: list[int] = []
        while self.side > 4 and self.side % 2 == 0:
            self.side //= 2
            widths.insert(0, base * (1, 2, 4, 6)[min(len(widths), 3)])
        before = [widths[0] if widths else base, *widths]
        self.start = nn.Linear(length, before[0] * self.side**2)
        self.stages = nn.Sequential(
            *(self._stage(c_in, c_out, groups) for c_in, c_out in zip(before, widths, strict=False))
        )
        self.out = nn.Conv2d(before[-1], 1, 3, padding=1)

    @staticmethod
    def _stage(c_in: int, c_out: int, groups: int) -> nn.Sequential:
        conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        return nn.Sequential(
            GroupNorm(groups, c_in), nn.Upsample(scale_factor=2), conv, GroupNorm(groups, c_out), nn.SiLU()
        )

    def forward(self, code: Float[Tensor, "b l"]) -> Float[Tensor, "b 1 s s"]:
        return self.out(self.stages(self.start(code).unflatten(1, (-1, self.side, self.side))))


class MappedUNet(Trunk):
    """eps_theta of the module docstring, given C."""

    def __init__(self, config: UNetConfig, *, image_size: int) -> None:
        super().__init__(Layers(config, image_size, nn.Conv1d), in_channels=config.base)
        self.stem = nn.Conv2d(3, config.base, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b 3 s s"], t: Int[Tensor, " b"], scene: Float[Tensor, "b c s s"]
    ) -> Float[Tensor, "b 3 s s"]:
        e = self.embed(t.float())
        return self.up(self.down(self.stem(x) + scene, e), e)


class FDAE(DiffusionModel):
    """An FDAE as a `RepresentationModel`. Its state dict is `network.*`, `encoder.*`, `masks.*`, `contents.*`.

    Args:
        config: architecture and objective.
        name: name used in result rows.
    """

    config: FDAEConfig
    endpoints = ("random", "inferred")

    def __init__(self, config: FDAEConfig, *, name: str = "fdae") -> None:
        super().__init__(config, name=name)
        size, parts, shape = config.image_size, config.parts, config.unet
        self.latent_dim, self.schedule = config.latent_dim, config.schedule
        self.network = MappedUNet(shape, image_size=size)
        self.encoder = Encoder(config.encoder, image_size=size, outputs=config.latent_dim)
        self.masks = MaskDecoder(config.length, size, base=shape.base, groups=shape.groups)
        # All W_n and b_n side by side.
        self.contents = nn.Conv1d(parts * config.length, parts * shape.base, 1, groups=parts)

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b l"], None]:
        """z = Enc(x) of images in [-1, 1]: the contents of all parts, then the codes of their masks."""
        return self.encoder(x), None

    def content_of(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b n c"]:
        """The contents in z."""
        return z[:, : z.shape[1] // 2].unflatten(1, (self.config.parts, -1))

    def masks_of(self, z: Float[Tensor, "b l"]) -> Float[Tensor, "b n s s"]:
        """M of every part, float32; at each pixel their sum is 1."""
        codes = z[:, z.shape[1] // 2 :].reshape(len(z) * self.config.parts, -1)
        return self.masks(codes).float().unflatten(0, (len(z), -1)).squeeze(2).softmax(1)

    def scene(self, z: Float[Tensor, "b l"], masks: Float[Tensor, "b n s s"]) -> Float[Tensor, "b c s s"]:
        """C of the module docstring."""
        shown = self.contents(self.content_of(z).flatten(1)[:, :, None]).unflatten(1, (self.config.parts, -1))
        return torch.einsum("bnhw,bnc->bchw", masks.to(shown), shown[..., 0])

    def predictor(self, z: Float[Tensor, "b l"] | None) -> Predict:
        if z is None:
            raise ValueError("FDAE predicts noise under a code: pass z")
        scene = self.scene(z, self.masks_of(z))
        return lambda x, t: self.network(x, torch.full((len(x),), t, device=x.device), scene)

    def pictures(self, x: Float[Tensor, "b 3 s s"]) -> list[Float[Tensor, "b 3 s s"]]:
        """The masks of each image, each part in a colour of its own."""
        n = self.config.parts
        turns = torch.arange(n, device=x.device)[:, None] / n - torch.arange(3, device=x.device) / 3
        return [torch.einsum("bnhw,nc->bchw", self.masks_of(self.encode(x)), torch.cos(2 * math.pi * turns))]


# --- training ---------------------------------------------------------------------------------------------------------


def content_decorrelation(content: Float[Tensor, "b n c"]) -> Float[Tensor, ""]:
    """L_CD of the module docstring, in float32."""
    n = content.shape[1]
    with torch.autocast(content.device.type, enabled=False):
        f = F.normalize(content.float() - content.float().mean(0), dim=2) / n
        products = torch.einsum("bic,bjc->ij", f, f).abs()
    return (products.sum() - products.diagonal().sum()) / (n * (n - 1))


def mask_entropy(masks: Float[Tensor, "b n h w"]) -> Float[Tensor, " b"]:
    """L_ME of the module docstring, nats, of each image."""
    kept = masks.clamp(min=1e-8)  # at 0 the entropy has no finite gradient
    return torch.special.entr(kept).sum(1).flatten(1).mean(1)


def loss(model: FDAE, x0: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> RegularisedLoss:
    """The objective (order of draws: t, eps, then dropout). L_CD, which is of a batch, counts for each of its images.

    Of a fresh model, the gradient of the first term in z is exactly zero in the first step: the network's last layer
    starts at zero.
    """
    t, noise = draw(x0, generator)
    z, _ = model.posterior(x0)
    masks = model.masks_of(z)
    scene = model.scene(z, masks)
    found = noise_loss(lambda x, t: model.network(x, t, scene), model.schedule, x0, t, noise=noise)
    c = model.config
    terms = c.decorrelation * content_decorrelation(model.content_of(z)) + c.entropy * mask_entropy(masks)
    return RegularisedLoss(found.loss + terms, found.mse)


# --- presets ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FDAEOptions(ConfigOptions):
    """What FDAE can be told. None keeps the preset's value.

    Attributes:
        parts: number of parts of an image, each with a content and a mask.
        decorrelation: weight of the loss that draws contents of different parts apart.
        entropy: weight of the masks' entropy in the loss.
    """

    parts: int | None = None
    decorrelation: float | None = None
    entropy: float | None = None


METHOD = Method(
    key="fdae",
    label="FDAE",
    config=FDAEConfig,
    model=FDAE,
    loss=loss,
    presets=diffae.small_presets(partial(in_sizes, FDAEConfig)),
    options=FDAEOptions,
    variant=lambda config: differences(config, in_sizes(FDAEConfig, diffae.faces32())),
    least=lambda config: 2 if config.decorrelation else 1,
)
