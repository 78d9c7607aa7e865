"""How the words of a command line become numbers and paths, and what its help says of defaults."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

_PLAIN = re.compile(r"[+-]?[0-9]+")


def whole_number(word: str) -> int:
    """An integer in plain digits: Python's own would take 1_000 and digits of other scripts too."""
    if not _PLAIN.fullmatch(word):
        raise ValueError(f"expected a whole number in plain digits, found {word!r}")
    return int(word)


def number(word: str) -> float:
    """A number in plain digits, or inf or nan."""
    if "_" in word or not word.isascii():
        raise ValueError(f"expected a number in plain digits, found {word!r}")
    return float(word)


def path(word: str) -> Path:
    """A path; an empty one, which would be the current folder, is a mistake of the script that made it."""
    if not word or "\0" in word:
        raise ValueError(f"expected a path, found {word!r}")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise ValueError(f"expected a path, found {word!r}, whose ~ names no user of this machine") from None


_KINDS: dict[Any, tuple[str, Any]] = {int: ("INT", whole_number), float: ("FLOAT", number), Path: ("PATH", path)}
REGISTRY = ConstructorRegistry()
"""For `tyro.cli`."""


@REGISTRY.primitive_rule
def _rule(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind = about.type
    if kind not in _KINDS:
        return None
    metavar, parse = _KINDS[kind]

    def fits(value: Any) -> Any:
        if kind is Path:
            return isinstance(value, os.PathLike)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return True if isinstance(value, kind) else "~"

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=fits,
        str_from_instance=lambda value: [str(value)],
    )


_EMPTY = ((), "", tyro.MISSING, tyro.constructors.MISSING_NONPROP)
_looked_at: list[type] = []


@REGISTRY.struct_rule
def _without_empty_defaults(about: StructTypeInfo) -> StructConstructorSpec | None:
    """Tyro's own rule, but that the help of an option whose default says nothing does not end in "(default: )"."""
    if about.type in _looked_at or not dataclasses.is_dataclass(about.type):
        return None
    _looked_at.append(about.type)
    try:
        spec: Any = ConstructorRegistry.get_struct_spec(about)
    finally:
        _looked_at.pop()
    if not isinstance(spec, StructConstructorSpec):
        return spec
    fields = [_quiet(field) if field.default in _EMPTY else field for field in spec.fields]
    return dataclasses.replace(spec, fields=tuple(fields))


def _quiet(field: StructFieldSpec) -> StructFieldSpec:
    kind: Any = Annotated[field.type, tyro.conf.arg(help_behavior_hint="")]
    return dataclasses.replace(field, type=kind)
