"""Posteriors of a data set on disk, and a training stream of them.

One `.npy`, float32 (n, s, l): n images; s statistics, mu and sigma of q(z | x) (mu alone where z is a function of x).
Beside it a `.json` of the same name says what was encoded by what; a file of anything else is not used.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from dbae.data import ImageDataset
from dbae.data.loader import iterate
from dbae.images import to_float
from dbae.noise import Noise, mixed_seed
from dbae.pretrained import LoadedDBAE
from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.precision import Precision, autocast
from dbae.support.progress import progress_bar

Array = np.ndarray
"""float32 (n, s, l), see the module."""

_CHUNK = 65536


def posteriors(
    path: Path,
    loaded: LoadedDBAE,
    data: ImageDataset,
    indices: Int64[np.ndarray, " n"],
    *,
    device: torch.device,
    precision: Precision = "fp32",
    batch_size: int = 128,
    workers: int = 0,
) -> Float32[np.ndarray, "n s l"]:
    """The posteriors of images `indices`, unmirrored, as a memory map of the file at `path`.

    They are encoded if the file is not there, batch by batch: memory holds one. The file appears when it is complete.

    Raises:
        UserError: an image cannot be read, a z is not finite, or the disk is full.
    """
    about = {
        "autoencoder_sha256": loaded.sha256,
        "data": data.fingerprint,
        "images": hashlib.sha256(np.asarray(indices, np.int64).tobytes()).hexdigest(),
        "precision": precision,
    }
    described = path.with_suffix(".json")
    if not (path.exists() and described.exists() and json.loads(described.read_text()) == about):
        described.unlink(missing_ok=True)
        model = loaded.model.to(device)
        encode = functools.partial(_encode, model.posterior, device=device, precision=precision)
        statistics = 2 if model.config.stochastic else 1
        with atomic_path(path) as temporary, progress_bar(len(indices), f"encoding {data.name}") as bar:
            shape = (len(indices), statistics, model.latent_dim)
            file = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            done = 0
            for batch, images in iterate(data, indices, batch_size, workers=workers):
                file[done : done + len(batch)] = _finite(encode(images), batch, data)
                done += len(batch)
                bar.update(len(batch))
            file.flush()
        with atomic_path(described) as temporary:
            temporary.write_text(json.dumps(about, indent=1))
    return np.load(path, mmap_mode="r")


@torch.inference_mode()
def _encode(posterior: Any, images: Tensor, *, device: torch.device, precision: Precision) -> np.ndarray:
    with autocast(device, precision):
        mean, sigma = posterior(to_float(images.to(device)))
    return torch.stack([mean] if sigma is None else [mean, sigma], dim=1).float().cpu().numpy()


def _finite(rows: np.ndarray, batch: np.ndarray, data: ImageDataset) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=(1, 2))
    if not finite.all():
        raise UserError(
            f"image {batch[~finite][0]} of {data.name}: its z is not finite. Use --precision fp32, or a checkpoint "
            "from before the training diverged."
        )
    return rows


def moments(array: Float32[np.ndarray, "n s l"]) -> tuple[Float[Tensor, " l"], Float[Tensor, " l"]]:
    """Mean and standard deviation of z per dimension, float32: of the aggregated posterior where there is a sigma.

    Var z = Var mu + E sigma^2, Var mu unbiased, in float64. A dimension in which no z differs gets deviation 1.

    Raises:
        UserError: fewer than two images.
    """
    n = len(array)
    if n < 2:
        raise UserError(f"expected the latents of 2 images or more, found {n}. Take more images.")
    parts = [slice(start, start + _CHUNK) for start in range(0, n, _CHUNK)]
    mean = sum(array[part, 0].sum(0, dtype=np.float64) for part in parts) / n
    variance = sum(np.square(array[part, 0] - mean).sum(0) for part in parts) / (n - 1)
    if array.shape[1] == 2:
        variance = variance + sum(np.square(array[part, 1], dtype=np.float64).sum(0) for part in parts) / n
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return torch.from_numpy(np.asarray(mean)).float(), torch.from_numpy(std).float()


def draw(posterior: Float[Tensor, "b s l"], noise: Noise) -> Float[Tensor, "b l"]:
    """z = mu + sigma * eps, or mu where there is no sigma."""
    mean = posterior[:, 0]
    return mean if posterior.shape[1] == 1 else mean + posterior[:, 1] * noise.normal(mean.shape)


class LatentStream:
    """Batches of rows of an array without end, drawn with replacement: batch k is a function of (seed, k).

    Args:
        array: float32 (n, s, l), usually a memory map.
        batch_size: rows a batch, b.
        seed: of the rows drawn.
    """

    def __init__(self, array: Float32[np.ndarray, "n s l"], batch_size: int, *, seed: int) -> None:
        self.array, self.batch_size, self.seed = array, batch_size, seed

    def batches(self, start: int = 0, *, rank: int = 0, size: int = 1) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Row numbers and rows (b, s, l) of part `rank` of `size` of batches `start`, `start + 1`, ... without end."""
        for step in itertools.count(start):
            generator = np.random.default_rng(mixed_seed(self.seed, "latents", step))
            rows = np.array_split(generator.integers(len(self.array), size=self.batch_size), size)[rank]
            yield rows, torch.from_numpy(self.array[rows])
