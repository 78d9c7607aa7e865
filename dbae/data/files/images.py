"""Image files of a folder, zip or LMDB as a data set.

    Files (names, bytes) -> images in index order -> decode to RGB, perhaps turned upright -> transform to S x S

Unless a data set has its own order (`dbae.data.kinds.published`), the index of an image is its position among all image
paths in lexicographic order. Splits, attributes and identities come from the label files found beside the images
(`dbae.data.labels.beside`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from dbae.data.base import Attributes, ImageDataset
from dbae.data.decode import EXTENSIONS, decode_rgb, is_turned, stored_size
from dbae.data.files.listing import is_image, not_used
from dbae.data.files.paths import printable
from dbae.data.labels.beside import Annotations, read_annotations
from dbae.data.transforms import SQUARE, Transform
from dbae.support.errors import UserError

Exif = Literal["upright", "ignore"]
"""What is done with a photograph whose EXIF orientation says that its pixels lie on their side or head."""

logger = logging.getLogger(__name__)


@runtime_checkable
class Files(Protocol):
    """A read-only collection of named files."""

    stem: str
    left_out: Mapping[str, Sequence[str]]
    """Reason -> names of files that `names` leaves out though they look like something to read."""

    def names(self) -> Sequence[str]:
        """Relative posix paths of all files, hidden ones left out."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises UserError when they cannot be read or fail their checksum."""
        ...

    def checksum(self, name: str) -> int:
        """CRC-32 of the file's bytes."""
        ...

    def state(self, name: str) -> tuple[int, ...]:
        """Numbers, found without reading the file, that change when it is replaced or written to."""
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
        exif: "upright" turns photographs as their EXIF orientation says; "ignore" takes the pixels as stored, as the
            programs of the published data sets do.
        members: names of all files, where they are known already; None to list them.

    Attributes:
        unused: what is seen and not used (`dbae.data.files.listing`), which is also logged.
        notes: what the label files say about themselves, e.g. which columns are no targets.

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
        exif: Exif = "ignore",
        members: Sequence[str] | None = None,
    ) -> None:
        self.files = files
        self.transform = transform
        self.exif = exif
        self.name = printable(name or files.stem)
        members = files.names() if members is None else members
        if images is None:
            images = sorted(member for member in members if is_image(member))
        self.image_names = images
        if not images:
            raise UserError(
                f"{files.locate('')}: expected image files ({', '.join(sorted(EXTENSIONS))}), found none among "
                f"{len(members)} files{_listed(not_used(members, (), files.left_out))}. "
                "Name the folder or zip that holds the images."
            )
        if annotations is None:
            annotations = read_annotations(members, images, files.read, files.locate)
        self.splits = annotations.splits
        self.attributes = annotations.attributes
        self.groups = annotations.groups
        self.notes = annotations.notes
        self.unused = not_used(members, images, files.left_out, annotations.read)
        if self.unused:
            _say(logging.WARNING, f"{files.locate('')}: seen and not used: {'; '.join(self.unused)}")
        for note in self.notes:
            _say(logging.INFO, note)
        self.size = size if size is not None else _common_size(files, self.image_names)

    def __len__(self) -> int:
        return len(self.image_names)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index`: decoded, perhaps turned, transformed. Raises UserError naming a file that cannot be."""
        name = self.image_names[index]
        where = printable(self.files.locate(name))
        decoded = decode_rgb(self.files.read(name), where, upright=self.exif == "upright")
        try:
            return np.array(self.transform.apply(decoded, self.size))
        except ValueError as error:
            raise UserError(f"{where}: {error}. Replace the image or read the data as another kind.") from error

    def says_turned(self, index: int) -> bool:
        """Whether the EXIF orientation of image `index` says that its stored pixels are not upright.

        False for what cannot be read: reading the image says that.
        """
        try:
            return is_turned(self.files.read(self.image_names[index]))
        except UserError:
            return False

    @property
    def fingerprint(self) -> str:
        """SHA-256 over image paths and CRC-32s, size, transform version, splits and labels; no folder, no label text.

        A folder and a zip of the same files agree. Where photographs are turned upright, the digest says so: it is
        another one than that of the pixels as stored. Where none needs it, the two are the same data set. Computing it
        reads every image file of a folder or LMDB once, and of a zip if photographs are to be turned.
        """
        return self._fingerprints[0]

    @property
    def image_fingerprint(self) -> str:
        """The same without splits and labels."""
        return self._fingerprints[1]

    @functools.cached_property
    def _fingerprints(self) -> tuple[str, str]:
        contents, turned = [], 0
        for name in self.image_names:
            checksum, is_sideways = self._looked_at(name)
            contents.append((name, checksum))
            turned += is_sideways
        source = (contents, self.size, self.transform.version) + (("upright",) if turned else ())
        if turned:
            report_turned(turned, len(self), self.files.locate(""))
        whole = dataset_digest(source, self.splits, self.attributes, self.groups)
        return whole, dataset_digest(source, {}, None)

    def _looked_at(self, name: str) -> tuple[int, bool]:
        """A file's CRC-32, and whether it will be turned."""
        if self.exif == "ignore":
            return self.files.checksum(name), False
        try:
            data = self.files.read(name)
        except UserError:  # a damaged member of a zip, of which the directory still knows the checksum
            return self.files.checksum(name), False
        return zlib.crc32(data), is_turned(data)


def report_turned(turned: int, n: int, where: str) -> None:
    """Log that photographs are turned upright."""
    logger.info(
        "%s: %d of %d images say by EXIF that their pixels are to be turned; they are turned upright (--exif ignore, "
        "or ?exif=ignore in a source, reads them as stored)",
        where,
        turned,
        n,
    )


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


@functools.cache
def _say(level: int, text: str) -> None:
    """Log a remark about files; a process that opens them again has heard it."""
    logger.log(level, "%s", text)


def _listed(phrases: Sequence[str]) -> str:
    return f": {'; '.join(phrases)}" if phrases else ""


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
