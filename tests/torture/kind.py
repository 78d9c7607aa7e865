"""What a kind of torture is: something is made from a seed, commands are run on it, and a rule says whether it held."""

from __future__ import annotations

import abc
import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import sandbox


class Kind(abc.ABC):
    """A kind.

    Attributes:
        name: one word or two.
        held: the rule, for a person.
        share: of the time, relative to the others.
        home: a folder of its own for what all attempts share.
    """

    name: ClassVar[str]
    held: ClassVar[str]
    share: ClassVar[float] = 1.0

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.prepare()

    def prepare(self) -> None:  # noqa: B027  not every kind has something to make
        """Make what all attempts share, in `home`.

        Raises:
            SkippedError: this machine cannot do it.
        """

    @abc.abstractmethod
    def attempt(self, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
        """Make one input in the empty `folder` and try it: what it was, and a complaint ("" if all held)."""


class SkippedError(Exception):
    """Why a kind cannot be tried here."""


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """The generator of attempt `number` of a kind, whatever else is tried."""
    return np.random.default_rng([seed, int(hashlib.sha256(kind.encode()).hexdigest()[:8], 16), number])


def undisturbed(command: str, log: Path, cache: Path) -> sandbox.Outcome:
    """A command that has to work."""
    found = sandbox.run(command, log, env={"DBAE_CACHE": str(cache)})
    if found.done():
        raise RuntimeError(f"{command}: {found.done()}\n{found.errors}")
    return found


def first(complaints: list[str]) -> str:
    """The first complaint, or ""."""
    return next(filter(None, complaints), "")
