"""Models whose cost is measured: checkpoints, and architectures without any weights (`untrained:[METHOD:]PRESET`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from baselines import assemble
from baselines.interface import LoadedModel, RepresentationModel, weights_digest
from baselines.train import RECIPES
from dbae import model as dbae_presets
from dbae.support.errors import UserError
from dbae.train import objective as dbae_objective
from dbae.training.loop import Objective

PREFIX = "untrained:"
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Trainable:
    """A method that can be trained.

    Attributes:
        module: has one function a preset, which returns a configuration.
        objective: its loss.
    """

    label: str
    model: type[Any]
    module: ModuleType
    objective: Objective


def methods() -> dict[str, Trainable]:
    """Every method with presets and a loss, by the name its checkpoints use."""
    found = {"dbae": Trainable("DBAE", assemble.METHODS["dbae"].model, dbae_presets, dbae_objective)}
    for key, recipe in RECIPES.items():
        known = assemble.METHODS[key]
        found[key] = Trainable(known.label, known.model, recipe.module, recipe.module.loss)
    return found


def objective_of(model: RepresentationModel) -> Objective | None:
    """The loss that trains a model of this class; None where there is none."""
    return next((method.objective for method in methods().values() if type(model) is method.model), None)


def open_subject(source: str, load: Callable[[str], LoadedModel]) -> LoadedModel:
    """`load(source)`, or the architecture that `untrained:PRESET` (of DBAE) or `untrained:METHOD:PRESET` names.

    Raises:
        UserError: no such method or preset, or what `load` raises.
    """
    if not source.startswith(PREFIX):
        return load(source)
    *named, preset = source.removeprefix(PREFIX).split(":")
    key, known = ":".join(named) or "dbae", methods()
    if key not in known:
        raise UserError(f"{source}: no method {key}; there is {', '.join(known)}.")
    method = known[key]
    presets = _presets(method.module)
    if preset not in presets:
        raise UserError(f"{source}: {key} has no preset {preset}; it has {', '.join(presets)}.")
    config, name = presets[preset](), f"{key}-{preset}"

    def build(seed: int) -> RepresentationModel:
        model = method.model.initialised(config, seed, name=name)
        return model.eval().to(memory_format=torch.channels_last)

    model = build(_SEED)
    return LoadedModel(model, name, method.label, weights="untrained", sha256=weights_digest(model), untrained=build)


def _presets(module: ModuleType) -> dict[str, Callable[[], Any]]:
    """Functions of a module whose name ends in an image size: celeba64, ffhq128, faces32 ..."""
    return {
        name: function
        for name, function in vars(module).items()
        if callable(function) and not name.startswith("_") and name[-1].isdigit()
    }
