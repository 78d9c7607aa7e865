"""Values of options that come from Python: what a command line would refuse is refused here too."""

from __future__ import annotations

import os
import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import numpy as np
import torch

from dbae.support.errors import UserError
from dbae.support.words import path

_NAMES = {int: "a whole number", float: "a number", bool: "True or False", str: "text", Path: "a path"}
_NAMES[type(None)] = "None"


def fitted(name: str, hint: Any, value: Any) -> Any:
    """`value` as an option of type `hint` has it.

    A single value, a list, a range or an array stands for a tuple, a whole number for a number, text for a path, and
    NumPy's numbers for Python's.

    Raises:
        UserError: the type has no such value.
    """
    try:
        return _fitted(hint, value)
    except ValueError:
        raise UserError(f"{name}: expected {_described(hint)}, found {value!r}.") from None


def _fitted(hint: Any, value: Any) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        several = isinstance(value, list | tuple | range | np.ndarray)
        return tuple(_fitted(parts[0], one) for one in (value if several else (value,)))
    if origin in (UnionType, typing.Union):
        for part in parts:
            try:
                return _fitted(part, value)
            except ValueError:
                continue
        raise ValueError
    if isinstance(value, np.generic):
        value = value.item()
    if origin is Literal:
        return parts[parts.index(value)]  # ValueError where it is none of them
    return _plain(hint, value)


def _plain(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | os.PathLike):
        return path(os.fspath(value))
    if kind is str and isinstance(value, os.PathLike | torch.device):
        return str(value)
    if kind is float and type(value) is int:
        return float(value)
    if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kind):
        raise ValueError
    return value


def _described(hint: Any) -> str:
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return f"{_described(parts[0])}, or a list of such"
    if typing.get_origin(hint) is Literal:
        parts = tuple(map(repr, parts))
    elif parts:
        parts = tuple(map(_described, parts))
    else:
        return _NAMES.get(hint) or f"a {hint.__name__}"
    *most, last = parts
    return f"{', '.join(most)} or {last}" if most else last
