"""Disks that this package draws (`dbae.data.disks`)."""

from __future__ import annotations

from dbae.data.base import ImageDataset
from dbae.data.kinds.kind import Kind, Source
from dbae.support.errors import UserError


def open_disks(source: Source) -> ImageDataset:
    """Disks drawn from (seed, index), whenever they are read. Raises UserError when a folder is named."""
    from dbae.data.disks import Disks

    if source.root:
        raise UserError(
            f"disks:{source.root}: expected no folder, since disks are drawn as fast as a file is read, found one. "
            "Write disks:?n=20000&seed=0, or disks alone."
        )
    options = {"n": source.n, "size": source.size, "seed": source.seed}
    return Disks(**{name: value for name, value in options.items() if value is not None})


KINDS = (Kind("disks", open_disks, handles=("n", "seed"), splits=("all", "train", "val", "test")),)
