"""The `--data` grammar: `KIND:ROOT[?option=value&...]`.

    zip:/data/utkface64.zip?size=32&split=train     images of a zip, resized to 32 pixels, the training split
    folder:photos?n=100                             the first 100 images below a folder
    folder:photos?split=train:0.9,test:0.1&seed=1   a split made here, of images that have none
    celeba:/data/celeba?split=test                  a published data set as it was published (`dbae.data.kinds`)
    faces:?n=2000&size=32&seed=1                    2000 faces, drawn once and kept in `$DBAE_CACHE` or ~/.cache/dbae
    faces:cache?n=2000                              the same, kept in the folder `cache`
    dsprites:dsprites.npz?n=20000&seed=1            20,000 images of a file of known factors, drawn from the seed
    disks:?n=2000&seed=1                            2000 disks, drawn whenever they are read
    /data/utkface64.zip                             a bare path: a zip, a folder, or the folder of an LMDB
    faces                                           a bare kind; where a file or folder is called so too, write
                                                    faces: or ./faces

ROOT defaults to `$DBAE_DATA/KIND`, except for `faces` and `disks`, which need none. Options: `size` (pixels; default:
the size asked for by the model, else the stored one), `split` (only that split), `n` (only the first n images, of the
split if one is named; of drawn images and of files of known factors, how many there are in all), `seed` (of what is
drawn, of the order of such a file, or of a split made here), and `exif` of folder, zip and lmdb (upright or ignore).
`split` and `n` renumber the images (`dbae.data.subset`).

`split=train:0.9` takes 90 % of the images of a data set without splits, chosen by `seed` (default 0), and
`split=test:0.1` the last 10 % of the same order, so that they have no image in common. `split=train:0.9,test:0.1` takes
both, as splits of these names. People stay on one side where it is known who is on an image.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from typing import Any, cast, get_args
from urllib.parse import parse_qsl

import numpy as np

from dbae.data.base import ImageDataset
from dbae.data.files import Exif, exists, expanded, is_lmdb, require_ordinary, shown, status
from dbae.data.kinds import KINDS
from dbae.data.kinds.kind import DRAWN, Source, root_of
from dbae.data.seeded import parse_shares, with_seeded_splits
from dbae.data.subset import Subset
from dbae.support.errors import UserError

__all__ = ["DRAWN", "KINDS", "Source", "open_data", "parse_source", "root_of"]

MAX_SIZE = 4096
"""Pixels: a larger side is a mistake that would fill the memory with one image."""

MAX_NUMBER = 10**12


def open_data(source: str, *, size: int | None = None, exif: Exif | None = None) -> ImageDataset:
    """Open the data set that a source string names (grammar: module docstring).

    Args:
        source: `KIND:ROOT[?...]`, a bare path, or a bare kind.
        size: image side wanted by the model, used when the string has no `size`.
        exif: used when the string has no `exif`, of the kinds that have that option.

    Raises:
        UserError: unknown kind or option, a value that is not allowed, or data that cannot be read.
    """
    parsed = parse_source(source)
    kind = KINDS[parsed.kind]
    if parsed.size is None and size is not None:
        parsed = dataclasses.replace(parsed, size=_integer(source, "size", str(size)))
    if parsed.exif is None and "exif" in kind.handles:
        parsed = dataclasses.replace(parsed, exif=exif)
    shares = parse_shares(parsed.split, source) if parsed.split is not None and ":" in parsed.split else {}
    if kind.splits:
        _require_split(parsed, shares, kind.splits)
    dataset = kind.open(parsed)
    if shares:
        dataset = with_seeded_splits(dataset, shares, parsed.seed or 0, source)
        origin = np.arange(len(dataset))
    else:
        origin = dataset.split(parsed.split) if parsed.split is not None else np.arange(len(dataset))
    if parsed.n is not None and "n" not in kind.handles:
        if parsed.n > len(origin):
            raise UserError(f"{source}: expected {parsed.n} images, found {len(origin)}. Lower or remove n.")
        origin = origin[: parsed.n]
    return dataset if len(origin) == len(dataset) else Subset(dataset, origin)


def parse_source(source: str) -> Source:
    """Split a source string into its parts. Raises UserError naming the kinds or options there are."""
    location, _, query = (source, "", "") if exists(source) else source.partition("?")
    kind, root = _kind_and_root(location)
    allowed = KINDS[kind].options
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise UserError(f"{shown(source)}: '{name}' is no option of {kind}. Options: {', '.join(allowed)}.")
        if name in values:
            raise UserError(f"{shown(source)}: expected option '{name}' once, found it twice. Remove one.")
        values[name] = value
    if query and not values:
        raise UserError(f"{source}: expected name=value after '?', found '{query}'. Options: {', '.join(allowed)}.")
    numbers: dict[str, Any] = {
        name: _integer(source, name, values[name]) for name in ("size", "n", "seed") if name in values
    }
    parsed = Source(kind, root, split=values.get("split"), exif=_exif(source, values.get("exif")), **numbers)
    if parsed.seed is not None and "seed" not in KINDS[parsed.kind].handles and ":" not in (parsed.split or ""):
        raise UserError(
            f"{shown(source)}: 'seed' is no option of {parsed.kind}, but of a split that is made here, such as "
            "split=train:0.9. Leave seed out."
        )
    return parsed


def _exif(source: str, value: str | None) -> Exif | None:
    if value in (None, *get_args(Exif)):
        return cast(Exif | None, value)
    raise UserError(f"{shown(source)}: expected exif=upright or exif=ignore, found '{value[:40] if value else ''}'.")


def _require_split(parsed: Source, shares: dict[str, float], known: tuple[str, ...]) -> None:
    """Refuse a split before anything is drawn for it."""
    if shares:
        raise UserError(
            f"{parsed.kind}: has splits of its own: {', '.join(known)}. Write split=train, without a share."
        )
    if parsed.split is not None and parsed.split not in known:
        raise UserError(f"data set {parsed.kind} has no split '{parsed.split}'; it has: {', '.join(known)}.")


def _kind_and_root(location: str) -> tuple[str, str]:
    kind, colon, root = location.partition(":")
    if kind in KINDS:
        if not colon and exists(location) and not _is_default_root(kind):
            raise UserError(
                f"{kind}: expected one meaning, found two: a kind of data, and a file or folder of that name here. "
                f"Write {kind}: for the kind, or ./{kind} for what lies here."
            )
        return kind, root
    path = expanded(location)
    found = status(path) if location else None
    if found is not None:
        if stat.S_ISDIR(found.st_mode):
            return ("lmdb" if is_lmdb(path) else "folder"), location
        if not stat.S_ISREG(found.st_mode):
            require_ordinary(path, found)
        return "zip", location
    if colon and "/" not in kind:
        raise UserError(
            f"{shown(location)}: unknown kind of data '{shown(kind)}'. Kinds: {', '.join(KINDS)}; or a path."
        )
    raise UserError(
        f"{shown(location)}: expected an existing zip, folder or LMDB, or one of the kinds {', '.join(KINDS)}, found "
        "neither. Check the path, or write KIND:PATH."
    )


def _is_default_root(kind: str) -> bool:
    """Whether ./KIND is $DBAE_DATA/KIND, so that both mean the same."""
    folder = os.environ.get("DBAE_DATA")
    return folder is not None and kind not in DRAWN and os.path.realpath(kind) == os.path.realpath(f"{folder}/{kind}")


def _integer(source: str, name: str, value: str) -> int:
    least, most = (0 if name == "seed" else 1), (MAX_SIZE if name == "size" else MAX_NUMBER)
    if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) >= least):
        raise UserError(f"{shown(source)}: expected an integer of at least {least} for '{name}', found '{value[:40]}'.")
    if int(value) > most:
        raise UserError(f"{shown(source)}: expected at most {most} for '{name}', found {value}. Choose a smaller one.")
    return int(value)
