"""Editing in the space of z: between two images, and along the direction of a linear classifier.

    z(a)     = (1 - a) z_1 + a z_2                                                                    interpolation
    x_T(a)   = [ sin((1 - a) theta) x_1 + sin(a theta) x_2 ] / sin(theta),  theta the angle between x_1 and x_2
    z'       = mean + std ( (z - mean) / std + s sqrt(l) w / |w| )                                    manipulation

mean and std are those of z over the training images, w is a row of the weight of a classifier of standardised z, s the
strength (0.3), l the length of z. Manipulated images keep the x_T that was inferred under their own z. A model that
has no `infer_endpoint` gets its x_T from z(a) or z', unless one is given.

Source: `phizaz/diffae`, interpolate.ipynb and manipulate.ipynb; `ckczzj/PDAE`, sampler/. PDAE writes sqrt(512) for
sqrt(l); its z has 512 places.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.interface import InfersEndpoint, RepresentationModel
from dbae.decoding import decoded_by
from dbae.interface import DecodesEndpoint
from dbae.noise import Noise
from dbae.samplers import SamplerConfig


@dataclasses.dataclass(frozen=True)
class Edited:
    """Images in [-1, 1], the evaluations spent on each of them, and those spent on each original to infer its x_T.

    `x_T` is where each of them started, None where a model has none to look at.
    """

    images: Float[Tensor, "n 3 s s"]
    nfe: int
    encode_nfe: int
    x_T: Float[Tensor, "n 3 s s"] | None = None


def lerp(first: Float[Tensor, " *d"], second: Float[Tensor, " *d"], shares: Sequence[float]) -> Float[Tensor, " n *d"]:
    """(1 - a) first + a second for every share a."""
    a = _column(shares, first)
    return (1 - a) * first + a * second


def slerp(first: Float[Tensor, " *d"], second: Float[Tensor, " *d"], shares: Sequence[float]) -> Float[Tensor, " n *d"]:
    """x_T(a) of the module docstring for every share a; the angle is that of the whole tensors.

    DEVIATION: the notebooks divide by sin(theta) = 0 where both are parallel; here that gives the limit, `lerp`.
    """
    cosine = torch.dot(first.flatten(), second.flatten()) / (first.norm() * second.norm())
    theta = torch.arccos(cosine.clamp(-1, 1))
    a = _column(shares, first)
    turned = (torch.sin((1 - a) * theta) * first + torch.sin(a * theta) * second) / torch.sin(theta)
    return torch.where(torch.sin(theta) < 1e-4, lerp(first, second, shares), turned)


def manipulate(
    z: Float[Tensor, "b l"],
    direction: Float[Tensor, " l"],
    strength: float,
    *,
    mean: Float[Tensor, " l"],
    std: Float[Tensor, " l"],
) -> Float[Tensor, "b l"]:
    """z' of the module docstring; `direction` is w, of any length."""
    step = strength * z.shape[1] ** 0.5 * direction / direction.norm()
    return ((z - mean) / std + step) * std + mean


@torch.no_grad()
def interpolate_images(
    model: RepresentationModel,
    first: Float[Tensor, "3 s s"],
    second: Float[Tensor, "3 s s"],
    shares: Sequence[float],
    *,
    x_T: Float[Tensor, "2 3 s s"] | None = None,
    encode_steps: int = 250,
    sampler: SamplerConfig | None = None,
    noise: Noise | None = None,
) -> Edited:
    """Images between two, one for every share from 0 to 1.

    Args:
        x_T: of the two images; None is inferred from them, or decoded from z(a).
        noise: of a sampler that draws some.
        encode_steps: of the inversion. Its default and the sampler's, 20 steps of the model's first method, are
            DiffAE's.
    """
    x = torch.stack([first, second])
    z = model.encode(x)
    x_T, spent = (x_T, 0) if x_T is not None else _endpoint(model, x, z, encode_steps)
    between = None if x_T is None else slerp(x_T[0], x_T[1], shares)
    return _decoded(model, lerp(z[0], z[1], shares), between, sampler or _default(model, 20), noise, spent)


@torch.no_grad()
def manipulate_images(
    model: RepresentationModel,
    x: Float[Tensor, "b 3 s s"],
    direction: Float[Tensor, " l"],
    strength: float,
    *,
    mean: Float[Tensor, " l"],
    std: Float[Tensor, " l"],
    x_T: Float[Tensor, "b 3 s s"] | None = None,
    encode_steps: int = 250,
    sampler: SamplerConfig | None = None,
    noise: Noise | None = None,
) -> Edited:
    """Images changed along a direction.

    Args:
        direction, strength, mean, std: see `manipulate`.
        x_T: of the images; None is inferred from them, or decoded from z'.
        noise: of a sampler that draws some.
        encode_steps: of the inversion. Its default and the sampler's, 100 steps of the model's first method, are
            DiffAE's; PDAE takes 500 and 200.
    """
    z = model.encode(x)
    x_T, spent = (x_T, 0) if x_T is not None else _endpoint(model, x, z, encode_steps)
    changed = manipulate(z, direction, strength, mean=mean, std=std)
    return _decoded(model, changed, x_T, sampler or _default(model, 100), noise, spent)


def _decoded(
    model: RepresentationModel, z: Tensor, x_T: Tensor | None, sampler: SamplerConfig, noise: Noise | None, spent: int
) -> Edited:
    if x_T is None and isinstance(model, DecodesEndpoint):
        x_T = model.endpoint(z)
    found = decoded_by(model, z, x_T=x_T, sampler=sampler, noise=noise)
    return Edited(found.images, found.nfe, spent, x_T)


def _endpoint(model: RepresentationModel, x: Tensor, z: Tensor, steps: int) -> tuple[Tensor | None, int]:
    """x_T inferred from x under z, and its evaluations; None where the model gets x_T from z."""
    return model.infer_endpoint(x, z, steps=steps) if isinstance(model, InfersEndpoint) else (None, 0)


def _default(model: RepresentationModel, steps: int) -> SamplerConfig:
    return SamplerConfig(model.samplers[0], nfe=steps)  # type: ignore[arg-type]


def _column(shares: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(shares, dtype=like.dtype, device=like.device).view(-1, *[1] * like.ndim)
