"""Faces that we draw: a data set with known labels and without a download.

`Faces(n, size, seed)` holds n pictures of people who do not exist. `attributes` decides who is on image i, the other
modules draw it; both are pure functions of (seed, index), so a larger n only appends, and another size shows the
same person. Labels do not depend on the size; pixels depend neither on the batch they are drawn in nor, but for the
last bit of a sine or cosine, on the machine (see `canvas`).
"""

from __future__ import annotations

import functools
import logging
import os

import numpy as np
from jaxtyping import Int64, UInt8

from dbae.data.drawn import Drawn
from dbae.data.faces.attributes import FACTORS, label, sample_traits
from dbae.data.faces.drawing import draw
from dbae.data.kept import cached_images
from dbae.support.errors import UserError

logger = logging.getLogger(__name__)

VERSION = 1
"""To be raised whenever a pixel or a label changes."""
CHUNK = 16
"""Images drawn together: enough to amortise Python, few enough to stay in the processor's cache at 64 pixels."""


class Faces(Drawn):
    """n drawn faces of size x size pixels; train, val and test are the first 80 %, the next 10 %, and the rest.

    `attributes` holds 39 binary ones, CelebA's but for "Attractive", and 39 continuous ones, each in standard
    deviations of the population from its mean (`attributes.UNITS`): whoever always predicts the mean has a mean
    squared error of about 1 in every one of them.

    Args:
        n: number of images, at least 1.
        size: side in pixels, at least 8.
        seed: another seed is another population.
        cache: folder in which the drawn images are kept (n * size * size * 3 bytes), or True for the default one,
            `$DBAE_CACHE` or else `~/.cache/dbae`. They are drawn now, unless an earlier run left them there. A default
            folder that cannot be written is done without.

    Raises:
        UserError: n, size or seed out of range.
    """

    kind = "faces"

    def __init__(
        self, n: int = 20000, size: int = 64, seed: int = 0, *, cache: str | os.PathLike[str] | bool = False
    ) -> None:
        super().__init__(f"faces-v{VERSION}", n, size, seed)
        self.cache = cache
        self.attributes, self.factors = label(sample_traits(seed, np.arange(n))), FACTORS
        self._stored = self._store(None if cache is True else cache) if cache else None

    def __reduce__(self) -> tuple[object, ...]:
        """A worker process maps the file on disk anew; a pickled memory map would carry every image."""
        return functools.partial(Faces, cache=self.cache), (self.n, self.size, self.seed)

    def _images(self, indices: Int64[np.ndarray, " b"]) -> UInt8[np.ndarray, "b s s 3"]:
        """Images `indices`, drawn or read from the cache."""
        return self._draw(indices) if self._stored is None else np.asarray(self._stored[indices])

    def _store(self, folder: str | os.PathLike[str] | None) -> UInt8[np.ndarray, "n s s 3"] | None:
        chunks = (self._draw(np.arange(i, min(i + CHUNK, self.n))) for i in range(0, self.n, CHUNK))
        try:
            shape = (self.n, self.size, self.size, 3)
            return cached_images(folder, f"{self.name}-{self.size}px", self.fingerprint, shape, chunks)
        except UserError as error:
            if folder is not None:
                raise
            logger.warning("%s Until then images are drawn whenever they are read; DBAE_CACHE names a folder.", error)
            return None

    def _draw(self, indices: np.ndarray) -> UInt8[np.ndarray, "b s s 3"]:
        images = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        for start in range(0, len(indices), CHUNK):
            part = slice(start, start + CHUNK)
            images[part] = draw(sample_traits(self.seed, indices[part]), self.size)
        return images
