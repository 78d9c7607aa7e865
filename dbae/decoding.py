"""Images from latents, whatever the model: where x_T comes from, and what was spent on the way."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from dbae.interface import Decoded, DecodesEndpoint, EncodesCurve, InfersEndpoint, LimitsBudgets, RepresentationModel
from dbae.noise import Noise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

Endpoint = Literal["own", "decoded", "random", "inferred"]
"""Where x_T comes from: z, N(0, I), the image by inversion, or the first of these that the model has."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Images in [-1, 1], float32, and the network evaluations an image: of decoding, and of what came before it.

    `encode_nfe` counts those of inferring x_T, and the passes of an encoder that is asked for a code at every step.
    `x_T` is where sampling started, None where the model alone knows.
    """

    images: Float[Tensor, "b 3 s s"]
    nfe: int
    encode_nfe: int
    x_T: Float[Tensor, "b 3 s s"] | None = None


def decode(
    model: RepresentationModel,
    x: Float[Tensor, "b 3 s s"],
    z: Float[Tensor, "b l"] | None,
    *,
    sampler: SamplerConfig,
    noise: Noise,
    x_T: Float[Tensor, "b 3 s s"] | None = None,
    encode_steps: int | None = None,
) -> Decoding:
    """Decode a batch; called within the autocast context of the networks.

    Args:
        model: the model.
        x: the images that z belongs to, in [-1, 1]; only an inferred x_T and a curve of codes look at them.
        z: latents; None for a model whose encoder evaluates the network (`encode_nfe`): its z is found here, and where
            x_T is inferred, that is its z.
        sampler: how.
        noise: of the sampler.
        x_T: where to start; None is as the model gets it from z, unless it is inferred.
        encode_steps: infer x_T from x by so many steps; None does not.

    Raises:
        UserError: the model cannot infer x_T, or see `decoded_by`.
    """
    spent = 0
    code: Tensor | None = None
    if z is None and encode_steps is not None:
        z = x.new_zeros(len(x), model.latent_dim)
    elif z is None:
        z, spent = model.encode(x), model.encode_nfe
    if encode_steps is not None:
        if not isinstance(model, InfersEndpoint):
            raise UserError(f"{model.name}: has no infer_endpoint. Leave 'inferred' out of --endpoint.")
        inverse = SamplerConfig("ddim", nfe=encode_steps)
        code, passes = _code(model, x, z, inverse)
        x_T, spent = model.infer_endpoint(x, code, steps=encode_steps)
        spent += passes
        if sampler != inverse:
            code = None
    if code is None:  # else the way back visits the times of the way there
        code, passes = _code(model, x, z, sampler)
        spent += passes
    decoded = decoded_by(model, code, x_T=x_T, sampler=sampler, noise=noise)
    return Decoding(decoded.images.float(), decoded.nfe, spent, x_T)


def _code(model: RepresentationModel, x: Tensor, z: Tensor, sampler: SamplerConfig) -> tuple[Tensor, int]:
    """What the decoder is given: z, or the curve that it asks for; and the passes of the encoder after that of z."""
    return model.encode_curve(x, z, sampler) if isinstance(model, EncodesCurve) else (z, 0)


def decoded_by(
    model: RepresentationModel,
    z: Float[Tensor, "b ..."],
    *,
    x_T: Float[Tensor, "b 3 s s"] | None = None,
    sampler: SamplerConfig | None = None,
    noise: Noise | None = None,
) -> Decoded:
    """What `model.decode` gives.

    Raises:
        UserError: a model of somebody's own gives something else than `dbae.interface.Decoded`.
    """
    found: Any = model.decode(z, x_T=x_T, sampler=sampler, noise=noise)
    if not isinstance(found, Decoded):
        raise UserError(
            f"{model.name}: expected decode(z) to give an object with the attributes images and nfe "
            f"(dbae.interface.Decoded), found {type(found).__name__}. Return one "
            "(examples/measure_own_model.py does)."
        )
    images: Any = found.images
    shape = (len(z), 3, model.image_size, model.image_size)
    if not isinstance(images, Tensor) or tuple(images.shape) != shape:
        what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"{model.name}: expected decode(z) to give images of shape {shape}, found {what}. Correct image_size, or "
            "what is returned."
        )
    return found


def require_budget(model: RepresentationModel, sampler: SamplerConfig, option: str = "--nfe") -> None:
    """Raise UserError, which names the model and the option, for a budget that the model has no steps for."""
    if isinstance(model, LimitsBudgets):
        try:
            model.require_budget(sampler)
        except UserError as error:
            raise UserError(f"{model.name}, {option} {sampler.nfe}, {error}") from error


def endpoint_of(model: RepresentationModel, wanted: Endpoint) -> str:
    """Where x_T comes from: "decoded", "random" or "inferred".

    Raises:
        UserError: the model has no such way.
    """
    if wanted != "own" and wanted not in model.endpoints:
        raise UserError(f"--endpoint {wanted}: expected one of {', '.join(model.endpoints)}, which {model.name} has.")
    return model.endpoints[0] if wanted == "own" else wanted


def starting_point(
    model: RepresentationModel, z: Float[Tensor, "b l"], endpoint: str, noise: Noise
) -> Float[Tensor, "b 3 s s"] | None:
    """x_T that is decoded from z or drawn; None where it is inferred or cannot be looked at."""
    if endpoint == "decoded":
        return model.endpoint(z) if isinstance(model, DecodesEndpoint) else None
    if endpoint == "random":
        if hasattr(model, "draw_endpoint"):  # its choice between Dec(z) and noise comes first in the stream
            return model.draw_endpoint(z, noise, blend=0.0)
        return noise.normal((len(z), 3, model.image_size, model.image_size))  # float32, also where z is not
    return None


def shows_endpoint(model: RepresentationModel, endpoint: str) -> bool:
    """Whether there is an x_T to look at."""
    return endpoint != "decoded" or isinstance(model, DecodesEndpoint)
