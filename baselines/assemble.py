"""From a recognised file to a model: which class takes which part. Every tensor has to fit, none may be left over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from baselines.interface import LoadedModel, Prior, RepresentationModel, Statistics, WeightsUsed
from baselines.methods import adm, ddim, diffae, diti
from baselines.methods.pdae import model as pdae
from baselines.recognise import NO_MODEL, Found, recognise
from dbae.checkpoints import official, torchfile
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card, States, from_json, load_strictly
from dbae.model import DBAE, DBAEConfig
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Method:
    """A kind of model.

    Attributes:
        label: its name in the tables.
        config: dataclass of its configuration.
        model: its class, made from a configuration and a name.
    """

    label: str
    config: type[Any]
    model: type[Any]


METHODS = {
    "dbae": Method("DBAE", DBAEConfig, DBAE),
    "ddim": Method("DDIM", ddim.DDIMConfig, ddim.DDIM),
    "diffae": Method("DiffAE", diffae.DiffAEConfig, diffae.DiffAE),
    "pdae": Method("PDAE", pdae.PDAEConfig, pdae.PDAE),
    "diti": Method("DiTi", diti.DiTiConfig, diti.DiTi),
}
"""By the `method` of our cards."""

CONVERTED = "converted from"
"""Key under `training` in the card of a file that another program trained."""


def method_of(model: object) -> str:
    """The key in `METHODS` of a model's class."""
    return next(key for key, method in METHODS.items() if type(model) is method.model)


def own(card: Card, states: States, path: Path) -> LoadedModel:
    """The model of one of our files, which `checkpoint.read(path)` gave.

    Raises:
        UserError: a method that has no model, or a file that does not fit its card.
    """
    method = METHODS.get(card.method)
    if method is None:
        raise UserError(f"{path}: expected a model of {', '.join(METHODS)}, found a {card.method!r} checkpoint.")

    def build(config: dict[str, Any], name: str) -> nn.Module:
        return method.model(from_json(method.config, config), name=name)

    return _assembled(checkpoint.filled(card, states, build, path), "EMA" if "ema" in states else "raw")


def published(found: Found, path: Path, name: str, options: Mapping[str, str]) -> LoadedModel:
    """The model of a recognised file, described as far as its tensors tell.

    Args:
        name: for result rows.
        options: what the file does not tell.

    Raises:
        UserError: keys or shapes that do not fit, or options that are missing or out of place.
    """
    if found.kind == "PDAE" and options == {"method": "diti"}:
        found, options = dataclasses.replace(found, kind="DiTi"), {}
    if options and found.kind != "U-Net":
        raise UserError(
            f"{path}: expected no options, since the file tells all about itself; found {', '.join(options)}. "
            "(A DiTi whose file holds its averaged weights alone looks like a PDAE: add ?method=diti.)"
        )
    state: Mapping[str, Any] = found.parts.get("model", {})
    match found.kind:
        case "DBAE":
            return _assembled(official.from_state(state, path, name=name), found.weights_used)
        case "DiffAE":
            return _filled(diffae, diffae.detect(state), state, found, path, name)
        case "DDIM":
            return _filled(ddim, ddim.detect(state), state, found, path, name)
        case "U-Net":
            made = _filled(ddim, adm.config_of(state, options, path), state, found, path, name)
            return dataclasses.replace(made, variant=", ".join(f"{key}={options[key]}" for key in sorted(options)))
        case "PDAE":
            return _filled(pdae, pdae.detect(found.parts), found.parts, found, path, name)
        case "DiTi":
            return _filled(diti, diti.detect(found.parts), found.parts, found, path, name)
        case _:
            raise UserError(f"{path}: {NO_MODEL[found.kind]}.")


def latent_prior(found: Found, path: Path) -> Prior | None:
    """The latent DPM of a recognised file; None if it has none.

    Raises:
        UserError: it does not fit, or the mean and deviation of the latents are missing.
    """
    if "latent" not in found.parts:
        return None
    statistics = statistics_of(found, path)
    if statistics is None:
        raise UserError(f"{path}: {_no_statistics(path)}")
    prior = diffae.build_prior(found.parts["latent"], statistics.mean, statistics.std, path, name=f"{path.stem} prior")
    if found.kind != "DiffAE":
        prior.sampling = pdae.LATENT_SAMPLING
    return prior


def statistics_of(found: Found, path: Path) -> Statistics | None:
    """Mean and deviation of latents, from the file itself or from one that its authors put beside it.

    DiffAE: latent.pkl (or latent.ckpt) in the same folder. PDAE: latents.pt there, or in the authors' own layout
    latents/ffhq.pt for latent_denoise_fn/ffhq128/checkpoint.pt.
    """
    if found.statistics is not None:
        return found.statistics
    folder = path.resolve().parent
    data = folder.name
    layout = folder.parent.parent / "latents"
    names = [folder / name for name in ("latent.pkl", "latent.ckpt", "latents.pt")]
    names += [layout / f"{data}.pt", layout / f"{data.removesuffix('128')}.pt"]
    for beside in names:
        if beside.is_file():
            return recognise(torchfile.read(beside), beside).statistics
    return None


def _filled(module: Any, config: Any, state: Mapping[str, Any], found: Found, path: Path, name: str) -> LoadedModel:
    """A model of `module` with the tensors of `state`, and the prior that goes with it."""
    if config is None:
        raise UserError(f"{path}: has the names of a {found.kind} checkpoint, but shapes that fit no such network.")
    if found.image_size not in (None, config.image_size):
        raise UserError(
            f"{path}: keeps noise of {found.image_size} px, but its attention fits images of {config.image_size} px "
            "(16x16 maps). It was trained with another configuration than the published ones, which cannot be read off."
        )
    model = module.build(config, name)
    # A mapped file could change under the model.
    tensors = {key: torchfile.own_copy(value) for key, value in module.from_official(state).items()}
    load_strictly(model, tensors, path)
    if isinstance(model, ddim.DDIM):
        return _assembled(model, found.weights_used)
    statistics = statistics_of(found, path)
    if statistics is not None and len(statistics.mean) != model.latent_dim:
        raise UserError(f"{path}: expected statistics of {model.latent_dim} latents, found {len(statistics.mean)}.")
    if "latent" in found.parts and statistics is None:
        return dataclasses.replace(_assembled(model, found.weights_used), notes=(_no_statistics(path),))
    prior = latent_prior(dataclasses.replace(found, statistics=statistics), path)
    return dataclasses.replace(_assembled(model, found.weights_used), prior=prior, statistics=statistics)


def _no_statistics(path: Path) -> str:
    return (
        "its latent DPM draws standardised latents; expected their mean and deviation, which the authors publish "
        f"apart (trained-models/latents), in {path.parent / 'latents.pt'}, found no such file."
    )


def _assembled(model: Any, weights_used: WeightsUsed) -> LoadedModel:
    method = METHODS[method_of(model)]

    def untrained(seed: int) -> RepresentationModel:
        return _ready(method.model.initialised(model.config, seed, name=model.name))

    variant = ("stochastic" if model.config.stochastic else "deterministic") if isinstance(model, DBAE) else ""
    prior = ddim.NormalPrior(model.latent_dim) if isinstance(model, ddim.DDIM) else None
    return LoadedModel(
        _ready(model), model.name, method.label, variant, untrained=untrained, weights_used=weights_used, prior=prior
    )


def _ready(model: Any) -> Any:
    """For inference, in the memory layout that convolutions are fastest in."""
    return model.eval().to(memory_format=torch.channels_last)
