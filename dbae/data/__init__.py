"""Data sets: `open_data("zip:faces.zip?size=64")` gives uint8 images, splits and attributes (`dbae.data.base`).

source                                the --data grammar and its KINDs
files/                                where bytes lie (folder, zip, lmdb), and bytes -> images (decode, transforms)
labels/                               label files: their formats, joining them to images, writing them
kinds/                                every KIND, one file each: published data sets as they were published, and others
faces/, disks (drawn)                 what we draw
named                                 images by the names of their files, for the commands
loader, memory, subset, seeded        reading: batches in processes, all at once, only a part, a split made here
overlap                               a run must not write among the images it reads
check, prepare (pack)                 python -m dbae.data check | prepare
"""

from typing import TYPE_CHECKING, Any

from dbae.data.base import Attributes, ImageDataset
from dbae.data.files import Exif
from dbae.data.loader import TrainingStream, iterate
from dbae.data.memory import InMemory
from dbae.data.named import CROPS, Crop, NamedImages, ReadBatch, matching, open_images, read_batches
from dbae.data.overlap import require_apart
from dbae.data.source import open_data, parse_source
from dbae.data.subset import Subset

if TYPE_CHECKING:
    from dbae.data.disks import Disks
    from dbae.data.faces import Faces

__all__ = [
    "CROPS",
    "Attributes",
    "Crop",
    "Disks",
    "Exif",
    "Faces",
    "ImageDataset",
    "InMemory",
    "NamedImages",
    "ReadBatch",
    "Subset",
    "TrainingStream",
    "iterate",
    "matching",
    "open_data",
    "open_images",
    "parse_source",
    "read_batches",
    "require_apart",
]


def __getattr__(name: str) -> Any:
    """Load the drawing code when it is first asked for."""
    if name == "Disks":
        from dbae.data.disks import Disks

        return Disks
    if name == "Faces":
        from dbae.data.faces import Faces

        return Faces
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
