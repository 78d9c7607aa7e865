"""Pictures that lie in the folders, as data in the page."""

from __future__ import annotations

import base64
import dataclasses
import logging
from pathlib import Path

from PIL import Image

from benchmarks.report.sources import PICTURES, ResultSet

log = logging.getLogger(__name__)
LARGEST = 6_000_000
"""Bytes above which a picture is left out."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image with its name; `data` is a data: address."""

    name: str
    data: str
    small: bool


@dataclasses.dataclass(frozen=True)
class Album:
    """Pictures of one folder; `left_out` are older ones, larger ones, and those that cannot be read."""

    set: str
    folder: str
    pictures: list[Picture]
    left_out: int


def albums(one: ResultSet, count: int) -> list[Album]:
    """The last `count` pictures of every folder of a set."""
    found = []
    for folder, paths in one.pictures.items():
        pictures = [picture for path in (paths[-count:] if count else []) if (picture := _picture(path))]
        if pictures:
            found.append(Album(one.name, folder.name, pictures, len(paths) - len(pictures)))
    return found


def _picture(path: Path) -> Picture | None:
    kind = PICTURES[path.suffix.lower()]
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise OSError(f"{len(content):,} bytes are more than {LARGEST:,}")
        width = 1000
        if kind != "image/svg+xml":
            with Image.open(path) as image:
                width = image.width
                image.verify()
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: Pillow's for a damaged PNG
        log.warning("%s: picture left out (%s).", path, error)
        return None
    return Picture(path.name, f"data:{kind};base64,{base64.b64encode(content).decode()}", width < 300)
