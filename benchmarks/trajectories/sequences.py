"""Which images make a sequence, and in what order.

    drawn       faces, disks: `benchmarks.trajectories.drawn`
    files       a folder or zip with a sub-folder a video: frames in the natural order of their names (2 before 10)
    groups      a data set given from Python: images of one of its `groups`, in its order

What has fewer than three frames is left out, and a log says so.
"""

from __future__ import annotations

import dataclasses
import logging
import posixpath
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from benchmarks.subjects import split_of
from dbae.data import ImageDataset, Subset
from dbae.data.files import ImageFiles
from dbae.data.transforms import SQUARE
from dbae.support.errors import UserError

FEWEST_FRAMES = 3
"""Two steps, which one angle needs."""
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of a data set.

    Attributes:
        dataset: the images; split: which of them the sequences are.
        names: of the sequences, for messages; frames: of each the indices of its images, in order.
    """

    dataset: ImageDataset
    split: str
    names: Sequence[str]
    frames: Sequence[Int64[np.ndarray, " _"]]

    @property
    def images(self) -> Int64[np.ndarray, " n"]:
        """The images of all sequences, one after the other."""
        return np.concatenate(self.frames)


def sequences_of(dataset: ImageDataset) -> Sequences:
    """The sequences of a data set, of the split test where there is one.

    Raises:
        UserError: nothing says what a sequence is, some images are in a sub-folder and others beside them, a split or
            n= takes some frames of a sequence and leaves others, or no sequence has `FEWEST_FRAMES` frames.
    """
    split = split_of(dataset, "")
    root, origin = _root(dataset)
    paths: Sequence[str] | None = None
    if isinstance(root, ImageFiles) and root.transform == SQUARE:  # the folders of a layout mean something else
        paths = root.image_names
    if paths is not None:
        names = [posixpath.dirname(path) for path in paths]
    elif root.groups is not None:
        names = [f"sequence {group}" for group in root.groups]
    else:
        raise UserError(
            f"{dataset.name}: expected sequences of images, found nothing that says which images follow one another. "
            "Name faces, disks, or a folder or zip with a sub-folder for each video."
        )
    images = dataset.split(split).tolist()
    if paths is not None:
        images.sort(key=lambda i: _natural(paths[origin[i]]))
    parts: dict[str, list[int]] = {}
    for image in images:
        parts.setdefault(names[origin[image]], []).append(image)
    if "" in parts and len(parts) > 1 and paths is not None:
        raise UserError(
            f"{dataset.name}: expected every image in the sub-folder of its video, found {paths[origin[parts[''][0]]]} "
            "outside of one. Move it."
        )
    frames = Counter(names)
    if cut := [name for name, part in parts.items() if len(part) < frames[name]]:
        raise UserError(
            f"{dataset.name}: expected all frames of a sequence or none, found {len(parts[cut[0]])} of the "
            f"{frames[cut[0]]} of {cut[0] or 'the folder'} in {split}. Split whole sequences, and leave out n=."
        )
    kept = {name: np.array(part) for name, part in parts.items() if len(part) >= FEWEST_FRAMES}
    if len(kept) < len(parts):
        short = len(parts) - len(kept)
        log.warning("%s: sequences of fewer than %d frames are left out: %d", dataset.name, FEWEST_FRAMES, short)
    if not kept:
        raise UserError(f"{dataset.name}: expected a sequence of {FEWEST_FRAMES} frames or more, found none.")
    return Sequences(dataset, split, list(kept), list(kept.values()))


def _root(dataset: ImageDataset) -> tuple[ImageDataset, list[int]]:
    """The data set that `dataset` is a part of, and where its images are there."""
    origin = np.arange(len(dataset))
    while isinstance(dataset, Subset):
        origin, dataset = dataset.origin[origin], dataset.parent
    return dataset, origin.tolist()


def _natural(path: str) -> list[tuple[int, int | str]]:
    pieces = re.split(r"([0-9]+)", path)
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]
