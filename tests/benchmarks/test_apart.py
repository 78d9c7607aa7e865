"""No benchmark writes its figures among the images it measures."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dbae.support.errors import UserError

COMMANDS = ("downstream", "disentanglement", "reconstruction", "variation", "generation", "trajectories")


def _never(*_: object, **__: object) -> None:
    raise AssertionError("read before it was refused")


@pytest.mark.parametrize("name", COMMANDS)
def test_out_inside_of_the_data_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    command = importlib.import_module(f"benchmarks.{name}.command")
    kind = getattr(command, f"{name.capitalize()}Options")
    options = kind(data=(f"folder:{tmp_path}",), out=tmp_path / "rows.csv")
    with pytest.raises(UserError, match="expected a place outside of the data"):
        command.run(options, _never, _never)
    assert not list(tmp_path.iterdir())


def test_out_inside_of_the_samples_is_refused(tmp_path: Path) -> None:
    from benchmarks.generation.command import GenerationOptions, run

    options = GenerationOptions(samples=(str(tmp_path),), out=tmp_path / "rows.csv")
    with pytest.raises(UserError, match="expected a place outside of the data"):
        run(options, _never, _never)
