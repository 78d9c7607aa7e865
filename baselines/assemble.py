"""From a recognised file to a model: which class takes which part. Every tensor has to fit, none may be left over."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from baselines.interface import LoadedModel, Prior, Statistics, WeightsUsed
from baselines.method import Method, Official, ready
from baselines.methods import METHODS, diffae
from baselines.recognise import NO_MODEL, Found, recognise
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints import torchfile
from dbae.checkpoints.facts import shown
from dbae.checkpoints.own import Card, States, load_strictly
from dbae.support.errors import UserError

CONVERTED = "converted from"
"""Key under `training` in the card of a file that another program trained."""


def own(card: Card, states: States, path: Path) -> LoadedModel:
    """The model of one of our files, which `checkpoint.read(path)` gave.

    Raises:
        UserError: a method that has no model, or a file that does not fit its card.
    """
    method = METHODS.get(card.method)
    if method is None:
        raise UserError(f"{path}: expected a model of {', '.join(METHODS)}, found a {card.method!r} checkpoint.")

    def build(config: dict[str, Any], name: str) -> nn.Module:
        return method.of_card(config, name)

    model: Any = checkpoint.filled(card, states, build, path)
    origin = card.training.get(CONVERTED)
    facts = origin.get("facts") if isinstance(origin, dict) else None
    told = {str(k): str(v) for k, v in facts.items()} if isinstance(facts, dict) else {}
    return _told(_described(method, model, "EMA" if "ema" in states else "raw"), told)


def published(found: Found, path: Path, name: str, options: Mapping[str, str]) -> LoadedModel:
    """The model of a recognised file, described as far as its tensors tell.

    Args:
        name: for result rows.
        options: what the file does not tell.

    Raises:
        UserError: keys or shapes that do not fit, or options that are missing or out of place.
    """
    if found.kind in NO_MODEL:
        raise UserError(f"{path}: {NO_MODEL[found.kind]}.")
    method, official = _opener(found, options)
    given = {name: value for name, value in options.items() if name != "method"}
    if official.claims == ("U-Net",) and "label_emb.weight" in found.parts["model"]:
        raise UserError(f"{path}: a class-conditional U-Net, whose labels play no part here; only others can be used.")
    config = official.detect(found.parts)
    if config is None:
        raise UserError(f"{path}: has the names of a {found.kind} checkpoint, but shapes that fit no such network.")
    config = _settled(official, config, found, given, path)
    try:
        model = method.blank(config, name)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(f"{path}: has shapes that fit no {method.label} ({str(error).splitlines()[0]}).") from error
    # A mapped file could change under the model.
    load_strictly(model, {k: torchfile.own_copy(v) for k, v in official.state(found.parts).items()}, path)
    made = _told(_described(method, model, found.weights_used), given)
    return made if made.prior else _with_latents(made, found, path)


def _settled(official: Official, config: Any, found: Found, given: Mapping[str, str], path: Path) -> Any:
    """The configuration with what its shapes do not show (`dbae.checkpoints.facts`)."""
    told = {*official.question.asks, *official.question.grants}
    written = {k: v for k, v in official.written(found.hyper_parameters).items() if k in told}
    if found.image_size is not None and "image_size" in official.question.asks:
        written["image_size"] = str(found.image_size)
    published = official.published(config)
    known = {**official.question.grants, "image_size": str(config.image_size), **official.facts} if published else {}
    if published and not given and all(known.get(name) == value for name, value in written.items()):
        return config
    answers = official.question.answered(path, user=given, file=written, published=known)
    return official.settled(config, answers, path)


def _opener(found: Found, options: Mapping[str, str]) -> tuple[Method, Official]:
    """The method that opens a file, and how: the one that is asked for, or the one that claims its kind."""
    pairs = [(method, official) for method in METHODS.values() for official in method.official]
    asked = [p for p in pairs if p[0].key == options.get("method") and found.kind in p[1].on_request]
    return next(iter([*asked, *(p for p in pairs if found.kind in p[1].claims)]))


def _with_latents(made: LoadedModel, found: Found, path: Path) -> LoadedModel:
    """With the statistics of z and the latent DPM that go with a file."""
    statistics = statistics_of(found, path)
    if statistics is not None and len(statistics.mean) != made.model.latent_dim:
        raise UserError(
            f"{path}: expected statistics of {made.model.latent_dim} latents, found {len(statistics.mean)}."
        )
    if "latent" in found.parts and statistics is None:
        return dataclasses.replace(made, notes=(_no_statistics(path),))
    prior = latent_prior(dataclasses.replace(found, statistics=statistics), path)
    return dataclasses.replace(made, prior=prior, statistics=statistics)


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
    claimed = (official for method in METHODS.values() for official in method.official if found.kind in official.claims)
    sampling = next((official.latent_sampling for official in claimed if official.latent_sampling), None)
    if sampling is not None:
        prior.sampling = sampling
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


def _no_statistics(path: Path) -> str:
    return (
        "its latent DPM draws standardised latents; expected their mean and deviation, which the authors publish "
        f"apart (trained-models/latents), in {path.parent / 'latents.pt'}, found no such file."
    )


def _told(made: LoadedModel, facts: Mapping[str, str]) -> LoadedModel:
    """With what a user said of the file, which tells it apart from the same file otherwise understood."""
    variant = ", ".join(filter(None, (made.variant, shown(facts))))
    return dataclasses.replace(made, variant=variant, facts=dict(facts))


def _described(method: Method, model: Any, weights_used: WeightsUsed) -> LoadedModel:
    return LoadedModel(
        ready(model),
        model.name,
        method.label,
        method.variant(model.config),
        untrained=method.untrained(model.config, model.name),
        weights_used=weights_used,
        prior=method.prior(model),
    )
