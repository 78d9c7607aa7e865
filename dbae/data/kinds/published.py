"""Published face and LSUN data sets as they lie on disk: in official folders, zips of these, or DiffAE's LMDBs.

| kind         | folder (at any depth)           | LMDB keys     | images    | transform | labels                   |
|--------------|---------------------------------|---------------|-----------|-----------|--------------------------|
| celeba       | `img_align_celeba/000001.jpg`   | `None-%07d`   |   202,599 | celeba    | attributes, splits       |
| celebahq     | `CelebA-HQ-img/0.jpg`           | `256-%05d`    |    30,000 | centred   | attributes               |
| ffhq         | `images1024x1024/00000.png`     | `256-%05d`    |    70,000 | centred   |                          |
| lfw          | `lfw_funneled/A_B/A_B_0001.jpg` |               |    13,233 | lfw       | scores, splits, people   |
| lsun-horse   | `0/1/.../<key>.webp`            | `256-%07d`    | 2,000,340 | centred   |                          |
| lsun-bedroom | `0/1/.../<key>.webp`            | `256-%07d`    | 3,033,042 | centred   |                          |

The index of an image is the number in its file name or key, from 0 (CelebA's files start at 1), or its place in the
order of LSUN's keys; of LFW, see `dbae.data.kinds.lfw`. EXIF orientations are not applied, as in the reference. Fewer
images than published are opened all the same: counts are what `python -m dbae.data check` is for. Sources:
aailab-kaist/DBAE 533f564, datasets/aligned_dataset.py; phizaz/diffae 00c57d3, dataset.py and data_resize_*.py.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import stat
from collections.abc import Callable, Sequence

from dbae.data.files import Files, FolderFiles, ImageFiles, LmdbFiles, ZipFiles, expanded, is_image, is_lmdb, status
from dbae.data.kinds.kind import Kind, root_of
from dbae.data.labels.beside import Annotations, read_annotations
from dbae.data.transforms import Transform
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that belongs to a data set.

    Attributes:
        pattern: its path or paths, at any depth (`fnmatch`).
        what: what it is.
        where: where users get it.
        needed: whether the data set cannot be opened without it.
        kaggle: name of the same file in Kaggle's copy, which serves as well.
    """

    pattern: str
    what: str
    where: str
    needed: bool = True
    kaggle: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a published data set lies on disk, and what is done to its images.

    Attributes:
        name: the KIND, and how results name the data.
        images: how many were published.
        transform: from an original, or an image of the LMDB, to S x S.
        folders: names of the folders that hold the images; one of them is there, or the root is one itself.
        parts: what `check` looks for.
        name_of: image number -> its name in the label files, for LMDBs.
        numbered: whether file names are image numbers, which give the order; otherwise paths do.
        complete: from what the label files say of n images to what is known of them.
    """

    name: str
    images: int
    transform: Transform
    folders: tuple[str, ...]
    parts: tuple[Part, ...]
    name_of: Callable[[int], str] | None = None
    numbered: bool = True
    complete: Callable[[Annotations, int, Files], Annotations] | None = None


LMDBS = "or the LMDB made by https://github.com/phizaz/diffae"


def published(layout: Layout) -> Kind:
    """The KIND of a layout."""
    return Kind(layout.name, lambda source: open_layout(layout, root_of(source), size=source.size), layout=layout)


def open_layout(layout: Layout, root: str | os.PathLike[str], *, size: int | None = None) -> ImageFiles:
    """Open a published data set at `root`: its folder, a zip of that, or an LMDB.

    Raises:
        UserError: nothing there, no images, file names that are no numbers, label files that do not fit the images, or
            what `complete` raises.
    """
    files = files_at(root, size=size, name_of=layout.name_of)
    members = files.names()
    images = files.images if isinstance(files, LmdbFiles) else _images(layout, members, files)
    annotations = read_annotations(members, images, files.read, files.locate)
    if layout.complete is not None:
        annotations = layout.complete(annotations, len(images), files)
    return ImageFiles(
        files,
        size=size,
        transform=layout.transform,
        images=images,
        annotations=annotations,
        name=layout.name,
        members=members,
    )


def files_at(
    root: str | os.PathLike[str], *, size: int | None = None, name_of: Callable[[int], str] | None = None
) -> Files:
    """The files of a folder, zip or LMDB, whichever `root` is (`size`, `name_of`: see `LmdbFiles`)."""
    root = expanded(root)
    if is_lmdb(root):
        return LmdbFiles(root, size=size, name_of=name_of)
    found = status(root)
    return FolderFiles(root) if found is None or stat.S_ISDIR(found.st_mode) else ZipFiles(root)


def _images(layout: Layout, members: Sequence[str], files: Files) -> list[str]:
    """Names of the images in index order."""
    images = [name for name in members if is_image(name)]
    present = [folder for folder in layout.folders if any(_is_below(folder, name) for name in images)]
    if len(present) > 1:
        raise UserError(
            f"{files.locate('')}: expected one of the folders {' and '.join(present)}, found both. "
            f"Name one: {layout.name}:{files.locate(present[0])}."
        )
    if present:
        images = [name for name in images if _is_below(present[0], name)]
    if not images:
        expected = " or ".join(layout.folders) or "images"
        raise UserError(
            f"{files.locate('')}: expected {expected} of {layout.name} or an LMDB, found no images among "
            f"{len(members)} files. Run: python -m dbae.data check {layout.name}:{files.locate('')}."
        )
    return _by_number(images, layout, files) if layout.numbered else sorted(images)


def _is_below(folder: str, name: str) -> bool:
    return f"/{folder}/" in f"/{name}"


def _by_number(images: Sequence[str], layout: Layout, files: Files) -> list[str]:
    numbers: dict[int, str] = {}
    for name in images:
        stem = posixpath.splitext(posixpath.basename(name))[0]
        if not (stem.isascii() and stem.isdigit()):
            raise UserError(
                f"{files.locate(name)}: expected images of {layout.name}, named by their numbers, found '{stem}'. "
                "Remove what does not belong to it, or read it as folder:PATH."
            )
        if int(stem) in numbers:
            raise UserError(
                f"{files.locate(name)}: expected one image {int(stem)}, found also {numbers[int(stem)]}. Remove one."
            )
        numbers[int(stem)] = name
    return [numbers[i] for i in sorted(numbers)]
