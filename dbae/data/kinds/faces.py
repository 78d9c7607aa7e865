"""Faces that this package draws (`dbae.data.faces`)."""

from __future__ import annotations

from typing import Any

from dbae.data.base import ImageDataset
from dbae.data.files import expanded
from dbae.data.kinds.kind import Kind, Source


def open_faces(source: Source) -> ImageDataset:
    """Faces drawn from (seed, index), kept in `root` or else in the default cache."""
    from dbae.data.faces import Faces  # drawing code is loaded only by those who draw

    options: dict[str, Any] = {"n": source.n, "size": source.size, "seed": source.seed}
    given = {name: value for name, value in options.items() if value is not None}
    return Faces(**given, cache=expanded(source.root) if source.root else True)


KINDS = (Kind("faces", open_faces, handles=("n", "seed"), splits=("all", "train", "val", "test")),)
