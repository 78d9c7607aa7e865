"""Random views of images: what contrastive learning holds to show the same.

    crop     an area of U(.08, 1) of the image, sides 3/4 to 4/3 of each other, resized back      where asked for
    flip     left-right                                                                           p = 1/2
    colour   brightness, contrast, saturation by factors U(.2, 1.8), hue by U(-.2, .2) turns      p = .8
    grey                                                                                          p = .2
    blur     Gaussian, deviation U(.1, 2) pixels, over a tenth of the side (7 at 64 px)           p = 1/2

Source: SimCLR (Chen et al. 2020); strengths as in `yue-zhongqi/diti`, whose fixed crop is the data's here. The four
changes of colour, each as torchvision makes it, come in a random order, one for a batch.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class Views:
    """How views are drawn: with `crop` from a part of the image, without `colour` not grey, blurred or recoloured."""

    crop: bool = False
    colour: bool = True

    @torch.no_grad()
    def draw(self, x: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
        """One view of each image, in [-1, 1] as they are. All draws come from `generator`, on their device."""
        with torch.autocast(x.device.type, enabled=False):
            draws = _Draws(len(x), generator, x.device)
            image = (x.float() + 1) / 2
            if self.crop:
                image = _cropped(image, draws)
            image = _where(draws.chance(0.5), image.flip(3), image)
            if self.colour:
                image = _jittered(image, draws)
                image = _where(draws.chance(0.2), grey(image).expand_as(image), image)
                image = _where(draws.chance(0.5), blurred(image, draws.uniform(0.1, 2.0)), image)
            return image * 2 - 1


@dataclasses.dataclass(frozen=True)
class _Draws:
    """One number an image."""

    n: int
    generator: torch.Generator
    device: torch.device

    def uniform(self, low: float, high: float) -> Float[Tensor, " b"]:
        return low + (high - low) * torch.rand(self.n, generator=self.generator, device=self.device)

    def chance(self, p: float) -> Bool[Tensor, " b"]:
        return self.uniform(0.0, 1.0) < p

    def order(self, n: int) -> list[int]:
        return torch.randperm(n, generator=self.generator, device=self.device).tolist()


def _where(chosen: Tensor, changed: Tensor, image: Tensor) -> Tensor:
    return torch.where(_wide(chosen), changed, image)


def _wide(values: Shaped[Tensor, " b"]) -> Shaped[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]


def _jittered(image: Tensor, draws: _Draws) -> Tensor:
    factors = [draws.uniform(0.2, 1.8) for _ in range(3)]
    shift, chosen = draws.uniform(-0.2, 0.2), draws.chance(0.8)
    changed = image
    for what in draws.order(4):
        if what == 0:
            changed = blended(changed, changed.new_zeros(()), factors[0])
        elif what == 1:
            changed = blended(changed, grey(changed).mean((1, 2, 3), keepdim=True), factors[1])
        elif what == 2:
            changed = blended(changed, grey(changed), factors[2])
        else:
            changed = turned(changed, shift)
    return _where(chosen, changed, image)


def grey(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Luminance of images in [0, 1]."""
    return (image * image.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def blended(image: Float[Tensor, "b 3 h w"], other: Tensor, factor: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """factor image + (1 - factor) other, within [0, 1]: brightness beside black, contrast beside the mean of `grey`,
    saturation beside `grey`.
    """
    return (_wide(factor) * image + (1 - _wide(factor)) * other).clamp(0, 1)


def turned(image: Float[Tensor, "b 3 h w"], shift: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1] with their hue changed by `shift` turns; value and saturation stay."""
    red, green, blue = image.unbind(1)
    value, chroma = image.amax(1), image.amax(1) - image.amin(1)
    span = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.where(
        value == red,
        (green - blue) / span,
        torch.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    sixths = sixths + 6 * shift[:, None, None]
    away = torch.stack([(sixths + n) % 6 for n in (5, 3, 1)], 1)
    return value[:, None] - chroma[:, None] * torch.minimum(away, 4 - away).clamp(0, 1)


def blurred(image: Float[Tensor, "b 3 h w"], deviation: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Each image under a Gaussian of its own deviation in pixels, an odd tenth of the side wide, edges reflected."""
    b, channels, size, _ = image.shape
    half = (size // 10 | 1) // 2
    at = torch.arange(-half, half + 1, device=image.device)
    weights = torch.softmax(-0.5 * (at / deviation[:, None]).square(), 1).repeat_interleave(channels, 0)
    planes = F.pad(image, (half,) * 4, mode="reflect").reshape(1, b * channels, size + 2 * half, size + 2 * half)
    planes = F.conv2d(planes, weights[:, None, None], groups=b * channels)
    return F.conv2d(planes, weights[:, None, :, None], groups=b * channels).view_as(image)


def _cropped(image: Tensor, draws: _Draws) -> Tensor:
    """A part of each image, at its size, bilinear."""
    area, log_ratio = draws.uniform(0.08, 1.0), draws.uniform(-0.2877, 0.2877)  # log(4 / 3)
    width, height = ((area * torch.exp(sign * log_ratio)).sqrt().clamp(max=1) for sign in (1, -1))
    left, top = ((1 - side) * draws.uniform(-1.0, 1.0) for side in (width, height))
    nothing = torch.zeros_like(width)
    frames = torch.stack([width, nothing, left, nothing, height, top], 1).view(-1, 2, 3)
    grid = F.affine_grid(frames, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)
