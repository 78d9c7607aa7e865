"""The folder of generated images that `python -m dbae.sample` describes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from dbae.gallery import require_same_settings
from dbae.images import contact_sheet, save_png
from dbae.support.arrays import array_file
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

PER_GRID, ACROSS = 64, 8


def is_sample_folder(path: Path) -> bool:
    """Whether a folder is one of these."""
    return (path / "run.json").is_file() and (path / "images").is_dir()


class SampleFolder:
    """Images, grids and the npz of one setting, under a folder.

    Args:
        path: made when it is not there.
        settings: JSON values that decide what image i shows.
        make: False leaves making it to another process.

    Raises:
        UserError: the folder has images of other settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, make: bool = True) -> None:
        self.path = path
        if make:
            self._make(settings)

    def _make(self, settings: dict[str, Any]) -> None:
        path = self.path
        described = path / "run.json"
        if (path / "images").exists() and not described.exists():
            raise UserError(f"{path}: expected an empty or new folder, found images/ in it. Name another --out.")
        if any((path / "images").glob("*.png")):  # a run that failed before its first image claims nothing
            require_same_settings(described, settings, "images")
        with atomic_path(described) as temporary:
            temporary.write_text(json.dumps(settings, indent=1))

    def image_file(self, index: int) -> Path:
        """Where image `index` goes."""
        return self.path / "images" / f"{index:06d}.png"

    def missing(self, n: int) -> np.ndarray:
        """Which of the first n images are not there."""
        return np.array([i for i in range(n) if not self.image_file(i).exists()], np.int64)

    def write(self, indices: np.ndarray, images: UInt8[Tensor, "b 3 s s"]) -> None:
        """Save images, each whole or not at all."""
        for index, image in zip(indices.tolist(), images, strict=True):
            save_png(image, self.image_file(index))

    def read(self, indices: range) -> UInt8[Tensor, "b 3 s s"]:
        """Images that were saved."""
        from PIL import Image

        def pixels(index: int) -> Tensor:
            with contextlib.closing(Image.open(self.image_file(index))) as image:
                return torch.from_numpy(np.array(image)).permute(2, 0, 1)

        return torch.stack([pixels(i) for i in indices])

    def write_grids(self, n: int) -> None:
        """Sheets of the first n images."""
        for grid in range(-(-n // PER_GRID)):
            images = self.read(range(grid * PER_GRID, min((grid + 1) * PER_GRID, n)))
            save_png(contact_sheet(images, min(ACROSS, len(images))), self.path / "grids" / f"{grid:06d}.png")

    def write_npz(self, n: int) -> None:
        """The first n images in guided-diffusion's format; memory holds a few."""
        with array_file(self.path / "samples.npz") as arrays:
            for start in range(0, n, PER_GRID):
                images = self.read(range(start, min(start + PER_GRID, n)))
                arrays.append("arr_0", images.permute(0, 2, 3, 1).numpy())
