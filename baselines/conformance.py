"""Whether a model keeps what `baselines.interface` promises: for the author of a method, who runs `check` in a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from baselines.interface import InfersEndpoint, RepresentationModel
from dbae.noise import Noise, PerImageNoise, ReplayNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

_TOLERANCE = 1e-4


def check(model: Any, *, nfe: int = 4) -> None:
    """Encode and decode three images of noise in every way that the model says it has.

    Looked at are attributes, shapes, dtypes, ranges and gradients, whether an image has one result whatever stands
    beside it, whether noise is an argument and nothing else, and whether evaluations are counted.

    Args:
        model: on the CPU; a module is put into evaluation mode.
        nfe: evaluations to decode with.

    Raises:
        UserError: names everything that does not hold.
    """
    faults = list(_attributes(model))
    if isinstance(model, nn.Module):
        model.eval()
    if not faults:
        x = _noise("images", 3).normal((3, 3, model.image_size, model.image_size)).clamp(-1, 1)
        faults = [*_encoder(model, x), *(_decoder(model, x, nfe) if model.endpoints else _no_decoder(model, x))]
    if faults:
        raise UserError(
            f"{getattr(model, 'name', type(model).__name__)}: {'; '.join(faults)}. See baselines.interface."
        )


def _attributes(model: Any) -> Iterator[str]:
    if not isinstance(model, RepresentationModel):
        names = [*get_type_hints(RepresentationModel), "posterior", "encode", "decode"]
        missing = ", ".join(name for name in names if not hasattr(model, name))
        yield f"expected the attributes {', '.join(names)}, found no {missing}"
        return
    if not model.name or len(model.name.splitlines()) != 1:
        yield f"name: expected one line, found {model.name!r}"
    if model.image_size < 1 or model.latent_dim < 1 or model.encode_nfe < 0:
        yield "expected a positive image_size and latent_dim, and no negative encode_nfe"
    if unknown := set(model.samplers) - set(get_args(get_type_hints(SamplerConfig)["method"])):
        yield f"samplers: SamplerConfig has no method {', '.join(sorted(unknown))}"
    if (model.samplers and not model.endpoints) or set(model.endpoints) - {"decoded", "random", "inferred"}:
        yield f"endpoints: expected some of decoded, random and inferred, found {model.endpoints}"
    if ("inferred" in model.endpoints) != isinstance(model, InfersEndpoint):
        yield "the endpoint 'inferred' and infer_endpoint come together or not at all"


def _encoder(model: RepresentationModel, x: Tensor) -> Iterator[str]:
    shape = (len(x), model.latent_dim)
    with torch.no_grad():
        mean, sigma = model.posterior(x)
        alone, _ = model.posterior(x[1:2])
    yield from _tensor("posterior's mean", mean, shape)
    if sigma is not None:
        yield from _tensor("posterior's sigma", sigma, shape)
        if not (sigma > 0).all():
            yield "posterior's sigma: expected positive numbers"
    if mean.shape != shape:
        return
    if not _close(alone, mean[1:2]):
        yield "posterior: an image has another z in a batch than alone"
    z = model.encode(x)
    if z.requires_grad:
        yield "encode: z requires a gradient (decorate it with torch.no_grad)"
    if not _close(z, mean):
        yield "encode without noise: expected posterior's mean"
    eps = _noise("encoder", 3).normal(shape)
    drawn = mean if sigma is None else mean + sigma * eps
    if not _close(model.encode(x, noise=ReplayNoise([eps])), drawn):
        yield "encode with noise: expected mean + sigma * noise" if sigma is not None else "encode: noise changes z"


def _decoder(model: RepresentationModel, x: Tensor, nfe: int) -> Iterator[str]:
    z = model.encode(x)
    if z.shape != (len(x), model.latent_dim):
        return
    x_T: Tensor | None = None
    if isinstance(model, InfersEndpoint):
        with torch.no_grad():
            x_T, spent = model.infer_endpoint(x, z, steps=nfe)
        yield from _tensor("infer_endpoint", x_T, x.shape)
        if not isinstance(spent, int) or spent < 1:
            yield f"infer_endpoint: expected the evaluations it took, found {spent!r}"
    for method in model.samplers:
        config = SamplerConfig(method, nfe=1 if method == "one_step" else nfe)  # type: ignore[arg-type]
        yield from _decoded(model, z, config, x.shape)
    if not model.samplers:
        yield from _decoded(model, z, None, x.shape)
    if x_T is not None:
        yield from _tensor(
            "decode from an inferred x_T", model.decode(z, x_T=x_T, noise=_noise("sample", 3)).images, x.shape
        )


def _no_decoder(model: RepresentationModel, x: Tensor) -> Iterator[str]:
    try:
        model.decode(model.encode(x))
    except UserError:
        return
    yield "endpoints: expected some of decoded, random and inferred of a model that decodes, found none"


def _decoded(model: RepresentationModel, z: Tensor, config: SamplerConfig | None, shape: torch.Size) -> Iterator[str]:
    what = f"decode with {config.method}" if config else "decode"
    first, again = (model.decode(z, sampler=config, noise=_noise("sample", 3)) for _ in range(2))
    yield from _tensor(what, first.images, shape)
    if first.images.shape != shape:
        return
    if first.images.abs().max() > 1:
        yield f"{what}: expected images in [-1, 1]"
    if not torch.equal(first.images, again.images):
        yield f"{what}: the same noise gives other images; draw from `noise` alone"
    alone = model.decode(z[1:2], sampler=config, noise=PerImageNoise(0, [1], stream="sample"))
    if not _close(alone.images, first.images[1:2]):
        yield f"{what}: an image is another in a batch than alone"
    if not isinstance(first.nfe, int) or first.nfe < 1 or (config is not None and first.nfe > config.nfe):
        yield f"{what}: expected 1 to {config.nfe if config else 'any number of'} evaluations, found nfe={first.nfe!r}"


def _tensor(what: str, value: Any, shape: Any) -> Iterator[str]:
    if not isinstance(value, Tensor) or value.shape != shape:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        yield f"{what}: expected shape {tuple(shape)}, found {found}"
    elif not torch.isfinite(value).all():
        yield f"{what}: has NaN or infinite values"
    elif value.dtype != torch.float32:
        yield f"{what}: expected float32, found {value.dtype}"
    elif value.requires_grad:
        yield f"{what}: requires a gradient (decorate it with torch.no_grad)"


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=_TOLERANCE, atol=_TOLERANCE)


def _noise(stream: str, n: int) -> Noise:
    return PerImageNoise(0, range(n), stream=stream)
