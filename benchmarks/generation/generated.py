"""Generated images, kept on disk while and after they are made.

They are the dear part of the benchmark: an extractor or metric added later does not sample again, a run for more
images starts with those it has, and a killed run loses at most the part it was at.

    $DBAE_CACHE/generated/KEY/card.json                 what determines the images; KEY is its hash
                              000256-000512.npz         images 256 .. 511, uint8 NHWC, and what they cost

Image i is a function of the card and of i alone. Under torchrun the parts are dealt out to the processes, each writes
its own, and all must see the same folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from dbae.data import ImageDataset
from dbae.support.arrays import Shape, read_npz
from dbae.support.distributed import World
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, cache_folder
from dbae.support.progress import progress_bar

PART = 256
"""Images a file; part of no key, but another number would not find older files."""


class Made(NamedTuple):
    """Some images.

    Attributes:
        images: uint8.
        nfe: network evaluations that sampling one took.
        encode_nfe: those that its z took before.
    """

    images: UInt8[Tensor, "b 3 s s"]
    nfe: int
    encode_nfe: int


Make = Callable[[Int64[np.ndarray, " b"]], Made]
"""Makes the images at some positions 0 .. n-1; an image depends on its position alone."""


class GeneratedImages(ImageDataset):
    """The complete images of one card.

    Attributes:
        nfe, encode_nfe: see `Made`.
        seconds: time that sampling took, summed over processes and runs.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n, self.name = folder, n, f"generated-{folder.name[:8]}"
        self.splits = {"all": np.arange(n)}
        self._images = functools.lru_cache(maxsize=2)(self._read)
        costs = [_costs(part) for part in _parts(folder, n)]
        self.nfe, self.encode_nfe = costs[0][0], costs[0][1]
        self.seconds = sum(seconds for *_, seconds in costs)
        self.size = self._images(0).shape[1]

    def __len__(self) -> int:
        return self.n

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`, from the part that holds it."""
        return self._images(index // PART)[index % PART]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the folder's name, which is a hash of all that determines the images, and of n."""
        return hashlib.sha256(f"{self.folder.name} {self.n}".encode()).hexdigest()

    def _read(self, part: int) -> UInt8[np.ndarray, "b s s 3"]:
        return _read(_parts(self.folder, self.n)[part])["images"]


def generate(
    card: Mapping[str, Any],
    n: int,
    make: Make,
    *,
    world: World,
    batch_size: int = 64,
    title: str = "generate",
    progress: bool = True,
) -> GeneratedImages:
    """n images, from disk as far as they are there. Every process of the world must call this.

    Args:
        card: JSON-serialisable; all that determines the images.
        n: how many.
        make: makes those that are missing; asked for at most `batch_size`, and `PART`, at a time.

    Raises:
        UserError: the disk is full, or machines do not share the folder.
    """
    key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / "generated" / key[:32]
    if world.is_main and not (folder / "card.json").exists():
        with atomic_path(folder / "card.json") as temporary:
            temporary.write_text(json.dumps(card, indent=1, sort_keys=True))
    parts = _parts(folder, n)
    # Dealt out in turn, because processes of unlike speed and resumed runs leave gaps anywhere.
    todo = [(i, part) for i, part in list(enumerate(parts))[world.rank :: world.size] if not _is_whole(part)]
    total = sum(min(PART, n - i * PART) for i, _ in todo)
    with progress_bar(total, title, show=progress and total > 0) as bar:
        for i, part in todo:
            _fill(part, np.arange(i * PART, min((i + 1) * PART, n)), make, min(batch_size, PART), bar)
    world.barrier()
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise UserError(
            f"{folder}: expected {len(parts)} parts, {missing[0]} is missing. It was written on another machine or "
            "removed: set DBAE_CACHE to a folder that all machines share, and run the same command again."
        )
    return GeneratedImages(folder, n)


def _fill(part: Path, positions: np.ndarray, make: Make, batch_size: int, bar: Any) -> None:
    started, batches = time.perf_counter(), []
    for start in range(0, len(positions), batch_size):
        made = make(positions[start : start + batch_size])
        batches.append(made.images.cpu())
        bar.update(len(made.images))
    images = torch.cat(batches).permute(0, 2, 3, 1).numpy()
    with atomic_path(part) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            images=images,
            nfe=made.nfe,
            encode_nfe=made.encode_nfe,
            seconds=time.perf_counter() - started,
        )


def _parts(folder: Path, n: int) -> list[Path]:
    """Files of the first n images; only a last, shorter one depends on n."""
    return [folder / f"{start:06d}-{min(start + PART, n):06d}.npz" for start in range(0, n, PART)]


def _is_whole(part: Path) -> bool:
    """Whether a part is there with every image that its name promises, and undamaged; what is damaged is logged."""
    first, last = (int(number) for number in part.stem.split("-"))
    number: tuple[str, Shape] = ("int64", ())
    wanted = {"images": ("uint8", (last - first, None, None, 3)), "nfe": number, "encode_nfe": number}
    return read_npz(part, wanted | {"seconds": ("float64", ())}) is not None


def _read(part: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(part)
    if arrays is None:
        raise UserError(f"{part}: was damaged or removed in the meantime. Run the same command again.")
    return arrays


def _costs(part: Path) -> tuple[int, int, float]:
    arrays = _read(part)
    return int(arrays["nfe"]), int(arrays["encode_nfe"]), float(arrays["seconds"])
