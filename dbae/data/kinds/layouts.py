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
order of LSUN's keys; of LFW, see `dbae.data.kinds.lfw`. Fewer images than published are opened all the same: counts are
what `python -m dbae.data check` is for. Sources: aailab-kaist/DBAE 533f564, datasets/aligned_dataset.py; phizaz/diffae
00c57d3, dataset.py and data_resize_*.py.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dbae.data.files.folder import FolderFiles
from dbae.data.files.images import Files, ImageFiles, is_image
from dbae.data.files.lmdb import LmdbFiles, is_lmdb
from dbae.data.files.zip import ZipFiles
from dbae.data.labels.beside import Annotations, read_annotations
from dbae.data.labels.formats import celeba_splits
from dbae.data.transforms import CELEBA, CENTRED, LFW, Transform
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that belongs to a data set.

    Attributes:
        pattern: its path or paths, at any depth (`fnmatch`).
        what: what it is.
        where: where users get it.
        needed: whether the data set cannot be opened without it.
    """

    pattern: str
    what: str
    where: str
    needed: bool = True


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
    """

    name: str
    images: int
    transform: Transform
    folders: tuple[str, ...]
    parts: tuple[Part, ...]
    name_of: Callable[[int], str] | None = None
    numbered: bool = True


_CELEBA_SITE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_HQ_SITE = "https://github.com/switchablenorms/CelebAMask-HQ"
_FFHQ_SITE = "https://github.com/NVlabs/ffhq-dataset"
_LSUN_SITE = "https://github.com/fyu/lsun"
_LMDBS = "or the LMDB made by https://github.com/phizaz/diffae"
_LFW_COPY = "https://github.com/aailab-kaist/DBAE (its README links a copy; the site of UMass is gone)"
_LFW_SCORES = "https://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt"

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "celeba",
            202_599,
            CELEBA,
            ("img_align_celeba",),
            (
                Part("img_align_celeba/*.jpg", "aligned images", f"img_align_celeba.zip, {_CELEBA_SITE}; {_LMDBS}"),
                Part("list_attr_celeba.txt", "40 attributes", f"folder Anno, {_CELEBA_SITE}", needed=False),
                Part("list_eval_partition.txt", "train, val, test", f"folder Eval, {_CELEBA_SITE}", needed=False),
                Part("identity_CelebA.txt", "who is on an image", f"folder Anno, {_CELEBA_SITE}", needed=False),
            ),
            name_of=lambda i: f"{i + 1:06d}.jpg",
        ),
        Layout(
            "celebahq",
            30_000,
            CENTRED,
            ("CelebA-HQ-img",),
            (
                Part("CelebA-HQ-img/*.jpg", "images", f"CelebAMask-HQ.zip, {_HQ_SITE}; {_LMDBS}"),
                Part(
                    "CelebAMask-HQ-attribute-anno.txt", "40 attributes", f"CelebAMask-HQ.zip, {_HQ_SITE}", needed=False
                ),
            ),
            name_of=lambda i: f"{i}.jpg",
        ),
        Layout(
            "ffhq",
            70_000,
            CENTRED,
            ("images1024x1024", "thumbnails128x128"),
            (Part("*[0-9].png", "images1024x1024 or thumbnails128x128", f"{_FFHQ_SITE}; {_LMDBS}"),),
        ),
        Layout(
            "lfw",
            13_233,
            LFW,
            ("lfw_funneled",),
            (
                Part("lfw_funneled/*_0001.jpg", "funneled images", f"lfw-funneled.tgz, {_LFW_COPY}"),
                Part("peopleDevTrain.txt", "people of the training split", _LFW_COPY),
                Part("peopleDevTest.txt", "people of the test split", _LFW_COPY),
                Part("lfw-names.txt", "all people", _LFW_COPY),
                Part("lfw_attributes.txt", "73 attribute scores", _LFW_SCORES),
            ),
        ),
        *(
            Layout(
                f"lsun-{scene}",
                images,
                CENTRED,
                (),
                (Part("*.webp", "images", f"{_LSUN_SITE}, category {scene}; {_LMDBS}"),),
                numbered=False,
            )
            for scene, images in (("horse", 2_000_340), ("bedroom", 3_033_042))
        ),
    )
}
"""Kind -> layout."""


def open_layout(layout: Layout, root: str | os.PathLike[str], *, size: int | None = None) -> ImageFiles:
    """Open a published data set at `root`: its folder, a zip of that, or an LMDB.

    Raises:
        UserError: nothing there, no images, file names that are no numbers, label files that do not fit the images, or
            a part of CelebA without its partition file.
    """
    files = files_at(root, size=size, name_of=layout.name_of)
    members = files.names()
    images = files.images if isinstance(files, LmdbFiles) else _images(layout, members, files)
    annotations = read_annotations(members, images, files.read, files.locate)
    if layout.name == "celeba" and len(annotations.splits) == 1:
        annotations = dataclasses.replace(annotations, splits=_official_splits(annotations, len(images), files))
    return ImageFiles(
        files, size=size, transform=layout.transform, images=images, annotations=annotations, name=layout.name
    )


def files_at(
    root: str | os.PathLike[str], *, size: int | None = None, name_of: Callable[[int], str] | None = None
) -> Files:
    """The files of a folder, zip or LMDB, whichever `root` is (`size`, `name_of`: see `LmdbFiles`)."""
    root = Path(root)
    if is_lmdb(root):
        return LmdbFiles(root, size=size, name_of=name_of)
    return ZipFiles(root) if root.is_file() else FolderFiles(root)


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


def _official_splits(annotations: Annotations, n: int, files: Files) -> dict[str, np.ndarray]:
    """CelebA's splits by image number, for the whole of it without a partition file."""
    layout = LAYOUTS["celeba"]
    if n != layout.images:
        raise UserError(
            f"{files.locate('')}: expected list_eval_partition.txt, or all {layout.images:,} images (of which the "
            f"first 162,770 are for training), found neither: {n:,} images. {layout.parts[2].where} has the file; "
            "with part of the images, keep only their rows, or read it as folder:PATH."
        )
    return {**annotations.splits, **celeba_splits()}
