"""Images named one by one, as on a command line: files, patterns, folders, zips, any `KIND:ROOT`, mixed.

    me.jpg  photos/*.png  photos  faces.zip  "celeba:/data/celeba?split=test"  ->  one data set, in the order given

Images have any size and aspect. What has no crop of its own (files, folders, zips, LMDBs) is cut to a square, then
resized to S with antialiasing (`dbae.data.transforms`):

    centre   the largest centred square
    top      the largest square at the upper edge, where a portrait has its face; centred from left to right
    whole    nothing is cut: black bars make the image a square

Grey, palette, 16-bit and transparent images become RGB as `dbae.data.decode` says. Photographs of files, folders and
zips are turned upright as their EXIF orientation says, unless `exif` is "ignore" (`dbae.data.source` on other kinds).
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import itertools
import os
import posixpath
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from dbae.data.base import ImageDataset
from dbae.data.files import (
    Exif,
    ImageFiles,
    exists,
    expanded,
    file_state,
    is_image,
    report_turned,
    require_ordinary,
    shown,
    status,
)
from dbae.data.labels.beside import Annotations
from dbae.data.loader import in_processes
from dbae.data.source import KINDS, open_data
from dbae.data.subset import located
from dbae.data.transforms import SQUARE, Transform, square
from dbae.images import to_float
from dbae.support.errors import UserError

Crop = Literal["centre", "top", "whole"]


def _top(image: Image.Image, size: int) -> Image.Image:
    return square(image.crop((0, 0, image.width, min(image.size))), size)


def _whole(image: Image.Image, size: int) -> Image.Image:
    side = max(image.size)
    padded = Image.new("RGB", (side, side))
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square(padded, size)


CROPS: dict[Crop, Transform] = {
    "centre": SQUARE,
    "top": Transform("top-bilinear-1", _top),
    "whole": Transform("whole-bilinear-1", _whole),
}


class ListedFiles:
    """Files by their paths, in the order given (a `dbae.data.files.images.Files`)."""

    stem = "files"
    left_out: Mapping[str, Sequence[str]] = {}

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def names(self) -> Sequence[str]:
        return self.paths

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises UserError where it cannot be read, or is a pipe or device."""
        try:
            require_ordinary(name, os.stat(name))
            return Path(name).read_bytes()
        except OSError as error:
            raise UserError(
                f"{shown(name)}: expected a readable file, found: {error.strerror}. Check the path."
            ) from error

    def checksum(self, name: str) -> int:
        return zlib.crc32(self.read(name))

    def state(self, name: str) -> tuple[int, ...]:
        return file_state(Path(name))

    def locate(self, name: str) -> str:
        return name


class NamedImages(ImageDataset):
    """Several data sets of one size, one after the other.

    Attributes:
        parts: the data sets.
    """

    def __init__(self, parts: Sequence[ImageDataset]) -> None:
        self.parts = parts
        self.name = "+".join(dict.fromkeys(part.name for part in parts))
        self.size = parts[0].size
        self._ends = list(itertools.accumulate(len(part) for part in parts))
        self.splits = {"all": np.arange(len(self))}

    def __len__(self) -> int:
        return self._ends[-1]

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`, counted through all parts."""
        part, i = self._find(index)
        return part.image(i)

    def label(self, index: int) -> str:
        """How outputs and messages name an image: its path, the member of a zip, or NAME:INDEX of a drawn one."""
        part, i = located(*self._find(index))
        return part.files.locate(part.image_names[i]) if isinstance(part, ImageFiles) else f"{part.name}:{i}"

    def report_turned(self) -> None:
        """Log how many images will be turned upright; reads the files of those parts where some may be."""
        found = (located(*self._find(index)) for index in range(len(self)))
        files = [(part, i) for part, i in found if isinstance(part, ImageFiles) and part.exif == "upright"]
        turned = sum(part.says_turned(i) for part, i in files)
        if turned:
            report_turned(turned, len(self), self.name)

    def contents(self) -> str:
        """Hex SHA-256 of every image's label and its file's CRC-32; files that cannot be read count as such."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            digest.update(f"{self.label(index)} {self._content(index)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _content(self, index: int) -> str:
        part, i = located(*self._find(index))
        if not isinstance(part, ImageFiles):
            return part.fingerprint
        try:
            return f"{part.exif} {part.files.checksum(part.image_names[i])}"
        except UserError:
            return "unreadable"

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the parts' fingerprints, in order."""
        return hashlib.sha256("".join(part.fingerprint for part in self.parts).encode()).hexdigest()

    def _find(self, index: int) -> tuple[ImageDataset, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - (self._ends[part - 1] if part else 0)


def open_images(sources: Sequence[str], *, size: int, crop: Crop = "centre", exif: Exif = "upright") -> NamedImages:
    """The images that `sources` name, at one size; no pixel is read yet.

    Args:
        sources: see the module docstring; the images of a pattern or folder come in the order of their paths.
        size: side S in pixels.
        crop: of images whose KIND has no crop of its own.
        exif: of photographs in files, folders and zips; a source that says `?exif=` itself keeps that.

    Raises:
        UserError: nothing named, nothing found under a name, or a `size=` in a source that is not `size`.
    """
    if not sources:
        raise UserError("expected images: files, patterns, folders, zips or KIND:ROOT, found none. Name some.")
    parts: list[ImageDataset] = []
    for are_files, group in itertools.groupby(matching(sources), key=_is_image_file):
        if are_files:
            parts.append(_listed(list(group), size, exif))
        else:
            parts += [_whole_source(source, size, exif) for source in group]
    for part in parts:
        files, _ = located(part, 0)
        if isinstance(files, ImageFiles) and files.transform == SQUARE:
            files.transform = CROPS[crop]
    return NamedImages(parts)


def read_images(*sources: str, size: int, crop: Crop = "centre", exif: Exif = "upright") -> Float[Tensor, "n 3 s s"]:
    """All images that `sources` name (`open_images`), float32 in [-1, 1].

    Raises:
        UserError: see `open_images`; an image that cannot be read (names it).
    """
    images = open_images(sources, size=size, crop=crop, exif=exif)
    return to_float(images.batch(range(len(images))))


@dataclasses.dataclass(frozen=True)
class ReadBatch:
    """Some images of a data set.

    Attributes:
        indices: int64 (b,) of the images that could be read; images: uint8 (b, 3, s, s), these.
        broken: index -> message, of the others.
    """

    indices: np.ndarray
    images: UInt8[Tensor, "b 3 s s"]
    broken: dict[int, str]


def read_batches(
    data: ImageDataset, parts: Iterable[np.ndarray], *, skip_broken: bool = False, workers: int = 0
) -> Iterator[ReadBatch]:
    """Read images in order, a batch for every index array of `parts`.

    Args:
        data: the images.
        parts: int64 arrays of indices.
        skip_broken: report an image that cannot be read in its batch instead of raising.
        workers: processes that read (0: this one).

    Raises:
        UserError: an image cannot be read (names it), unless `skip_broken`.
    """
    return in_processes(functools.partial(_read, data, skip_broken), parts, workers)


def _read(data: ImageDataset, skip_broken: bool, indices: np.ndarray) -> ReadBatch:
    images, broken = np.empty((len(indices), data.size, data.size, 3), np.uint8), {}
    readable = np.ones(len(indices), bool)
    for i, index in enumerate(indices.tolist()):
        try:
            images[i] = data.image(index)
        except UserError as error:
            if not skip_broken:
                raise
            broken[index], readable[i] = str(error), False
    pixels = torch.from_numpy(images[readable]).permute(0, 3, 1, 2).contiguous()
    return ReadBatch(indices[readable], pixels, broken)


def matching(sources: Iterable[str]) -> list[str]:
    """Sources with every pattern replaced by what matches it. Raises UserError for a pattern that nothing matches."""
    return list(itertools.chain.from_iterable(map(_expand, sources)))


def _expand(source: str) -> Iterable[str]:
    """The files and folders that match a pattern; anything else is itself."""
    if glob.has_magic(source) and not (exists(source) or _is_source(source)):
        found = sorted(glob.glob(os.path.expanduser(source), recursive=True))
        if not found:
            raise UserError(f"{shown(source)}: expected images, found no file that matches. Check the pattern.")
        return found
    return [source]


def _is_source(source: str) -> bool:
    """Whether this is KIND:ROOT?... or PATH?... of the --data grammar, rather than a pattern."""
    location = source.partition("?")[0]
    return location.partition(":")[0] in KINDS or ("?" in source and exists(location))


def _is_image_file(source: str) -> bool:
    """A bare kind is a kind, as in --data; a missing file is one, so that the message speaks of a file."""
    if _is_source(source) and not exists(source):
        return False
    path = expanded(source)
    if (found := status(path)) is not None:
        return stat.S_ISREG(found.st_mode) and path.suffix.lower() != ".zip" and source not in KINDS
    return is_image(posixpath.basename(source))


def _listed(paths: list[str], size: int, exif: Exif) -> ImageDataset:
    files = [str(expanded(path)) for path in paths]
    missing = [path for path in files if status(path) is None]
    if missing:
        raise UserError(f"{missing[0]}: expected an image file, found nothing. Check the path.")
    annotations = Annotations({"all": np.arange(len(files))})
    return ImageFiles(ListedFiles(files), size=size, images=files, annotations=annotations, exif=exif)


def _whole_source(source: str, size: int, exif: Exif) -> ImageDataset:
    data = open_data(source, size=size, exif=None if exif == "upright" else exif)
    if data.size != size:
        raise UserError(
            f"{source}: expected images of the model's {size} pixels, found size={data.size}. Leave it out."
        )
    return data
