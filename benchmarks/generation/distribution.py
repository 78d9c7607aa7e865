"""How far a set of images is from real ones: the numbers that one extractor's features give, by name.

    inception-clean            FID, KID                             clean-fid's default, the FID of the tables
    inception-legacy_pytorch   FID_legacy_pytorch                   pytorch-fid's, as DiffAE measured it
    inception-tf1              Precision, Recall, Density, Coverage, IS    guided-diffusion's
    any other, NAME            FD-NAME, KD-NAME, Precision-NAME, ...       never called FID

FID gets the number of images as the tables write it: FID_50k, FID_10k. Precision, recall, density, coverage and the
Inception Score use no more than the first `neighbours` images of each set (10,000 in the paper's tables).

Every number comes with its noise over the images of both sets (`benchmarks.results.noise`): contributions of single
images for the distances and the Inception Score (of the kernel distance also those of its random subsets), halves of
the images for precision, recall, density and coverage. A Frechet distance of no more images than features has none.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from benchmarks.extractors.features import FeatureExtractor
from benchmarks.metrics.frechet import (
    Gaussian,
    KernelDistance,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from benchmarks.metrics.half_splits import SPLITS, half_splits
from benchmarks.metrics.influence import frechet_contributions, inception_contributions, kernel_contributions
from benchmarks.metrics.precision_recall import Neighbours, neighbours
from benchmarks.results.noise import Noise, digest
from dbae.data import ImageDataset
from dbae.images import to_uint8
from dbae.latents import Encoder, LatentCache, default_folder

K_DENSITY = 5
SMALLEST = K_DENSITY + 1
"""Images of each kind that the metrics need."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number of a set of `n` images, and its noise over these and the real ones where that is known."""

    metric: str
    value: float
    better: Literal["higher", "lower"]
    n: int
    noise: Noise | None = None

    @property
    def cells(self) -> dict[str, Any]:
        """The columns of a record that this fills."""
        cells = {name: getattr(self, name) for name in ("metric", "value", "better", "n")}
        return cells | {"stderr": None if self.noise is None else self.noise.error}


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

    def measure(self, fake: Float[Tensor, "m d"], *, over: str = "") -> list[Measured]:
        """Every number of the extractor's role.

        Args:
            over: which real images these are; what other sets of as many generated ones, compared with the same real
                images, share.

        Raises:
            ValueError: fewer than `SMALLEST` images of a kind, or features that are not finite.
        """
        return [*self._distances(fake, over), *self._shares(fake[: self.limit], over)]

    def _distances(self, fake: Float[Tensor, "m d"], over: str) -> Iterator[Measured]:
        n, role = len(fake), self.role
        over = digest(over, len(self.real), n)
        if role.frechet:
            moved = frechet_contributions(real=self.real, fake=fake)
            noise = None if moved is None else Noise(over, min(n, len(self.real)), _arrays(moved))
            yield Measured(self._frechet(n), frechet_distance(real=self._gaussian, fake=fake), "lower", n, noise)
        if role.kernel:
            distance = kernel_distance(real=self.real, fake=fake)
            parts = _arrays(kernel_contributions(real=self.real, fake=fake))
            noise = Noise(over, min(n, len(self.real)), (*parts, _subset_parts(distance, self.real, fake)))
            yield Measured(role.kernel, distance.mean, "lower", n, noise)

    def _shares(self, fake: Float[Tensor, "m d"], over: str) -> Iterator[Measured]:
        """Precision, recall, density, coverage and the Inception Score, of no more than `limit` images."""
        if self.role.neighbours is None:
            return
        real, n = self.real[: self.limit], len(fake)
        over, fewer = digest(over, len(real), n, SPLITS), min(n, len(real))
        values = _count_neighbours(real, fake)
        halves = half_splits(_count_neighbours, real=real, fake=fake) if fewer >= 2 * SMALLEST else [None] * len(values)
        for field, value, half in zip(_SHARES, values, halves, strict=True):
            noise = None if half is None else Noise(over, fewer, halves=half)
            yield Measured(f"{field.name.capitalize()}{self.role.neighbours}", float(value), "higher", n, noise)
        if self.extractor.head is not None:
            logits = fake @ self.extractor.head.T.to(fake)
            noise = Noise(over, n, _arrays([inception_contributions(logits)]))
            yield Measured("IS", inception_score(logits), "higher", n, noise)

    def _frechet(self, n: int) -> str:
        thousands = f"_{n // 1000}k" if self.role.frechet.startswith("FID") and n % 1000 == 0 else ""
        return self.role.frechet + thousands


_SHARES = dataclasses.fields(Neighbours)


def _count_neighbours(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Float64[np.ndarray, " q"]:
    """The fields of `Neighbours`, in order."""
    return np.array(dataclasses.astuple(neighbours(real=real, fake=fake, k_density=K_DENSITY)), np.float64)


def _subset_parts(distance: KernelDistance, real: Tensor, fake: Tensor) -> Float64[np.ndarray, " s"]:
    """Deviations of the kernel distance of random subsets: what another choice of subsets of the same images adds."""
    share = distance.size / min(len(real), len(fake))
    return (np.array(distance.values) - distance.mean) * np.sqrt(1 - share)


def _arrays(tensors: Iterable[Tensor]) -> tuple[Float64[np.ndarray, " _"], ...]:
    return tuple(tensor.double().cpu().numpy() for tensor in tensors)


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
    cache = LatentCache(default_folder("features"), extractor.device, batch_size, progress=progress)
    encoder = Encoder(
        lambda x: (extractor(to_uint8(x)), None), f"{extractor.name} {extractor.fingerprint}", extractor.name
    )
    return cache.get(encoder, dataset, indices).mean()
