"""What configurations of methods and their options in `baselines.train` share."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from baselines.method import LatentOptions
from dbae.support.errors import UserError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class ConfigOptions(LatentOptions):
    """Options that are fields of the configuration, by the same name; None keeps the preset's value."""

    def configured(self, config: Any) -> Any:
        """`config` with every option that is given and one of its fields."""
        names = {field.name for field in dataclasses.fields(config)}
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {name: value for name, value in given.items() if name in names and value is not None}
        return dataclasses.replace(config, **changed)

    def shown(self) -> dict[str, str]:
        """As `TrainingOptions.shown`, spelled as the command line takes it; a checkpoint without its folder."""
        spelled = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if field.name == "pretrained":
                value = Path(value).name
            words = [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
            spelled[field.name.replace("_", "-")] = "" if field.default is False else " ".join(words)
        return spelled


def require(config: Any, expected: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Raise UserError, as about an option, if a field of a configuration is not as expected."""
    for name in names:
        if not holds(getattr(config, name)):
            option = name.replace("_", "-")
            raise UserError(f"--{option}: expected {expected}, found {getattr(config, name)}; change --{option}.")


SIZES = ("image_size", "latent_dim", "unet", "encoder")
"""Fields of configurations that say how large a model is."""


def in_sizes(kind: Callable[..., Config], other: Any, **own: Any) -> Config:
    """A configuration of the class `kind` in the sizes of another method's; the rest is `own`, or has its default."""
    names = {field.name for field in dataclasses.fields(kind)} & set(SIZES)  # type: ignore[arg-type]
    return kind(**{name: getattr(other, name) for name in names}, **own)


def unusual(config: Any) -> str:
    """`differences` from the defaults of its class."""
    return differences(config, in_sizes(type(config), config))


def differences(config: Any, usual: Any) -> str:
    """Fields of a configuration that are not as usual, "beta=8, tc=2"; sizes, which other columns tell, left out.

    Those that its class declares come first, in its order: rows are known by this text, whatever a parent has too.
    """
    own = list(inspect.get_annotations(type(config)))
    names = sorted((f.name for f in dataclasses.fields(config)), key=lambda n: own.index(n) if n in own else len(own))
    return ", ".join(
        f"{name}={getattr(config, name)}"
        for name in names
        if name not in SIZES and getattr(config, name) != getattr(usual, name)
    )
