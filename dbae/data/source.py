"""The `--data` grammar: `KIND:ROOT[?option=value&...]`.

    zip:/data/utkface64.zip?size=32&split=train     images of a zip, resized to 32 pixels, the training split
    folder:photos?n=100                             the first 100 images below a folder
    celeba:/data/celeba?split=test                  a published data set as it was published (`dbae.data.kinds.layouts`)
    faces:?n=2000&size=32&seed=1                    2000 faces, drawn once and kept in `$DBAE_CACHE` or ~/.cache/dbae
    faces:cache?n=2000                              the same, kept in the folder `cache`
    /data/utkface64.zip                             a bare path: a zip, a folder, or the folder of an LMDB
    faces                                           a bare kind; write ./faces for a folder of that name

ROOT defaults to `$DBAE_DATA/KIND`, except for `faces`, which need none. Options: `size` (pixels; default: the size
asked for by the model, else the stored one), `split` (only that split), `n` (only the first n images, of the split if
one is named; of `faces`, how many are drawn in all), and `seed` (of what is drawn). `split` and `n` renumber the images
(`dbae.data.subset`).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from dbae.data.base import ImageDataset
from dbae.data.files.folder import open_folder
from dbae.data.files.lmdb import is_lmdb, open_lmdb
from dbae.data.files.zip import open_zip
from dbae.data.kinds.layouts import LAYOUTS, open_layout
from dbae.data.kinds.lfw import open_lfw
from dbae.data.subset import Subset
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """A parsed source string; `root` is "" when it was left out, options are None when absent."""

    kind: str
    root: str
    size: int | None = None
    split: str | None = None
    n: int | None = None
    seed: int | None = None

    @property
    def portable(self) -> str:
        """The source as a record may name it: without the folders of this machine, e.g. "zip:faces.zip?size=32"."""
        options = {name: getattr(self, name) for name in ("size", "split", "n", "seed")}
        query = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        root = "" if self.kind == "faces" else Path(self.root).name
        return f"{self.kind}:{root}" + (f"?{query}" if query else "")


def _draw_faces(source: Source) -> ImageDataset:
    from dbae.data.faces import Faces  # drawing code is loaded only by those who draw

    options: dict[str, Any] = {"n": source.n, "size": source.size, "seed": source.seed}
    given = {name: value for name, value in options.items() if value is not None}
    return Faces(**given, cache=Path(source.root).expanduser() if source.root else True)


def _published(name: str) -> Callable[..., ImageDataset]:
    return functools.partial(open_layout, LAYOUTS[name])


def _at_root(open_path: Callable[..., ImageDataset]) -> Callable[[Source], ImageDataset]:
    return lambda source: open_path(root_of(source), size=source.size)


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one KIND opens a source.

    Attributes:
        open: gives the whole data set.
        handles: options that `open` itself acts on, beside `size`; what is left of `split` and `n` is applied after.
    """

    open: Callable[[Source], ImageDataset]
    handles: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("size", "split", "n", *self.handles)))


KINDS: dict[str, Kind] = {
    "faces": Kind(_draw_faces, handles=("n", "seed")),
    "folder": Kind(_at_root(open_folder)),
    "zip": Kind(_at_root(open_zip)),
    "lmdb": Kind(_at_root(open_lmdb)),
    "celeba": Kind(_at_root(_published("celeba"))),
    "celebahq": Kind(_at_root(_published("celebahq"))),
    "ffhq": Kind(_at_root(_published("ffhq"))),
    "lfw": Kind(_at_root(open_lfw)),
    "lsun-horse": Kind(_at_root(_published("lsun-horse"))),
    "lsun-bedroom": Kind(_at_root(_published("lsun-bedroom"))),
}
"""Every KIND of the grammar; adding one is adding a line."""


def open_data(source: str, *, size: int | None = None) -> ImageDataset:
    """Open the data set that a source string names (grammar: module docstring).

    Args:
        source: `KIND:ROOT[?...]`, a bare path, or a bare kind.
        size: image side wanted by the model, used when the string has no `size`.

    Raises:
        UserError: unknown kind or option, a value that is not allowed, or data that cannot be read.
    """
    parsed = parse_source(source)
    if parsed.size is None:
        parsed = dataclasses.replace(parsed, size=size)
    kind = KINDS[parsed.kind]
    dataset = kind.open(parsed)
    origin = dataset.split(parsed.split) if parsed.split is not None else np.arange(len(dataset))
    if parsed.n is not None and "n" not in kind.handles:
        if parsed.n > len(origin):
            raise UserError(f"{source}: expected {parsed.n} images, found {len(origin)}. Lower or remove n.")
        origin = origin[: parsed.n]
    return dataset if len(origin) == len(dataset) else Subset(dataset, origin)


def parse_source(source: str) -> Source:
    """Split a source string into its parts. Raises UserError naming the kinds or options there are."""
    location, _, query = (source, "", "") if Path(source).exists() else source.partition("?")
    kind, root = _kind_and_root(location)
    allowed = KINDS[kind].options
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise UserError(f"{source}: '{name}' is no option of {kind}. Options: {', '.join(allowed)}.")
        if name in values:
            raise UserError(f"{source}: expected option '{name}' once, found it twice. Remove one.")
        values[name] = value
    if query and not values:
        raise UserError(f"{source}: expected name=value after '?', found '{query}'. Options: {', '.join(allowed)}.")
    numbers = {name: _integer(source, name, values[name]) for name in ("size", "n", "seed") if name in values}
    return Source(kind, root, split=values.get("split"), **numbers)


def _kind_and_root(location: str) -> tuple[str, str]:
    kind, colon, root = location.partition(":")
    if kind in KINDS:
        return kind, root
    path = Path(location).expanduser()
    if location and path.exists():
        return ("lmdb" if is_lmdb(path) else "folder" if path.is_dir() else "zip"), location
    if colon and "/" not in kind:
        raise UserError(f"{location}: unknown kind of data '{kind}'. Kinds: {', '.join(KINDS)}; or a path.")
    raise UserError(
        f"{location}: expected an existing zip, folder or LMDB, or one of the kinds {', '.join(KINDS)}, found neither. "
        "Check the path, or write KIND:PATH."
    )


def root_of(source: Source) -> Path:
    """The given path, or `$DBAE_DATA/KIND`."""
    if source.root:
        return Path(source.root).expanduser()
    if "DBAE_DATA" not in os.environ:
        raise UserError(
            f"{source.kind}: expected a path after 'KIND:', or the folder of all data in the environment variable "
            f"DBAE_DATA, found neither. Write {source.kind}:PATH, or set DBAE_DATA so that $DBAE_DATA/{source.kind} is "
            "the data."
        )
    return Path(os.environ["DBAE_DATA"]) / source.kind


def _integer(source: str, name: str, value: str) -> int:
    least = 0 if name == "seed" else 1
    if not (value.isascii() and value.isdigit() and int(value) >= least):
        raise UserError(f"{source}: expected an integer of at least {least} for '{name}', found '{value}'.")
    return int(value)
