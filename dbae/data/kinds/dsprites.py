"""dSprites: `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`, 737,280 white shapes on black of 64 pixels.

    imgs             uint8 (n, 64, 64) of 0 and 1
    latents_classes  int64 (n, 6), latents_values float64 (n, 6): colour, shape, scale, orientation, x, y

Colour is the same in all of them and left out, as in disentanglement_lib. White is 255 in three equal channels.
`metadata` is pickled and not read. Source: google-deepmind/dsprites-dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dbae.data.files.npz import array_blocks, array_shape, read_array
from dbae.data.kinds.known import Factor, Stored, known_factors
from dbae.support.errors import UserError

IMAGES = 737_280
_WHERE = "https://github.com/google-deepmind/dsprites-dataset"


class DSprites(Stored):
    """The file (see `Stored`). Raises UserError where it is another or damaged."""

    name, channels = "dsprites", 1
    factors = (
        Factor("shape", "words", ("square", "ellipse", "heart")),
        *(Factor(name) for name in ("scale", "orientation", "position_x", "position_y")),
    )

    def __init__(self, path: Path) -> None:
        self.paths = (path,)
        shape = array_shape(path, "imgs")
        classes, values = (read_array(path, f"latents_{what}") for what in ("classes", "values"))
        if shape != (shape[0], *shape[1:2] * 2) or {classes.shape, values.shape} != {(shape[0], 6)}:
            raise UserError(
                f"{path}: expected imgs (n, s, s) and six latents of each, found imgs {shape}, latents_classes "
                f"{classes.shape} and latents_values {values.shape}. Get the file of {_WHERE}."
            )
        if classes.dtype.kind not in "iu" or values.dtype.kind not in "iuf":
            raise UserError(
                f"{path}: expected latents_classes of whole numbers and latents_values of real ones, found "
                f"{classes.dtype} and {values.dtype}. Get the file of {_WHERE}."
            )
        self.side, self.classes, self.values = (
            shape[1],
            classes[:, 1:].astype(np.int64),
            values[:, 1:].astype(np.float64),
        )

    def blocks(self) -> Iterator[UInt8[np.ndarray, "b s s 1"]]:
        """All images in order, 0 and 1 become 0 and 255. Raises UserError for other values."""
        for block in array_blocks(self.paths[0], "imgs"):
            if block.max() > 1:
                raise UserError(
                    f"{self.paths[0]}: expected imgs of 0 and 1, found {block.max()}. Get the file of {_WHERE}."
                )
            yield block[..., None] * np.uint8(255)


KINDS = (known_factors("dsprites", DSprites, (IMAGES,), _WHERE, "*dsprites*.npz"),)
