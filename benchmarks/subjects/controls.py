"""Control rows: what a probe reaches without anything having been learnt.

    random      z ~ N(0, 1), a function of (seed, image): chance level of a probe with as many inputs
    untrained   the same encoder as initialised: what the architecture gives for nothing
    pca         the same number of principal components of the training pixels, as they come (no whitening); fewer
                where the training images vary in fewer directions
    prevalence  no z: AP of a constant score, MSE of predicting the training mean

Only a clear lead over the untrained encoder says that training taught something.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from dbae.data import ImageDataset, iterate
from dbae.images import to_float
from dbae.latents import Encoder, Latents
from dbae.noise import mixed_seed
from dbae.support.arrays import read_npz
from dbae.support.files import atomic_path
from dbae.support.locking import locked

log = logging.getLogger(__name__)
_NOISE = 1e-5


@dataclasses.dataclass(frozen=True)
class PixelPCA:
    """Projection of pixels in [-1, 1] on principal components.

    Attributes:
        mean: float32 (3 s s,); components: float32 (d, 3 s s), orthonormal rows by falling variance.
    """

    mean: Float32[Tensor, " p"]
    components: Float32[Tensor, "d p"]

    def posterior(self, x: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], None]:
        """(z, None): z = components (x - mean), in float32 whatever the precision of the networks."""
        with torch.autocast(x.device.type, enabled=False):
            return (x.flatten(1) - self.mean.to(x.device)) @ self.components.T.to(x.device), None


def fit_pca(batches: Iterator[Float32[Tensor, "b 3 s s"]], d: int) -> PixelPCA:
    """Incremental PCA (scikit-learn) with as many of d components as the images vary in.

    A component whose deviation is below 1e-5 of the first one's is left out: what float32 pixels have there is rounding
    noise (n images vary in n - 1 directions), and other images would be far away along it.
    Batches are joined to at least 2 d images, so that a step sees twice the components it keeps; memory holds one such
    block.
    """
    from sklearn.decomposition import IncrementalPCA

    pca: IncrementalPCA | None = None
    for block in _blocks((batch.flatten(1).numpy() for batch in batches), max(2 * d, 256)):
        pca = pca or IncrementalPCA(n_components=min(d, *block.shape))
        pca.partial_fit(block, check_input=False)
    if pca is None:
        raise ValueError("no images to fit PCA on")
    found = pca.singular_values_ > _NOISE * pca.singular_values_[0]
    found[0] = True
    return PixelPCA(*(torch.from_numpy(a.astype(np.float32)) for a in (pca.mean_, pca.components_[found])))


def pca_encoder(
    dataset: ImageDataset, train: Int64[np.ndarray, " n"], d: int, *, folder: Path, workers: int = 0
) -> Encoder:
    """PCA of the training images, from `folder` or fitted now; the key says of which images, labels play no part."""
    images = hashlib.sha256(np.asarray(train, np.int64).tobytes()).hexdigest()
    most, pixels = min(d, max(1, len(train) - 1)), 3 * dataset.size**2

    def named(data: str) -> Path:
        return folder / f"pca-{hashlib.sha256(f'pca {most} {data} {images}'.encode()).hexdigest()[:32]}.npz"

    with_labels = named(dataset.fingerprint)  # as older versions named it
    path = with_labels if with_labels.exists() else named(dataset.image_fingerprint)
    full = min(d, len(train), pixels)

    def kept() -> dict[str, np.ndarray] | None:
        arrays = read_npz(path, {"mean": ("float32", (pixels,)), "components": ("float32", (None, pixels))})
        if arrays is None or len(arrays["components"]) == arrays.get("found", np.array(full)):
            return arrays
        log.warning("%s: damaged (%d components, expected %d); not used", path, len(arrays["components"]), full)
        return None

    arrays = kept()
    if arrays is None:
        with locked(path):
            arrays = kept()
            if arrays is None:
                log.info("pca: fit %d components to %d images of %s", d, len(train), dataset.name)
                batches = (to_float(images) for _, images in iterate(dataset, train, 256, workers=workers))
                fitted = fit_pca(batches, d)
                components = fitted.components.numpy()
                arrays = {"mean": fitted.mean.numpy(), "components": components, "found": np.array(len(components))}
                with atomic_path(path) as temporary, open(temporary, "wb") as file:
                    np.savez(file, **arrays)  # type: ignore[arg-type]
    pca = PixelPCA(torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["components"]))
    return Encoder(pca.posterior, path.stem, "pca")


def random_latents(indices: Int64[np.ndarray, " n"], d: int, seed: int) -> Latents:
    """N(0, 1) of each image, a function of (seed, image): the same in every epoch and mirrored.

    Each run of 1024 dataset indices shares a generator, which makes this fast without making it depend on which other
    images are asked for.
    """
    array = np.empty((len(indices), 2, 1, d), np.float32)
    blocks, rows = np.divmod(indices, 1024)
    for block in np.unique(blocks):
        rng = np.random.default_rng(mixed_seed("random latents", seed, int(block)))
        here = blocks == block
        array[here] = rng.standard_normal((1024, d), np.float32)[rows[here], None, None]
    return Latents(array)


def _blocks(batches: Iterator[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Join batches to blocks of `rows`; the last has up to twice as many, so that none is smaller unless all are."""
    held: list[np.ndarray] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= 2 * rows:
            joined = np.concatenate(held)
            yield joined[:rows]
            held = [joined[rows:]]
    if held:
        yield np.concatenate(held)
