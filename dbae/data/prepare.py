"""Any image files -> a zip or LMDB of S x S PNGs with their labels, which opens at once and reads fast.

    images, CHUNK at a time -> workers: read, transform, encode -> OUT.parts/RECIPE.npz, ... -> OUT

Pixels, order, splits, labels and groups are those of the source at that size; PNG loses nothing. A chunk is a file of
its own, written whole or not at all, so an interrupted run goes on where it stopped; OUT is put together in one go at
the end, so that its bytes depend neither on the number of workers nor on interruptions. RECIPE stands for the chunk's
images, their transform and size. An image is known by its name and by what its file system says of the file (size, time
of change, inode; in a zip the checksum): a chunk with an image that was replaced or changed between two runs is made
again, and a run under which one changes ends with an error, so that pixels and labels are of one and the same state.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dbae.data.base import ImageDataset
from dbae.data.files import ImageFiles, import_lmdb
from dbae.data.labels.write import label_files
from dbae.data.loader import in_processes
from dbae.data.pack import write_lmdb, write_zip
from dbae.data.subset import located
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
    digits = 5 if len(data) <= 100_000 else 7
    names = [f"{data.size}-{i:0{digits}d}" if is_lmdb else f"images/{i:07d}.png" for i in range(len(data))]
    labels = label_files(data, names)
    recipes = chunk_recipes(data)
    chunks = _encode_all(data, [parts / f"{recipe[:32]}.npz" for recipe in recipes], workers, progress)
    if chunk_recipes(data) != recipes:
        raise UserError(
            f"{data.name}: expected images that stay as they are, found some that changed while they were read. "
            "Run the same command again: what did not change is kept."
        )
    write = write_lmdb if is_lmdb else write_zip
    write(out, zip(names, _images(chunks), strict=True), labels)
    shutil.rmtree(parts)
    return out


def chunk_recipes(data: ImageDataset) -> list[str]:
    """Of every chunk, hex SHA-256 of its images' names, order, states, transform and size; looks at no pixel.

    Raises:
        UserError: the images are no files, or one is gone.
    """
    images = [located(data, i) for i in range(len(data))]
    recipes = []
    for start in range(0, len(images), CHUNK):
        plan = [_known_by(part, i) for part, i in images[start : start + CHUNK]]
        recipes.append(hashlib.sha256(json.dumps([plan, data.size]).encode()).hexdigest())
    return recipes


def _known_by(data: ImageDataset, index: int) -> list[object]:
    if not isinstance(data, ImageFiles):
        raise UserError(f"{data.name}: expected image files to prepare, found images that are made when they are read.")
    name = data.image_names[index]
    return [name, data.files.state(name), data.transform.version, data.exif]


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


def _encode_all(data: ImageDataset, chunks: Sequence[Path], workers: int, progress: bool) -> list[Path]:
    """Make the chunks that are not there yet, or not whole; gives all of them in order."""
    paths = dict(zip(range(0, len(data), CHUNK), chunks, strict=True))
    missing = [start for start, path in paths.items() if not _is_whole(path)]
    done = len(data) - sum(min(CHUNK, len(data) - start) for start in missing)
    if done:
        logger.info("%s: %d of %d images are there from an earlier run", chunks[0].parent, done, len(data))
    encode = functools.partial(_encode, data, paths)
    with progress_bar(len(data), f"preparing {data.name}", done=done, show=progress) as bar:
        for count in in_processes(encode, missing, workers):
            bar.update(count)
    return list(paths.values())


def _is_whole(path: Path) -> bool:
    """Whether a chunk is there; one that is damaged is made again. Reading an .npz compares its members' CRC-32."""
    if not path.exists():
        return False
    try:
        with np.load(path) as chunk:
            return int(chunk["sizes"].sum()) == len(chunk["bytes"])
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, MemoryError):
        logger.warning("%s: damaged; it is made again", path)
        return False


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
