"""What a KIND of data is to the `--data` grammar (`dbae.data.source`)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dbae.data.base import ImageDataset
from dbae.data.files import Exif, expanded
from dbae.support.errors import UserError

if TYPE_CHECKING:
    from dbae.data.kinds.published import Layout


DRAWN = ("faces", "disks")
"""KINDs that are drawn by this package, and lie nowhere."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A parsed source string; `root` is "" when it was left out, options are None when absent."""

    kind: str
    root: str
    size: int | None = None
    split: str | None = None
    n: int | None = None
    seed: int | None = None
    exif: Exif | None = None

    @property
    def portable(self) -> str:
        """The source as a record may name it: without the folders of this machine, e.g. "zip:faces.zip?size=32"."""
        options = {name: getattr(self, name) for name in ("size", "split", "n", "seed", "exif")}
        query = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        root = "" if self.kind in DRAWN else Path(self.root).name
        return f"{self.kind}:{root}" + (f"?{query}" if query else "")


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one KIND opens a source.

    Attributes:
        name: in the grammar.
        open: gives the whole data set; raises UserError when it cannot.
        handles: options that `open` itself acts on, beside `size`; what is left of `split` and `n` is applied after.
        splits: those it always has, where that is known before it is opened.
        layout: of a published data set of image files; images: how many were published, of each variant, where there
            is no layout; both for `check`.
    """

    name: str
    open: Callable[[Source], ImageDataset]
    handles: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    layout: Layout | None = None
    images: tuple[int, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that a source of this kind may have."""
        return tuple(dict.fromkeys(("size", "split", "n", "seed", *self.handles)))


def root_of(source: Source) -> Path:
    """The given path, or `$DBAE_DATA/KIND`."""
    if source.root:
        return expanded(source.root)
    if "DBAE_DATA" not in os.environ:
        raise UserError(
            f"{source.kind}: expected a path after 'KIND:', or the folder of all data in the environment variable "
            f"DBAE_DATA, found neither. Write {source.kind}:PATH, or set DBAE_DATA so that $DBAE_DATA/{source.kind} is "
            "the data."
        )
    return Path(os.environ["DBAE_DATA"]) / source.kind
