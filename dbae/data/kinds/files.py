"""Anybody's images: in a folder, a zip, an LMDB.

Photographs of a folder or zip are turned upright as their EXIF orientation says. An LMDB holds images that a program
has resized, so that theirs are taken as stored; `?exif=` says otherwise of either.
"""

from __future__ import annotations

from collections.abc import Callable

from dbae.data.base import ImageDataset
from dbae.data.files import Exif, open_folder, open_lmdb, open_zip
from dbae.data.kinds.kind import Kind, Source, root_of


def _kind(name: str, open_path: Callable[..., ImageDataset], exif: Exif) -> Kind:
    def open_source(source: Source) -> ImageDataset:
        return open_path(root_of(source), size=source.size, exif=source.exif or exif)

    return Kind(name, open_source, handles=("exif",))


KINDS = (
    _kind("folder", open_folder, "upright"),
    _kind("zip", open_zip, "upright"),
    _kind("lmdb", open_lmdb, "ignore"),
)
