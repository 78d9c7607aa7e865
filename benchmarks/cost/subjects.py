"""Models whose cost is measured: checkpoints, and architectures without any weights (`untrained:[METHOD:]PRESET`)."""

from __future__ import annotations

from collections.abc import Callable

from baselines.interface import LoadedModel, RepresentationModel, weights_digest
from baselines.methods import METHODS, method_of
from dbae.support.errors import UserError
from dbae.training.objective import Objective

PREFIX = "untrained:"
_SEED = 0


def objective_of(model: RepresentationModel, batch: int) -> Objective | None:
    """The loss that trains a model of this class; None where there is none.

    Raises:
        UserError: it compares more images with each other than the batch has.
    """
    method = method_of(model)
    if method is None:
        return None
    if batch < (least := method.least(model.config)):  # type: ignore[attr-defined]
        raise UserError(
            f"--batch-size {batch}: expected {least} images or more, which the loss of {model.name} compares with each "
            "other. Raise it, or leave training out of --measure."
        )
    return method.loss


def open_subject(source: str, load: Callable[[str], LoadedModel]) -> LoadedModel:
    """`load(source)`, or the architecture that `untrained:PRESET` (of DBAE) or `untrained:METHOD:PRESET` names.

    Raises:
        UserError: no such method or preset, or what `load` raises.
    """
    if not source.startswith(PREFIX):
        return load(source)
    *named, preset = source.removeprefix(PREFIX).split(":")
    key = ":".join(named) or "dbae"
    if key not in METHODS:
        raise UserError(f"{source}: no method {key}; there is {', '.join(METHODS)}.")
    method = METHODS[key]
    if preset not in method.presets:
        raise UserError(f"{source}: {key} has no preset {preset}; it has {', '.join(method.presets)}.")
    config, name = method.presets[preset].config(), f"{key}-{preset}"
    build = method.untrained(config, name)
    model = build(_SEED)
    return LoadedModel(model, name, method.label, weights="untrained", sha256=weights_digest(model), untrained=build)
