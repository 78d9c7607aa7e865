"""From the JSON of a card to dataclasses: every value has to be of its field's type and within bounds.

Files come from anywhere. A width of "16", a million entries or NaN is refused by its name here, before anything is
built from it; what is built then is held to the number of parameters that the file has (`at_most`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

MAX_ENTRIES = 100
"""Of a tuple; the deepest network here has six levels."""
MAX_INTEGER = 1 << 53

_T = TypeVar("_T")


def from_json(cls: type[_T], values: Mapping[str, Any]) -> _T:
    """Build dataclass `cls` from JSON values: nested dataclasses and tuples are restored, unknown names refused.

    Raises:
        KeyError: a name that is no field.
        TypeError: a value of another type, or a field without default that is missing.
        ValueError: a value out of bounds, or one that the dataclass refuses.
    """
    return _dataclass(cls, values, "")


def _dataclass(cls: type[_T], values: Any, where: str) -> _T:
    if not isinstance(values, Mapping):
        raise TypeError(_wrong(where or cls.__name__, "an object", values))
    hints = get_type_hints(cls)
    return cls(**{name: _restored(hints[name], value, f"{where}{name}") for name, value in values.items()})


def _restored(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, f"{where}.")  # type: ignore[arg-type]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        others = [k for k in arguments if k is not type(None)]
        if value is None and len(others) < len(arguments):
            return None
        others = [float] if set(others) == {int, float} else others
        return _restored(others[0], value, where) if len(others) == 1 else value
    if origin is Literal:
        if value not in arguments:
            raise ValueError(_wrong(where, f"one of {', '.join(map(str, arguments))}", value))
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    return _plain(origin or kind, value, where)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(_wrong(where, "a list", value))
    if len(value) > MAX_ENTRIES:
        raise ValueError(f"{where}: expected at most {MAX_ENTRIES} entries, found {len(value)}")
    if len(kinds) == 2 and kinds[1] is ...:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where}: expected {len(kinds)} entries, found {len(value)}")
    return tuple(_restored(kind, entry, where) for kind, entry in zip(kinds, value, strict=True))


def _plain(kind: Any, value: Any, where: str) -> Any:
    """A number, text or mapping of JSON; types that JSON does not have are left to the dataclass."""
    if kind not in (bool, int, float, str, dict):
        return value
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        names = {bool: "true or false", int: "an integer", float: "a number", str: "a text", dict: "an object"}
        raise TypeError(_wrong(where, names[kind], value))
    if kind in (int, float) and not (math.isfinite(value) if kind is float else abs(value) <= MAX_INTEGER):
        raise ValueError(_wrong(where, "a finite number" if kind is float else f"at most {MAX_INTEGER}", value))
    return value


def _wrong(where: str, expected: str, value: Any) -> str:
    return f"{where}: expected {expected}, found {repr(value)[:60]}"


@contextlib.contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Within the block, modules that this thread makes have no more than so many parameter tensors together.

    Raises:
        ValueError: at the first one too many, however many were to follow.
    """
    made, thread = 0, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > parameters:
            raise ValueError(f"it describes more than the {parameters} tensors that the file has")

    hook = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
