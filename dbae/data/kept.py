"""Images that can be made again, kept on disk: one uint8 .npy file a data set and size, memory-mapped when read.

The file is written once, under a name that holds the fingerprint, and moved into place when complete. Behind the
images stands the CRC-32 of everything before it, which is compared whenever the file is opened: a file that is cut
short, of another shape or type, or of which a byte has changed, is made again, as is one of an earlier version, which
has no checksum.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dbae.support.errors import UserError
from dbae.support.files import atomic_path, cache_folder
from dbae.support.progress import progress_bar

_CHECKSUM = struct.Struct("<8sI")
_MARK = b"crc32 le"
_PIECE = 1 << 22
_log = logging.getLogger(__name__)


def cached_images(
    folder: str | os.PathLike[str] | None,
    name: str,
    fingerprint: str,
    shape: tuple[int, int, int, int],
    chunks: Iterable[UInt8[np.ndarray, "b s s c"]],
    *,
    making: str = "drawing",
) -> UInt8[np.ndarray, "n s s c"]:
    """All images, read-only and memory-mapped; `chunks` is consumed only if they are not on disk yet.

    Args:
        folder: where the file is kept; None for `cache_folder()`.
        name: what the images are called in the file name and on the progress bar.
        fingerprint: the rest of the file name; other images, another fingerprint.
        shape: (n, s, s, c) of all images.
        chunks: the images in order, a few at a time.
        making: what is done with them, for messages.

    Raises:
        UserError: the folder cannot be written, or the disk is full or too small.
    """
    path = Path(folder or cache_folder()) / f"{name}-{fingerprint[:16]}.npy"
    if (stored := _read(path, shape, making)) is not None:
        return stored
    _require_room(path, math.prod(shape))
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            with progress_bar(shape[0], f"{making} {name}") as progress:
                for images in chunks:
                    file.write(images.tobytes())
                    progress.update(len(images))
        checksum = _checksum(temporary, temporary.stat().st_size)
        with open(temporary, "ab") as file:
            file.write(_CHECKSUM.pack(_MARK, checksum))
    stored = _read(path, shape, making)
    if stored is None:
        raise RuntimeError(f"{path}: {making} gave other images than {shape}")
    return stored


def _read(path: Path, shape: tuple[int, ...], making: str) -> UInt8[np.ndarray, "n s s c"] | None:
    """The stored images, or None where there is no whole file of this shape."""
    if not path.exists():
        return None
    if not _is_intact(path):
        _log.warning("%s is damaged, or of an earlier version (its checksum does not fit); %s it again", path, making)
        return None
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if stored.shape != shape or stored.dtype != np.uint8:
        _log.warning("%s holds %s %s, expected %s; %s it again", path, stored.dtype, stored.shape, shape, making)
        return None
    return stored


def _is_intact(path: Path) -> bool:
    """Whether the file ends with the checksum of all before it."""
    end = path.stat().st_size - _CHECKSUM.size
    with open(path, "rb") as file:
        file.seek(max(end, 0))
        trailer = file.read()
    return end > 0 and trailer == _CHECKSUM.pack(_MARK, _checksum(path, end))


def _checksum(path: Path, end: int) -> int:
    """CRC-32 of the first `end` bytes."""
    checksum = 0
    with open(path, "rb") as file:
        while end > 0 and (piece := file.read(min(_PIECE, end))):
            checksum, end = zlib.crc32(piece, checksum), end - len(piece)
    return checksum


def _require_room(path: Path, needed: int) -> None:
    """Raises UserError when the disk cannot hold the images, before any is made."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{path}: expected {needed / 2**30:,.1f} GiB of free disk for the images, found {free / 2**30:,.1f}. "
            "Choose a smaller n or size, or another folder."
        )
