"""Latents, computed once and kept on disk: probes never see an encoder.

    posterior(x) = (mu, sigma) of every image, plain and (for training splits) mirrored

One `.npy` an image list, float32 (n, v, s, d): n images; v views, plain and mirrored; s statistics, mu and sigma (mu
alone where z is a function of the image); d = latent_dim. Its name is a hash of all that determines the content: the
weights, the data, which images, the precision. A seed is no part of it: whoever needs a random z redraws
z = mu + sigma * eps from the file. Where labels alone changed, which are part of what identifies data, the file of the
same images is found by its description and gets a second name.

How files grow, are continued after a kill and found damaged is told in `dbae.support.rowfile`. What is damaged is
encoded again, with a line that says so.

Several processes (`dbae.support.distributed`) each encode their share into a file of its own, `NAME-0of2.npy` and so
on, which rank 0 joins; on several machines the folder has to be one that all of them see.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from dbae.data import ImageDataset, iterate
from dbae.images import to_device, to_float
from dbae.support.distributed import World, world
from dbae.support.errors import UserError
from dbae.support.files import cache_folder
from dbae.support.locking import locked
from dbae.support.precision import Precision, advice, autocast
from dbae.support.progress import progress_bar
from dbae.support.rowfile import described, fault, growing, join, taken_over

Posterior = Callable[[Tensor], tuple[Tensor, Tensor | None]]

LATENTS_VERSION = 1
"""Part of every key; raised when the way latents are computed from a model changes."""

_CHUNK = 8192
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Latents:
    """Posterior of the images of one split, usually a read-only memory map.

    Attributes:
        array: float32 (n, v, s, d), see the module.
        seconds: time it took to encode them, whenever that was (of a continued run, its last part).
    """

    array: Float32[np.ndarray, "n v s d"]
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.array)

    @property
    def dim(self) -> int:
        """Length of z."""
        return self.array.shape[-1]

    @property
    def stochastic(self) -> bool:
        """Whether there is a sigma beside mu."""
        return self.array.shape[2] == 2

    def rows(self, rows: Int64[np.ndarray, " m"]) -> Latents:
        """The latents of some of the images."""
        return Latents(self.array[rows], self.seconds)

    def mean(self) -> Float32[Tensor, "n d"]:
        """The mu of the plain images."""
        return torch.from_numpy(np.array(self.array[:, 0, 0]))

    def draw(self, seed: int, *, sample: bool, flip: bool) -> Float32[Tensor, "n d"]:
        """One z of every image.

        Args:
            seed: of this draw, mixed from the run's seed, the epoch and the split. Views and noise come from two
                generators that run through the images in order, so that no batch size enters.
            sample: z = mu + sigma * eps where there is a sigma; otherwise mu.
            flip: take the mirrored view with probability 1/2, image by image.
        """
        n, views, _, d = self.array.shape
        if flip and views < 2:
            raise ValueError("these latents have no mirrored view")
        flips, noise = (np.random.default_rng([seed, stream]) for stream in (0, 1))
        view: np.ndarray = flips.integers(0, 2, (n,)) if flip else np.zeros(n, np.int64)
        z = np.empty((n, d), np.float32)
        for start in range(0, n, _CHUNK):  # the posterior of all images need not fit into memory beside z
            part = slice(start, min(start + _CHUNK, n))
            posterior = self.array[part][np.arange(part.stop - start), view[part]]
            z[part] = posterior[:, 0]
            if sample and self.stochastic:
                z[part] += posterior[:, 1] * noise.standard_normal((part.stop - start, d), np.float32)
        return torch.from_numpy(z)


class Encoder(NamedTuple):
    """What fills the cache: a function, and the name of its content.

    `posterior` maps images (b, 3, s, s) in [-1, 1] to (mu, sigma or None); `key` changes when its numbers would.
    """

    posterior: Posterior
    key: str
    name: str


@dataclasses.dataclass(frozen=True)
class LatentCache:
    """Latents under a folder, filled on demand.

    All processes of a run ask for the same latents in the same order; for those that a process has had before, alone.

    Attributes:
        folder: where files go; see `default_folder`.
        batch_size, workers, device: how images are encoded; no part of the key.
        precision: autocast type of the encoder; part of the key.
        progress: show a progress bar.
    """

    folder: Path
    device: torch.device
    batch_size: int = 128
    workers: int = 0
    precision: Precision = "fp32"
    progress: bool = False
    _had: set[tuple[Path, str]] = dataclasses.field(default_factory=set, init=False, repr=False)

    @property
    def world(self) -> World:
        """The processes that encode together."""
        return world(self.device)

    def get(
        self,
        encoder: Encoder,
        dataset: ImageDataset,
        indices: Int64[np.ndarray, " n"],
        *,
        mirrored: bool = False,
        at: Path | None = None,
    ) -> Latents:
        """Latents of images `indices`, in that order, from disk or from the encoder.

        Args:
            mirrored: those of the mirrored images too.
            at: the file to keep them in, in place of one in the folder that is named after its content.

        Raises:
            UserError: an image cannot be read, the disk is full, or the encoder gives numbers that are not finite.
        """
        card = {
            "encoder": encoder.key,
            "data": dataset.fingerprint,
            "images": hashlib.sha256(np.asarray(indices, np.int64).tobytes()).hexdigest(),
            "mirrored": mirrored,
            "precision": self.precision,
            "version": LATENTS_VERSION,
        }
        key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:32]
        work = _Work(at or self.folder / f"{key}.npy", key, encoder, dataset, indices, card)
        if (work.path, key) not in self._had and self._is_needed(work):
            with locked(work.path) if self.world.is_main else contextlib.nullcontext():
                if self._is_needed(work, say=False):
                    self._fill(work)
        self._had.add((work.path, key))
        return Latents(np.load(work.path, mmap_mode="r"), described(work.path).get("seconds", 0.0))

    def _is_needed(self, work: _Work, *, say: bool = True) -> bool:
        """What the main process finds, on all of them."""
        return self.world.broadcast(work.is_missing(say=say) if self.world.is_main else not work.path.exists())

    def _fill(self, work: _Work) -> None:
        if self.world.size == 1:
            return self._encode_all(work)
        names = [f"{work.key}-{rank}of{self.world.size}" for rank in range(self.world.size)]
        mine = self.world.share(work.indices, block=self.batch_size)
        share = work.part(names[self.world.rank], mine)
        if share.is_needed():
            self._encode_all(share)
        self.world.barrier()
        if self.world.is_main:
            work.partial.unlink(missing_ok=True)  # of an earlier run in one process
            join([work.path.with_name(f"{name}.npy") for name in names], work.path, work.partial)
            for leftover in work.path.parent.glob(f"{work.key}-*of*"):
                leftover.unlink()
        self.world.barrier()

    def _encode_all(self, work: _Work) -> None:
        encoder, dataset, n = work.encoder, work.dataset, len(work.indices)
        started, title = time.perf_counter(), f"{encoder.name}: encode {n} images of {dataset.name}"
        log.info("%s", title)
        about = {"model": encoder.name, "dataset": dataset.name, "n": n, **work.card, **work.pixels}
        with growing(work.path, work.partial, n, about) as file:
            done = file.count
            with progress_bar(n, title, done=done, show=self.progress) as bar:
                for batch, images in iterate(dataset, work.indices[done:], self.batch_size, workers=self.workers):
                    rows = self._encode(encoder, images, work.mirrored)
                    self._require_finite(rows, batch, work)
                    file.append(rows)
                    bar.update(len(batch))
            about["seconds"] = round(time.perf_counter() - started, 3)
        log.info("%s: %.1f s", title, about["seconds"])

    def _require_finite(self, rows: np.ndarray, batch: np.ndarray, work: _Work) -> None:
        finite = np.isfinite(rows).all(axis=(1, 2, 3))
        if not finite.all():
            raise UserError(
                f"{work.encoder.name}: z of image {batch[~finite][0]} of {work.dataset.name} is not finite in "
                f"{self.precision}. {advice(self.precision)}"
            )

    @torch.inference_mode()
    def _encode(self, encoder: Encoder, images: Tensor, mirrored: bool) -> Float32[np.ndarray, "b v s d"]:
        x = to_float(to_device(images, self.device))
        views = []
        for view in (x, x.flip(3)) if mirrored else (x,):
            with autocast(self.device, self.precision):
                mu, sigma = encoder.posterior(view)
            views.append(torch.stack([mu] if sigma is None else [mu, sigma], dim=1))
        return torch.stack(views, dim=1).float().cpu().numpy()


def default_folder(what: str = "latents") -> Path:
    """`$DBAE_CACHE/latents`; `~/.cache/dbae/latents` when the variable is not set. Likewise of other values."""
    return cache_folder() / what


@dataclasses.dataclass(frozen=True)
class _Work:
    """A file to be filled: where it goes, and what is to be in it.

    Attributes:
        key: hash of all that determines the content.
        card: the same in words, a part of the file's description.
    """

    path: Path
    key: str
    encoder: Encoder
    dataset: ImageDataset
    indices: np.ndarray
    card: dict[str, Any]

    @property
    def mirrored(self) -> bool:
        return self.card["mirrored"]

    @property
    def partial(self) -> Path:
        """The file under construction, named after its content wherever it goes."""
        return self.path.with_name(f"{self.key}.part")

    def part(self, name: str, indices: np.ndarray) -> _Work:
        """The share of a process: some of the images, in a file of its own."""
        return dataclasses.replace(self, path=self.path.with_name(f"{name}.npy"), key=name, indices=indices)

    def is_needed(self, *, say: bool = True) -> bool:
        """Whether there is no such file, or one that is damaged (logged) or of something else."""
        if not self.path.exists():
            return True
        found = fault(self.path, self.card, self._shape)
        if found and say:
            log.warning("%s: cannot be used (%s); encoding again", self.path, found)
        return found is not None

    def is_missing(self, *, say: bool) -> bool:
        """Whether the whole, not a share, `is_needed`, and no file beside it has the same images under other labels."""
        if not self.is_needed(say=False):
            return False
        if taken_over(self.path, self.card, self._shape, but="data", **self.pixels):
            log.info("%s: its labels changed, its images did not: their latents stay", self.dataset.name)
            return False
        return self.is_needed(say=say)

    @property
    def pixels(self) -> dict[str, str]:
        """What is described beside the card, and is no part of the key: the images without their labels."""
        return {"pixels": self.dataset.image_fingerprint}

    @property
    def _shape(self) -> tuple[int | None, ...]:
        return len(self.indices), 2 if self.mirrored else 1, None, None
