"""Images from latents under a setting, and whose latents are worth keeping."""

from __future__ import annotations

import logging

from jaxtyping import Float
from torch import Tensor

from baselines.interface import LoadedModel, RepresentationModel
from benchmarks.subjects.given import HasLatents
from benchmarks.subjects.settings import Setting
from dbae import decoding
from dbae.decoding import Decoding
from dbae.noise import Noise

log = logging.getLogger(__name__)


def decode(
    model: RepresentationModel,
    x: Float[Tensor, "b 3 s s"],
    z: Float[Tensor, "b l"] | None,
    setting: Setting,
    *,
    noise: Noise,
    x_T_noise: Noise,
) -> Decoding:
    """Decode a batch as `dbae.decoding.decode` does; `x_T_noise` draws a random x_T.

    That is a source of its own, so that settings share their x_T.
    """
    return decoding.decode(
        model,
        x,
        z,
        sampler=setting.sampler,
        noise=noise,
        x_T=x_T_noise.normal(x.shape) if setting.endpoint == "random" else None,
        encode_steps=setting.encode_steps if setting.endpoint == "inferred" else None,
    )


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
