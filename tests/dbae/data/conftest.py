"""Fixtures of the data tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from image_samples import write_folder, write_zip

from dbae.data.faces import Faces


@pytest.fixture(params=["zip", "folder"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], str]:
    """Writes members as a zip or as a folder and gives the source string."""

    def as_source(members: dict[str, bytes]) -> str:
        if request.param == "zip":
            return f"zip:{write_zip(tmp_path / 'tiny.zip', members)}"
        return f"folder:{write_folder(tmp_path / 'tiny', members)}"

    return as_source


@pytest.fixture(scope="session")
def population() -> Faces:
    return Faces(4000, 64)
