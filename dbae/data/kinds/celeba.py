"""CelebA: `img_align_celeba/000001.jpg` ... at any depth, or the keys `None-%07d`, with attributes, splits and people.

Kaggle's copy is read as well: its folder lies within another of the same name, and its lists are CSVs
(`list_attr_celeba.csv`, `list_eval_partition.csv`). Without a list of splits the whole of it has the official ones,
which follow the order of file names.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dbae.data.files import Files
from dbae.data.kinds.published import LMDBS, Layout, Part, published
from dbae.data.labels.beside import Annotations
from dbae.data.labels.formats import celeba_splits
from dbae.data.transforms import CELEBA
from dbae.support.errors import UserError

_SITE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_PARTITION = f"folder Eval, {_SITE}"


def with_official_splits(annotations: Annotations, n: int, files: Files) -> Annotations:
    """Give n images without a list of splits the official ones. Raises UserError when they are not all of CelebA."""
    if len(annotations.splits) > 1:
        return annotations
    if n != LAYOUT.images:
        raise UserError(
            f"{files.locate('')}: expected list_eval_partition.txt (or Kaggle's .csv), or all {LAYOUT.images:,} images "
            f"(of which the first 162,770 are for training), found neither: {n:,} images. {_PARTITION} has the file; "
            "with part of the images, keep only their rows, or read it as folder:PATH."
        )
    splits: dict[str, np.ndarray] = {**annotations.splits, **celeba_splits()}
    return dataclasses.replace(annotations, splits=splits)


LAYOUT = Layout(
    "celeba",
    202_599,
    CELEBA,
    ("img_align_celeba",),
    (
        Part("img_align_celeba/*.jpg", "aligned images", f"img_align_celeba.zip, {_SITE}; {LMDBS}"),
        Part(
            "list_attr_celeba.txt",
            "40 attributes",
            f"folder Anno, {_SITE}",
            needed=False,
            kaggle="list_attr_celeba.csv",
        ),
        Part("list_eval_partition.txt", "train, val, test", _PARTITION, needed=False, kaggle="list_eval_partition.csv"),
        Part("identity_CelebA.txt", "who is on an image", f"folder Anno, {_SITE}", needed=False),
    ),
    name_of=lambda i: f"{i + 1:06d}.jpg",
    complete=with_official_splits,
)

KINDS = (published(LAYOUT),)
