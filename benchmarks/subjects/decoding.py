"""Images from latents under a setting: where x_T comes from, what was spent on it, and the noise of each image."""

from __future__ import annotations

import dataclasses
import logging

from jaxtyping import Float
from torch import Tensor

from baselines.interface import EncodesCurve, InfersEndpoint, LoadedModel, RepresentationModel
from benchmarks.subjects.given import HasLatents
from benchmarks.subjects.settings import Setting
from dbae.noise import Noise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Images in [-1, 1], float32, and the network evaluations an image: of decoding, and of what came before it.

    `encode_nfe` counts those of inferring x_T, and the passes of an encoder that is asked for a code at every step.
    """

    images: Float[Tensor, "b 3 s s"]
    nfe: int
    encode_nfe: int


def decode(
    model: RepresentationModel,
    x: Float[Tensor, "b 3 s s"],
    z: Float[Tensor, "b l"] | None,
    setting: Setting,
    *,
    noise: Noise,
    x_T_noise: Noise,
) -> Decoding:
    """Decode a batch; called within the autocast context of the networks.

    Args:
        model: the model.
        x: the images that z belongs to, in [-1, 1]; only an inferred x_T looks at them.
        z: latents; None for a model whose encoder evaluates the network (`encode_nfe`): its z is found here, and where
            x_T is inferred, that is its z.
        setting: how.
        noise: of the sampler.
        x_T_noise: of a random x_T. A source of its own, so that settings share their x_T.

    Raises:
        UserError: the model cannot infer x_T.
    """
    spent, x_T = 0, None
    code: Tensor | None = None
    if z is None and setting.endpoint == "inferred":
        z = x.new_zeros(len(x), model.latent_dim)
    elif z is None:
        z, spent = model.encode(x), model.encode_nfe
    if setting.endpoint == "random":
        x_T = x_T_noise.normal(x.shape)
    elif setting.endpoint == "inferred":
        if not isinstance(model, InfersEndpoint):
            raise UserError(f"{model.name}: has no infer_endpoint. Leave 'inferred' out of --endpoint.")
        inverse = SamplerConfig("ddim", nfe=setting.encode_steps)
        code, passes = _code(model, x, z, inverse)
        x_T, spent = model.infer_endpoint(x, code, steps=setting.encode_steps)
        spent += passes
        if setting.sampler != inverse:
            code = None
    if code is None:  # else the way back visits the times of the way there
        code, passes = _code(model, x, z, setting.sampler)
        spent += passes
    decoded = model.decode(code, x_T=x_T, sampler=setting.sampler, noise=noise)
    return Decoding(decoded.images.float(), decoded.nfe, spent)


def _code(model: RepresentationModel, x: Tensor, z: Tensor, sampler: SamplerConfig) -> tuple[Tensor, int]:
    """What the decoder is given: z, or the curve that it asks for; and the passes of the encoder after that of z."""
    return model.encode_curve(x, z, sampler) if isinstance(model, EncodesCurve) else (z, 0)


def decodes(loaded: LoadedModel, benchmark: str) -> bool:
    """Whether a benchmark of images can ask the model for some; the log says that it is n/a where it cannot.

    Of z alone it says nothing: who asks for its images made a mistake, which the first use of it names.
    """
    if loaded.model.endpoints or isinstance(loaded.model, HasLatents):
        return True
    log.warning("%s: %s is n/a, as %s has no decoder.", loaded.name, benchmark, loaded.method or "the model")
    return False


def reads_latents(model: RepresentationModel) -> bool:
    """Whether z of this model is worth keeping: it is a small vector, found by one pass of an encoder."""
    return model.encode_nfe == 0
