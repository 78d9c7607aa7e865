"""A folder of picture grids that a killed run can continue.

    run.json             settings: a folder holds the pictures of one setting
    index.csv            one row an image: its grid and place (from 0, row by row), squared error, or why it is broken
    grids/000000.png     `per_grid` images, eight side by side; the k pictures of an image stand below one another
    images/000007-me-reconstruction.png ...   the same pictures one by one, if wanted

A grid is finished when its rows stand in the index, which are written after its pictures. Nothing but names and one
batch is held in memory.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from dbae.images import contact_sheet, save_png
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

ACROSS = 8
COLUMNS = ("image", "file", "grid", "place", "mse", "error")
_TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # names may be any bytes


class Gallery:
    """Grids and index under a folder.

    Args:
        folder: made when it is not there.
        images: n, how many images there will be.
        per_grid: images in a grid.
        settings: JSON values that decide what the pictures show.
        shown: what the k pictures of an image are; "x0" is the first and "reconstruction" is among them.
    """

    def __init__(
        self, folder: Path, images: int, per_grid: int, settings: Mapping[str, Any], shown: Sequence[str]
    ) -> None:
        self.folder, self.images, self.per_grid, self.shown = Path(folder), images, per_grid, shown
        self.settings = {"images": images, "per_grid": per_grid, **settings}
        self.index = self.folder / "index.csv"

    def members(self, grid: int) -> np.ndarray:
        """Numbers of the images of a grid, int64."""
        return np.arange(grid * self.per_grid, min((grid + 1) * self.per_grid, self.images))

    def grid_file(self, grid: int) -> Path:
        """Where a grid goes."""
        return self.folder / "grids" / f"{grid:06d}.png"

    def open(self) -> list[int]:
        """Prepare the folder; gives the grids that are to be made.

        Raises:
            UserError: it holds pictures of other settings, or cannot be written.
        """
        self._require_same_settings()
        rows = self._rows()
        counts = np.bincount([int(row[0]) // self.per_grid for row in rows], minlength=-(-self.images // self.per_grid))
        finished = {
            grid
            for grid, count in enumerate(counts.tolist())
            if count == len(self.members(grid)) and self.grid_file(grid).exists()
        }
        kept = [row for row in rows if int(row[0]) // self.per_grid in finished]
        with atomic_path(self.index) as temporary, open(temporary, "w", **_TEXT) as file:
            csv.writer(file).writerows([COLUMNS, *kept])
        return [grid for grid in range(len(counts)) if grid not in finished]

    def write(
        self,
        grid: int,
        names: Mapping[int, str],
        pictures: Mapping[int, UInt8[Tensor, "k 3 s s"]],
        broken: Mapping[int, str],
        *,
        individual: bool = False,
    ) -> None:
        """Write a grid, then its rows.

        Args:
            grid: its number.
            names: image -> how the index names it, for all members.
            pictures: image -> what is `shown`, of those that could be read; the others stay white.
            broken: image -> message, of the others.
            individual: write every picture as a file too.
        """
        members = self.members(grid).tolist()
        if pictures:
            save_png(_sheet([pictures.get(i) for i in members]), self.grid_file(grid))
        else:
            save_png(torch.full((3, 1, 1), 255, dtype=torch.uint8), self.grid_file(grid))
        if individual:
            for image, of_one in pictures.items():
                self._write_individual(image, names[image], of_one)
        rows = [
            (i, names[i], self.grid_file(grid).name, place, self._mse(pictures.get(i)), broken.get(i, ""))
            for place, i in enumerate(members)
        ]
        try:
            with open(self.index, "a", **_TEXT) as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise UserError(
                f"{self.index}: could not be written ({error.strerror}). Free some space, then run the same command "
                "again: finished grids are kept."
            ) from error

    def broken(self) -> int:
        """How many images of the index could not be read."""
        return sum(bool(row[-1]) for row in self._rows())

    def _write_individual(self, image: int, name: str, pictures: Tensor) -> None:
        stem = re.sub(r"[^\w.-]+", "_", re.split(r"[/:\\]", name)[-1]).rsplit(".", 1)[0]
        for kind, picture in zip(self.shown, pictures, strict=True):
            save_png(picture, self.folder / "images" / f"{image:06d}-{stem}-{kind}.png")

    def _mse(self, pictures: Tensor | None) -> str:
        """Of the reconstruction as written, pixels in [0, 1]."""
        if pictures is None:
            return ""
        x0, x = pictures[[0, self.shown.index("reconstruction")]].double() / 255
        return f"{float((x - x0).square().mean()):.6g}"

    def _rows(self) -> list[list[str]]:
        """Complete rows of the index; the last may be cut short by a kill."""
        if not self.index.exists():
            return []
        with open(self.index, **_TEXT) as file:
            return [row for row in csv.reader(file) if len(row) == len(COLUMNS) and row[0].isdigit()]

    def _require_same_settings(self) -> None:
        path = self.folder / "run.json"
        if self.index.exists() and not path.exists():
            raise UserError(f"{self.folder}: expected an empty or new folder, found an index.csv. Name another --out.")
        if self._rows():  # a run that failed before its first grid claims nothing
            require_same_settings(path, self.settings, "pictures")
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=1))


def require_same_settings(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Raise UserError unless the JSON at `path` has all of `settings`; says which differ.

    Args:
        what: the folder of `path` holds, for the message.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        differ = [
            f"{k} was {found.get(k)}, is {v}" for k, v in json.loads(json.dumps(settings)).items() if found.get(k) != v
        ]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        differ = [f"of which {path.name} does not tell: {error}"]
    if differ:
        raise UserError(f"{path.parent}: holds {what} of another run ({'; '.join(differ)}). Name another --out.")


def _sheet(pictures: list[Tensor | None]) -> UInt8[Tensor, "3 sheet_h sheet_w"]:
    """Blocks of up to eight images, k pictures high; None and the rest of the last block are white."""
    like = next(p for p in pictures if p is not None)
    across = min(ACROSS, len(pictures))
    white = torch.full_like(like, 255)
    padded = [white if p is None else p for p in pictures] + [white] * (-len(pictures) % across)
    blocks = torch.stack(padded).unflatten(0, (-1, across)).transpose(1, 2)
    return contact_sheet(blocks.flatten(0, 2), across)
