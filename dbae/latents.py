"""Latents, computed once and kept on disk: probes never see an encoder.

    posterior(x) = (mu, sigma) of every image, plain and (for training splits) mirrored

One `.npy` an image list, float32 (n, v, s, d): n images; v views, plain and mirrored; s statistics, mu and sigma (mu
alone where z is a function of the image); d = latent_dim. Its name is a hash of all that determines the content: the
weights, the data, which images, the precision. A seed is no part of it: whoever needs a random z redraws
z = mu + sigma * eps from the file.

A file under construction is `NAME.part`: complete rows behind a complete header, in order. A killed run is continued at
its last complete row; only a complete file gets its name. Memory holds one batch, whatever n is.

Several processes (`dbae.support.distributed`) each encode their share into a file of its own, `NAME-0of2.npy` and so
on, which rank 0 joins; on several machines the folder has to be one that all of them see.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from dbae.data.base import ImageDataset
from dbae.data.loader import iterate
from dbae.images import to_float
from dbae.support.distributed import World, world
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, cache_folder
from dbae.support.locking import locked
from dbae.support.precision import Precision, autocast
from dbae.support.progress import progress_bar

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
        return self.array.shape[-1]

    @property
    def stochastic(self) -> bool:
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
    _had: set[Path] = dataclasses.field(default_factory=set, init=False, repr=False)

    @property
    def world(self) -> World:
        """The processes that encode together."""
        return world(self.device)

    def get(
        self, encoder: Encoder, dataset: ImageDataset, indices: Int64[np.ndarray, " n"], *, mirrored: bool = False
    ) -> Latents:
        """Latents of images `indices`, in that order, from disk or from the encoder.

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
        path = self.folder / f"{hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:32]}.npy"
        if path not in self._had and not self.world.broadcast(path.exists()):
            with locked(path) if self.world.is_main else contextlib.nullcontext():
                if not self.world.broadcast(path.exists()):
                    self._fill(path, encoder, dataset, indices, mirrored, card)
        self._had.add(path)
        seconds = json.loads(path.with_suffix(".json").read_text())["seconds"]
        return Latents(np.load(path, mmap_mode="r"), seconds)

    def _fill(
        self, path: Path, encoder: Encoder, dataset: ImageDataset, indices: np.ndarray, mirrored: bool, card: dict
    ) -> None:
        if self.world.size == 1:
            return self._encode_all(path, encoder, dataset, indices, mirrored, card)
        shares = [path.with_stem(f"{path.stem}-{rank}of{self.world.size}") for rank in range(self.world.size)]
        mine = shares[self.world.rank]
        if not mine.exists():
            share = self.world.share(indices, block=self.batch_size)
            self._encode_all(mine, encoder, dataset, share, mirrored, card)
        self.world.barrier()
        if self.world.is_main:
            _join(shares, path, len(indices))
        self.world.barrier()

    def _encode_all(
        self, path: Path, encoder: Encoder, dataset: ImageDataset, indices: np.ndarray, mirrored: bool, card: dict
    ) -> None:
        started, title = time.perf_counter(), f"{encoder.name}: encode {len(indices)} images of {dataset.name}"
        log.info("%s", title)
        with _part(path.with_suffix(".part"), path) as part:
            done = part.rows
            with progress_bar(len(indices), title, done=done, show=self.progress) as bar:
                for batch, images in iterate(dataset, indices[done:], self.batch_size, workers=self.workers):
                    rows = self._encode(encoder, images, mirrored)
                    if not np.isfinite(rows).all():
                        bad = batch[~np.isfinite(rows).all(axis=(1, 2, 3))][0]
                        raise UserError(
                            f"{encoder.name}: z of image {bad} of {dataset.name} is not finite in {self.precision}. "
                            "Use --precision fp32, or a checkpoint from before the training diverged."
                        )
                    part.append(rows, len(indices))
                    bar.update(len(batch))
            seconds = round(time.perf_counter() - started, 3)
            about = {"model": encoder.name, "dataset": dataset.name, "n": len(indices), "seconds": seconds} | card
            with atomic_path(path.with_suffix(".json")) as temporary:
                temporary.write_text(json.dumps(about, indent=1))
        log.info("%s: %.1f s", title, seconds)

    @torch.inference_mode()
    def _encode(self, encoder: Encoder, images: Tensor, mirrored: bool) -> Float32[np.ndarray, "b v s d"]:
        x = to_float(images.to(self.device))
        views = []
        for view in (x, x.flip(3)) if mirrored else (x,):
            with autocast(self.device, self.precision):
                mu, sigma = encoder.posterior(view)
            views.append(torch.stack([mu] if sigma is None else [mu, sigma], dim=1))
        return torch.stack(views, dim=1).float().cpu().numpy()


def default_folder() -> Path:
    """`$DBAE_CACHE/latents`; `~/.cache/dbae/latents` when the variable is not set."""
    return cache_folder() / "latents"


class _Part:
    """An `.npy` that grows by whole rows."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.rows = 0
        with contextlib.suppress(ValueError):  # empty, or killed within the header: start again
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            start, row = file.tell(), dtype.itemsize * int(np.prod(shape[1:]))
            self.rows = (file.seek(0, os.SEEK_END) - start) // row
            file.truncate(start + self.rows * row)
            file.seek(0, os.SEEK_END)
        if not self.rows:
            file.seek(0)
            file.truncate()

    def append(self, rows: Float32[np.ndarray, "b v s d"], total: int) -> None:
        if not self.rows:
            header = {"descr": "<f4", "fortran_order": False, "shape": (total, *rows.shape[1:])}
            np.lib.format.write_array_header_1_0(self.file, header)
        self.file.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self.file.flush()
        self.rows += len(rows)


def _join(shares: Sequence[Path], path: Path, total: int) -> None:
    """Make the file of `path`, `total` rows, from those of all processes, which are deleted afterwards."""
    for share in shares:
        if not share.exists():
            raise UserError(
                f"{share}: written by another process, but not seen here. On several machines, set DBAE_CACHE to a "
                "folder that all of them see, then run the same command again."
            )
    path.with_suffix(".part").unlink(missing_ok=True)  # of an earlier run in one process
    with _part(path.with_suffix(".part"), path) as part:
        for share in shares:
            array = np.load(share, mmap_mode="r")
            for start in range(0, len(array), _CHUNK):
                part.append(array[start : start + _CHUNK], total)
        cards = [json.loads(share.with_suffix(".json").read_text()) for share in shares]
        about = cards[0] | {"n": total, "seconds": max(card["seconds"] for card in cards)}
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(about, indent=1))
    for leftover in path.parent.glob(f"{path.stem}-*of*"):
        leftover.unlink()


@contextlib.contextmanager
def _part(partial: Path, path: Path) -> Iterator[_Part]:
    """The unfinished file of `path`; gets its name when the body ends, stays for the next run when it raises."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "r+b" if partial.exists() else "w+b") as file:
            yield _Part(file)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename not in (None, str(partial), str(path), *map(str, path.parents)):
            raise
        raise UserError(
            f"{path}: could not be written ({error.strerror}). Free some space or set DBAE_CACHE to another folder, "
            "then run the same command again: it continues where it stopped."
        ) from error
