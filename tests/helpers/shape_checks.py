"""Shapes and types that annotations state, checked in the first calls of every function in a test.

pyproject.toml names `at_first` to jaxtyping's import hook, which hands it a copy of each function's signature. What a
function is given in a loop has the shapes of its first rounds, and checking every round doubled the time of all tests.
Functions within functions are not checked: they are made anew, and would be prepared anew, in every call.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
from beartype import beartype

FIRST = 20
"""Calls of a function that are checked in a test."""

_calls: dict[str, int] = {}
_left_alone: list[Any] = []


def at_first(signature: Callable[..., Any]) -> Callable[..., Any]:
    """A function that raises where it is called with what `signature` does not allow, until it was called enough."""
    if "<locals>" in signature.__qualname__:
        return signature
    name = f"{signature.__module__}:{signature.__qualname__}"
    checks: list[Callable[..., Any]] = []  # made in the first call: most functions of the project are not called

    @functools.wraps(signature)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not checks:
            checks.append(beartype(signature))
        _calls[name] = _calls.get(name, 0) + 1
        if _calls[name] == 2 * FIRST:  # one check is of what goes in, another of what comes out
            _leave_alone(signature)
        return checks[0](*args, **kwargs)

    return checked


@pytest.fixture(autouse=True)
def checked_anew() -> Iterator[None]:
    """Every test begins to count, so that which calls are checked does not depend on what ran before it."""
    _count_anew()  # fixtures of modules have made calls
    yield
    _count_anew()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No annotation is checked, as outside the tests: a function meets with what its own checks must refuse."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def _count_anew() -> None:
    _calls.clear()
    while _left_alone:
        del _left_alone.pop().__no_type_check__


def _leave_alone(signature: Callable[..., Any]) -> None:
    """Marks the function of that name by the attribute with which jaxtyping passes over functions, if it is found."""
    found: Any = sys.modules[signature.__module__]
    with contextlib.suppress(AttributeError, TypeError):  # a test may have put something else in its place
        for part in signature.__qualname__.split("."):
            found = inspect.getattr_static(found, part)
        if isinstance(found, property):
            found = found.fget
        found = getattr(found, "func", getattr(found, "__func__", found))  # cached properties; class and static methods
        function = inspect.unwrap(found)
        function.__no_type_check__ = True
        _left_alone.append(function)
