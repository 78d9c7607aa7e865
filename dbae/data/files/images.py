"""Image files of a folder, zip or LMDB as a data set.

    Files (names, bytes) -> images in index order -> decode to RGB -> transform to S x S

Unless a data set has its own order (`dbae.data.kinds.layouts`), the index of an image is its position among all image
paths in lexicographic order. Splits, attributes and identities come from the label files found beside the images
(`dbae.data.labels.beside`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import posixpath
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from dbae.data.base import Attributes, ImageDataset
from dbae.data.decode import EXTENSIONS, decode_rgb, stored_size
from dbae.data.labels.beside import Annotations, is_label_file, read_annotations
from dbae.data.transforms import SQUARE, Transform
from dbae.support.errors import UserError

logger = logging.getLogger(__name__)


@runtime_checkable
class Files(Protocol):
    """A read-only collection of named files."""

    stem: str

    def names(self) -> Sequence[str]:
        """Relative posix paths of all files, hidden ones left out."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises UserError when they cannot be read or fail their checksum."""
        ...

    def checksum(self, name: str) -> int:
        """CRC-32 of the file's bytes."""
        ...

    def locate(self, name: str) -> str:
        """How messages name the file."""
        ...


class ImageFiles(ImageDataset):
    """Images among `files`, at one size.

    Args:
        files: where the bytes are.
        size: side S in pixels; None takes the stored size, which must then be square and the same for all images.
        transform: from a decoded image to S x S.
        images: names of the images in index order; None for all files with an image's extension, sorted.
        annotations: splits and labels of the images; None to read them from the label files among `files`.
        name: what results call the data; None for the stem of `files`.

    Raises:
        UserError: no images; no `size` and images of several sizes; label files that do not fit the images.
    """

    def __init__(
        self,
        files: Files,
        *,
        size: int | None = None,
        transform: Transform = SQUARE,
        images: Sequence[str] | None = None,
        annotations: Annotations | None = None,
        name: str | None = None,
    ) -> None:
        self.files = files
        self.transform = transform
        self.name = name or files.stem
        members = files.names() if images is None or annotations is None else []
        if images is None:
            images = sorted(member for member in members if is_image(member))
            _report_others(members, files)
        self.image_names = images
        if not images:
            raise UserError(
                f"{files.locate('')}: expected image files ({', '.join(sorted(EXTENSIONS))}), found none among "
                f"{len(members)} files. Name the folder or zip that holds the images."
            )
        if annotations is None:
            annotations = read_annotations(members, images, files.read, files.locate)
        self.splits = annotations.splits
        self.attributes = annotations.attributes
        self.groups = annotations.groups
        self.size = size if size is not None else _common_size(files, self.image_names)

    def __len__(self) -> int:
        return len(self.image_names)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        name = self.image_names[index]
        where = self.files.locate(name)
        decoded = decode_rgb(self.files.read(name), where)
        try:
            return np.array(self.transform.apply(decoded, self.size))
        except ValueError as error:
            raise UserError(f"{where}: {error}. Replace the image or read the data as another kind.") from error

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over image paths and CRC-32s, size, transform version, splits and labels; no folder, no label text.

        A folder and a zip of the same files agree. Computing it reads every image file of a folder or LMDB once.
        """
        contents = [(name, self.files.checksum(name)) for name in self.image_names]
        source = (contents, self.size, self.transform.version)
        return dataset_digest(source, self.splits, self.attributes, self.groups)


def dataset_digest(
    source: object, splits: Mapping[str, np.ndarray], attributes: Attributes | None, groups: np.ndarray | None = None
) -> str:
    """Hex SHA-256 of a description of the images (JSON-serialisable), the splits, the labels and the groups."""
    digest = hashlib.sha256(json.dumps(source).encode())
    for name, indices in sorted(splits.items()):
        digest.update(json.dumps([name, len(indices)]).encode() + indices.astype("<i8").tobytes())
    if attributes is not None:
        digest.update(json.dumps([attributes.binary_names, attributes.continuous_names]).encode())
        digest.update(attributes.binary.astype("i1").tobytes() + attributes.continuous.astype("<f8").tobytes())
    if groups is not None:
        digest.update(b"groups" + groups.astype("<i8").tobytes())
    return digest.hexdigest()


def is_image(name: str) -> bool:
    """Whether a file is an image, by its extension."""
    return _extension(name) in EXTENSIONS


def _extension(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _report_others(members: Sequence[str], files: Files) -> None:
    others = [name for name in members if not is_image(name) and not is_label_file(name)]
    if others:
        logger.warning(
            "%s: %d files are neither images nor label files and are not read (first: %s)",
            files.locate(""),
            len(others),
            others[0],
        )


def _common_size(files: Files, names: Sequence[str]) -> int:
    """Side of the images when all are square and equal. Reads every header."""
    first: tuple[int, int] | None = None
    for name in names:
        found = stored_size(files.read(name), files.locate(name))
        first = first or found
        if found[0] != found[1] or found != first:
            raise UserError(
                f"{files.locate(name)}: expected square images of one size because no size was given, "
                f"found {found[0]} x {found[1]}"
                + (f" after {first[0]} x {first[1]} in {names[0]}. " if found != first else ". ")
                + "Say which size to crop and resize to: add ?size=64 to the source."
            )
    assert first is not None
    return first[0]
