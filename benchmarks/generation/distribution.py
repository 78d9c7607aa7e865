"""How far a set of images is from real ones: the numbers that one extractor's features give, by name.

    inception-clean            FID, KID                             clean-fid's default, the FID of the tables
    inception-legacy_pytorch   FID_legacy_pytorch                   pytorch-fid's, as DiffAE measured it
    inception-tf1              Precision, Recall, Density, Coverage, IS    guided-diffusion's
    any other, NAME            FD-NAME, KD-NAME, Precision-NAME, ...       never called FID

FID gets the number of images as the tables write it: FID_50k, FID_10k. Precision, recall, density, coverage and the
Inception Score use no more than the first `neighbours` images of each set (10,000 in the paper's tables).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from benchmarks.extractors.features import FeatureExtractor
from benchmarks.metrics.frechet import Gaussian, frechet_distance, inception_score, kernel_distance
from benchmarks.metrics.precision_recall import Neighbours, neighbours
from dbae.data.base import ImageDataset
from dbae.images import to_uint8
from dbae.latents import Encoder, LatentCache
from dbae.support.files import cache_folder

K_DENSITY = 5
SMALLEST = K_DENSITY + 1
"""Images of each kind that the metrics need."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number of a set of `n` images; `stderr` over them, the real ones held fixed, where it is known."""

    metric: str
    value: float
    better: Literal["higher", "lower"]
    n: int
    stderr: float | None = None


@dataclasses.dataclass(frozen=True)
class Role:
    """What an extractor is used for: names of its distances ("" for none), ending of the others (None for none)."""

    frechet: str = ""
    kernel: str = ""
    neighbours: str | None = None


_ROLES = {
    "inception-clean": Role(frechet="FID", kernel="KID"),
    "inception-legacy_pytorch": Role(frechet="FID_legacy_pytorch"),
    "inception-tf1": Role(neighbours=""),
}


class Reference:
    """Real images as an extractor sees them.

    Args:
        extractor: what made the features.
        real: features of the real images.
        limit: see `neighbours` in the module docstring.
    """

    def __init__(self, extractor: FeatureExtractor, real: Float[Tensor, "n d"], *, limit: int = 10_000) -> None:
        self.extractor, self.real, self.limit = extractor, real, limit
        self.role = _ROLES.get(extractor.name) or Role(
            frechet=f"FD-{extractor.name}", kernel=f"KD-{extractor.name}", neighbours=f"-{extractor.name}"
        )

    @functools.cached_property
    def _gaussian(self) -> Gaussian:
        return Gaussian.of_features(self.real)

    def metrics(self, n: int) -> list[tuple[str, int]]:
        """Name and number of images of everything that `measure` gives for n images."""
        names = [(name, n) for name in (self._frechet(n), self.role.kernel) if name]
        if self.role.neighbours is not None:
            few = min(n, self.limit)
            names += [(f"{field.name.capitalize()}{self.role.neighbours}", few) for field in _SHARES]
            names += [("IS", few)] if self.extractor.head is not None else []
        return names

    def measure(self, fake: Float[Tensor, "m d"]) -> list[Measured]:
        """Every number of the extractor's role.

        Raises:
            ValueError: fewer than `SMALLEST` images of a kind, or features that are not finite.
        """
        return list(self._measure(fake))

    def _measure(self, fake: Float[Tensor, "m d"]) -> Iterator[Measured]:
        n, role = len(fake), self.role
        if role.frechet:
            yield Measured(self._frechet(n), frechet_distance(real=self._gaussian, fake=fake), "lower", n)
        if role.kernel:
            yield Measured(role.kernel, kernel_distance(real=self.real, fake=fake).mean, "lower", n)
        if role.neighbours is None:
            return
        real, fake = self.real[: self.limit], fake[: self.limit]
        shares = neighbours(real=real, fake=fake, k_density=K_DENSITY)
        for field in _SHARES:
            value = getattr(shares, field.name)
            counted = {"precision": len(fake), "recall": len(real), "coverage": len(real)}.get(field.name)
            stderr = (value * (1 - value) / counted) ** 0.5 if counted else None
            yield Measured(f"{field.name.capitalize()}{role.neighbours}", value, "higher", len(fake), stderr)
        if self.extractor.head is not None:
            yield Measured("IS", inception_score(fake @ self.extractor.head.T.to(fake)), "higher", len(fake))

    def _frechet(self, n: int) -> str:
        thousands = f"_{n // 1000}k" if self.role.frechet.startswith("FID") and n % 1000 == 0 else ""
        return self.role.frechet + thousands


_SHARES = dataclasses.fields(Neighbours)


def features_of(
    extractor: FeatureExtractor,
    dataset: ImageDataset,
    indices: Int64[np.ndarray, " n"],
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> Float[Tensor, "n d"]:
    """Features of images `indices`, in that order, float32 on the CPU; from disk where they have been computed before.

    They are kept under the data's fingerprint, the indices and the hash of the extractor's weights. All processes of a
    run must call this; each computes its share.
    """
    cache = LatentCache(cache_folder() / "features", extractor.device, batch_size, progress=progress)
    encoder = Encoder(
        lambda x: (extractor(to_uint8(x)), None), f"{extractor.name} {extractor.fingerprint}", extractor.name
    )
    return cache.get(encoder, dataset, indices).mean()
