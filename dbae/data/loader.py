"""Batches for training and for evaluation, the same for any number of workers.

Training reads positions p = 0, 1, 2, ... (images seen). Of m images, position p belongs to epoch e = p // m; the
order of epoch e and its flips are drawn from a generator seeded by (seed, e). Batch `step` holds positions
step * b .. step * b + b - 1, across the end of an epoch if need be: batches are always full, and a run resumed at
any step is the same run without replaying what came before. Of several processes, each reads its part of every
batch.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from dbae.data.base import ImageDataset
from dbae.noise import mixed_seed
from dbae.support.errors import UserError

Batch = tuple[np.ndarray, Tensor]
"""Indices int64 (b,) and images uint8 (b, 3, s, s)."""

AHEAD = 2
"""Batches that each worker, or the background thread, prepares in advance."""


class TrainingStream:
    """An endless, seekable stream of shuffled full batches.

    Args:
        dataset: the images.
        indices: those to train on, e.g. `dataset.split("train")`.
        batch_size: images a batch, b.
        seed: seed of order and flips.
        flip: mirror each image left-right with probability 1/2, drawn anew every epoch.
        workers: processes that prepare batches (0: the calling process). Does not change any batch.

    Raises:
        ValueError: no images, or a batch size below 1.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        indices: Int64[np.ndarray, " m"],
        batch_size: int,
        *,
        seed: int,
        flip: bool = True,
        workers: int = 0,
    ) -> None:
        if len(indices) == 0 or batch_size < 1:
            raise ValueError(f"expected images and a batch size of 1 or more, found {len(indices)} and {batch_size}")
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self.workers = workers
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def batch(self, step: int, *, rank: int = 0, size: int = 1) -> Batch:
        """Part `rank` of `size` of batch `step`. Raises UserError naming an image that cannot be read."""
        indices, flips = (np.array_split(whole, size)[rank] for whole in self.plan(step))
        return _read(self.dataset, indices, flips)

    def batches(self, start: int = 0, *, rank: int = 0, size: int = 1) -> Iterator[Batch]:
        """Parts of batches `start`, `start + 1`, ... without end. Close the iterator to stop its workers."""
        part = functools.partial(self.batch, rank=rank, size=size)
        return in_processes(part, itertools.count(start), self.workers)

    def plan(self, step: int) -> tuple[Int64[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Dataset indices of batch `step`, in batch order, and which of these images are mirrored."""
        epochs, offsets = np.divmod(step * self.batch_size + np.arange(self.batch_size), len(self.indices))
        drawn = [self._epoch(int(e)) for e in epochs]
        indices = np.array([order[i] for (order, _), i in zip(drawn, offsets, strict=True)], np.int64)
        return indices, np.array([flips[i] for (_, flips), i in zip(drawn, offsets, strict=True)], bool)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Order and flips of an epoch; two epochs are kept, because a batch may span both."""
        if epoch not in self._drawn:
            generator = np.random.default_rng(mixed_seed(self.seed, "epoch", epoch))
            order = self.indices[generator.permutation(len(self.indices))]
            flips = (generator.random(len(order)) < 0.5) & self.flip
            self._drawn = {e: drawn for e, drawn in self._drawn.items() if e == epoch - 1} | {epoch: (order, flips)}
        return self._drawn[epoch]


def iterate(
    dataset: ImageDataset,
    indices: Int64[np.ndarray, " m"],
    batch_size: int,
    *,
    workers: int = 0,
    flip: bool = False,
) -> Iterator[Batch]:
    """Read `indices` once, in order; the last batch may be smaller. For evaluation.

    A few batches are read in advance and none is kept: by a background thread, or by `workers` processes.

    Args:
        dataset: the images.
        indices: int64 (m,), which to read.
        batch_size: images a batch.
        workers: processes that read (0: a thread of the calling process).
        flip: mirror every image left-right.

    Yields:
        (indices int64 (b,), images uint8 (b, 3, s, s)).

    Raises:
        UserError: an image cannot be read (names it).
    """
    indices = np.asarray(indices, np.int64)
    parts = (indices[i : i + batch_size] for i in range(0, len(indices), batch_size))
    read = functools.partial(_read_all, dataset, flip)
    return in_processes(read, parts, workers) if workers else _from_thread(read, parts)


def _read_all(dataset: ImageDataset, flip: bool, indices: np.ndarray) -> Batch:
    return _read(dataset, indices, np.full(len(indices), flip))


def _read(
    dataset: ImageDataset, indices: Int64[np.ndarray, " b"], flips: Bool[np.ndarray, " b"]
) -> tuple[Int64[np.ndarray, " b"], UInt8[Tensor, "b 3 s s"]]:
    images = dataset.batch(indices)
    mirrored = torch.from_numpy(flips)
    images[mirrored] = images[mirrored].flip(-1)
    return indices, images


def _from_thread(read: Callable[[Any], Batch], parts: Iterable[Any]) -> Iterator[Batch]:
    """Read `parts` in order in one background thread, `AHEAD` batches in advance."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="dbae-data")
    pending: deque[Future[Batch]] = deque()
    try:
        for part in parts:
            pending.append(pool.submit(read, part))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_processes(function: Callable[[Any], Any], parts: Iterable[Any], workers: int) -> Iterator[Any]:
    """`map(function, parts)` by `workers` processes (0: the calling one), the results in the order of `parts`.

    Raises:
        UserError: that of the first part for which `function` raised one.
    """
    if workers == 0:
        return map(function, parts)
    return _from_processes(function, parts, workers)


def _from_processes(function: Callable[[Any], Any], parts: Iterable[Any], workers: int) -> Iterator[Any]:
    loader = torch.utils.data.DataLoader(
        _Applied(function),
        batch_size=None,
        sampler=parts,  # any iterable will do: it is read once, in order
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # its own: a loader must not advance the global generator
    )
    for result in loader:
        if isinstance(result, UserError):
            raise result
        yield result


class _Applied(torch.utils.data.Dataset):
    """`function` as a map-style data set; hands a UserError over whole, where DataLoader would rewrite it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __getitem__(self, part: Any) -> Any:
        try:
            return self.function(part)
        except UserError as error:
            return error


def _unchanged(result: Any) -> Any:
    return result
