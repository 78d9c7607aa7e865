"""Any image files -> a zip or LMDB of S x S PNGs with their labels, which opens at once and reads fast.

    images, CHUNK at a time -> workers: read, transform, encode -> OUT.parts/RECIPE/000000.npz, ... -> OUT

Pixels, order, splits, labels and groups are those of the source at that size; PNG loses nothing. A chunk is a file of
its own, written whole or not at all, so an interrupted run goes on where it stopped; OUT is put together in one go at
the end, so that its bytes depend neither on the number of workers nor on interruptions. RECIPE stands for the images'
names, their transform and size: an image replaced under its old name between two runs is not noticed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dbae.data.base import ImageDataset
from dbae.data.files.images import ImageFiles
from dbae.data.files.lmdb import import_lmdb
from dbae.data.labels.write import label_files
from dbae.data.loader import in_processes
from dbae.data.pack import write_lmdb, write_zip
from dbae.data.subset import Subset
from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.progress import progress_bar

CHUNK = 256
"""Images in a chunk: an interruption loses at most that many for each worker."""

logger = logging.getLogger(__name__)


def prepare_dataset(
    data: ImageDataset, out: str | os.PathLike[str], *, workers: int = 0, progress: bool = True
) -> Path:
    """Write a data set as `out`, a `.zip` or `.lmdb`, to be read as that KIND.

    Args:
        data: image files, or a subset of them (`open_data`), at the size wanted.
        out: what to write.
        workers: processes that read and encode (0: this one); the bytes are the same.
        progress: show a progress bar.

    Raises:
        UserError: `out` is there already or ends otherwise, an image cannot be read (what is finished is kept), labels
            that label files cannot say, or a full disk.
    """
    out = Path(out)
    is_lmdb = _check_out(out)
    parts = out.with_name(f"{out.name}.parts")
    folder = parts / recipe(data)[:16]
    digits = 5 if len(data) <= 100_000 else 7
    names = [f"{data.size}-{i:0{digits}d}" if is_lmdb else f"images/{i:07d}.png" for i in range(len(data))]
    labels = label_files(data, names)
    chunks = _encode_all(data, folder, workers, progress)
    write = write_lmdb if is_lmdb else write_zip
    write(out, zip(names, _images(chunks), strict=True), labels)
    shutil.rmtree(parts)
    return out


def recipe(data: ImageDataset) -> str:
    """Hex SHA-256 of the images' names, order, transform and size. Raises UserError when they are no files."""
    if isinstance(data, Subset):
        return hashlib.sha256(recipe(data.parent).encode() + data.origin.astype("<i8").tobytes()).hexdigest()
    if not isinstance(data, ImageFiles):
        raise UserError(f"{data.name}: expected image files to prepare, found images that are made when they are read.")
    plan = json.dumps([list(data.image_names), data.size, data.transform.version, CHUNK])
    return hashlib.sha256(plan.encode()).hexdigest()


def _check_out(out: Path) -> bool:
    """Whether an LMDB is wanted; fails now rather than after all images are encoded."""
    if out.suffix not in (".zip", ".lmdb"):
        raise UserError(
            f"{out}: expected a name that ends in .zip or .lmdb, found '{out.suffix}'. Choose another --out."
        )
    if out.exists():
        raise UserError(f"{out}: expected nothing there, found an earlier result. Remove it, or choose another --out.")
    if out.suffix == ".lmdb":
        import_lmdb(out)
    return out.suffix == ".lmdb"


def _encode_all(data: ImageDataset, folder: Path, workers: int, progress: bool) -> list[Path]:
    """Make the chunks that are not there yet; gives all of them in order."""
    paths = {start: folder / f"{start // CHUNK:06d}.npz" for start in range(0, len(data), CHUNK)}
    missing = [start for start, path in paths.items() if not path.exists()]
    done = len(data) - sum(min(CHUNK, len(data) - start) for start in missing)
    if done:
        logger.info("%s: %d of %d images are there from an earlier run", folder, done, len(data))
    encode = functools.partial(_encode, data, paths)
    with progress_bar(len(data), f"preparing {data.name}", done=done, show=progress) as bar:
        for count in in_processes(encode, missing, workers):
            bar.update(count)
    return list(paths.values())


def _encode(data: ImageDataset, paths: dict[int, Path], start: int) -> int:
    """Make one chunk; gives the number of its images."""
    encoded = [_png(data.image(i)) for i in range(start, min(start + CHUNK, len(data)))]
    with atomic_path(paths[start]) as temporary, open(temporary, "wb") as file:
        np.savez(file, sizes=[len(image) for image in encoded], bytes=np.frombuffer(b"".join(encoded), np.uint8))
    return len(encoded)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _images(chunks: Iterable[Path]) -> Iterator[bytes]:
    for path in chunks:
        with np.load(path) as chunk:
            data, ends = chunk["bytes"].tobytes(), np.cumsum(chunk["sizes"]).tolist()
        yield from (data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True))
