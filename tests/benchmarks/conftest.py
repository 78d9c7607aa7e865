from __future__ import annotations

import pytest
from stand_ins import Squares


@pytest.fixture
def squares() -> Squares:
    return Squares()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
