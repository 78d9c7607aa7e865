"""Fixtures of all tests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from shape_checks import checked_anew as checked_anew
from shape_checks import unchecked as unchecked
from stand_ins import Squares


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from, or left in, the cache of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes, as on some virtual machines."""
    for name in ("perf_counter", "monotonic", "time"):
        monkeypatch.setattr(time, name, lambda: 1e6)


@pytest.fixture
def squares() -> Squares:
    return Squares()
