"""Drawn images on disk: one uint8 .npy file per population and size, memory-mapped when read.

The file is written once, under a name that holds the fingerprint, and moved into place when complete; a file that is
cut short, or of another shape, is drawn again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dbae.support.files import atomic_path, cache_folder
from dbae.support.progress import progress_bar

_log = logging.getLogger(__name__)


def cached_images(
    folder: str | os.PathLike[str] | None,
    name: str,
    fingerprint: str,
    count_and_size: tuple[int, int],
    chunks: Iterable[UInt8[np.ndarray, "b s s 3"]],
) -> UInt8[np.ndarray, "n s s 3"]:
    """All images, read-only and memory-mapped; `chunks` is consumed only if they are not on disk yet.

    Args:
        folder: where the file is kept; None for `cache_folder()`.
        name: what the images are called in the file name and on the progress bar.
        fingerprint: the rest of the file name; other images, another fingerprint.
        count_and_size: n and s.
        chunks: the images in order, a few at a time.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    path = Path(folder or cache_folder()) / f"{name}-{fingerprint[:16]}.npy"
    count, size = count_and_size
    shape = (count, size, size, 3)
    if (stored := _read(path, shape)) is not None:
        return stored
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        with progress_bar(count, f"drawing {name}") as progress:
            for images in chunks:
                file.write(images.tobytes())
                progress.update(len(images))
    stored = _read(path, shape)
    if stored is None:
        raise RuntimeError(f"{path}: drew other images than {shape}")
    return stored


def _read(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "n s s 3"] | None:
    """The stored images, or None where there is no whole file of this shape."""
    if not path.exists():
        return None
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        _log.warning("%s is damaged (%s); drawing it again", path, error)
        return None
    if stored.shape != shape or stored.dtype != np.uint8:
        _log.warning("%s holds %s %s, expected %s; drawing it again", path, stored.dtype, stored.shape, shape)
        return None
    return stored
