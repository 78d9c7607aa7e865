"""The image contract, converted in this module only.

Inside: float32 NCHW in [-1, 1]. At the borders (files, data sets, metrics on bytes): uint8.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dbae.support.errors import UserError
from dbae.support.files import atomic_path

_REMEDY = "In fp32 already, the checkpoint itself has diverged: take an earlier one. Else use --precision fp32."


class NotFiniteError(UserError):
    """A picture with NaN or infinite pixels, which as bytes would be a black one.

    Attributes:
        position: of the first such picture in its batch.
        step: of the sampler after which it was no longer finite, from 1; None where no sampler knows.
    """

    def __init__(self, position: int, step: int | None = None, *, name: str | None = None) -> None:
        self.position, self.step = position, step
        when = "" if step is None else f" after step {step} of its sampler"
        what = f"image {position} of its batch" if name is None else name
        super().__init__(f"{what}: has NaN or infinite pixels{when}. {_REMEDY}")


@contextlib.contextmanager
def naming(names: Sequence[object]) -> Iterator[None]:
    """Within the block, a `NotFiniteError` speaks of a picture by its entry in `names`, one of each of the batch."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(error.position, error.step, name=str(names[error.position])) from None


def require_finite(images: Float[Tensor, "b ..."]) -> None:
    """Raise `NotFiniteError` unless every pixel is finite; waits for the device once."""
    finite = torch.isfinite(images).flatten(1).all(1)
    if not finite.all():
        raise NotFiniteError(int((~finite).nonzero()[0]))


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """`images` on a device; onto a GPU from pinned memory, so that the host does not wait for the copy."""
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=True)


def to_float(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """uint8 [0, 255] -> float32 [-1, 1]: x / 127.5 - 1, in the order (x / 255 - 0.5) / 0.5 of ToTensor + Normalize."""
    return images.to(torch.float32).div_(255).sub_(0.5).div_(0.5)


def to_uint8(images: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """float [-1, 1] -> uint8 [0, 255], clamped and rounded to nearest (the inverse of `to_float`).

    Raises:
        NotFiniteError: a pixel is NaN or infinite.
    """
    require_finite(images)
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def contact_sheet(
    images: UInt8[Tensor, "n 3 h w"], columns: int, *, gap: int = 2
) -> UInt8[Tensor, "3 sheet_h sheet_w"]:
    """Lay images out row by row on white, `gap` pixels apart; the last row may be short."""
    n, _, h, w = images.shape
    rows = -(-n // columns)
    sheet = images.new_full((3, rows * (h + gap) + gap, columns * (w + gap) + gap), 255)
    for i, image in enumerate(images):
        y, x = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[:, y : y + h, x : x + w] = image.to(sheet.device)
    return sheet


def save_png(image: UInt8[Tensor, "3 h w"], path: str | os.PathLike[str]) -> None:
    """Write one picture as PNG, atomically."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(temporary, format="PNG")
