"""Small stand-ins: a data set of coloured squares with labels, and encoders that take microseconds."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from baselines.interface import LoadedModel
from dbae.data.base import Attributes, ImageDataset


class Squares(ImageDataset):
    """Images whose colour, corner and brightness are the labels; n images, 60 / 20 / 20 %."""

    def __init__(self, n: int = 100, size: int = 8, *, val: bool = True, groups: bool = False) -> None:
        rng = np.random.default_rng(5)
        self.name, self.size = "squares", size
        self.colour = rng.random((n, 3))
        self.bright = rng.random(n)
        everything = np.arange(n)
        a, b = n * 6 // 10, n * 8 // 10
        self.splits = {"all": everything, "train": everything[:a], "test": everything[b:]}
        if val:
            self.splits["val"] = everything[a:b]
        self.groups = everything // 4 if groups else None
        binary = np.stack([self.colour[:, 0] > 0.5, self.bright > 0.7], axis=1).astype(np.int8)
        self.attributes = Attributes(("Red", "Bright"), binary, ("green", "blue", "light"), self._continuous())
        self.reads = 0

    def _continuous(self) -> np.ndarray:
        return np.column_stack([self.colour[:, 1], self.colour[:, 2], self.bright - 0.5])

    def __len__(self) -> int:
        return len(self.bright)

    def image(self, index: int) -> np.ndarray:
        self.reads += 1
        image = np.full((self.size, self.size, 3), 255 * self.bright[index])
        image[:, : self.size // 2] = 255 * self.colour[index]
        return image.astype(np.uint8)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{len(self)} {self.size} {sorted(self.splits)}".encode()).hexdigest()


class TinyModel(nn.Module):
    """z = W x + b; sigma = 0.1 where stochastic. Counts its calls and can be made to fail."""

    samplers = ("one_step", "ddbm_euler")
    endpoints = ("decoded",)
    encode_nfe = 0

    def __init__(self, seed: int = 1, *, latent_dim: int = 4, size: int = 8, stochastic: bool = True) -> None:
        super().__init__()
        self.name, self.image_size, self.latent_dim, self.stochastic = "tiny", size, latent_dim, stochastic
        rng = np.random.default_rng(seed)
        self.weight = nn.Parameter(torch.from_numpy(rng.standard_normal((latent_dim, 3 * size * size)) / size).float())
        self.calls = 0
        self.fails_at: int | None = None

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("killed")
        mu = x.flatten(1) @ self.weight.T
        return mu, torch.full_like(mu, 0.1) if self.stochastic else None

    def encode(self, x: torch.Tensor, *, noise: object = None) -> torch.Tensor:
        return self.posterior(x)[0]

    def decode(self, z: torch.Tensor, **options: object) -> SimpleNamespace:
        x = (z @ self.weight).clamp(-1, 1).unflatten(1, (3, self.image_size, self.image_size))
        return SimpleNamespace(images=x, nfe=1)


@dataclasses.dataclass(frozen=True)
class FakeLoaded(LoadedModel):
    """What `baselines.load.load` returns, of a `TinyModel` or one derived from it."""

    name: str = "tiny"
    method: str = "Tiny"
    variant: str = "stochastic"
    train_data: str = "squares"
    sha256: str = "ab" * 32
    path: Path = Path("tiny.pt")

    def __post_init__(self) -> None:
        model = self.model
        fresh = functools.partial(
            TinyModel, latent_dim=model.latent_dim, size=model.image_size, stochastic=model.stochastic
        )
        object.__setattr__(self, "untrained", lambda seed: fresh(seed + 100))
