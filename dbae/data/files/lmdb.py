"""Images in an LMDB of DiffAE's layout, with the label files that lie in the same folder (`dbae.data.labels.beside`).

    key `length`                      number of images n, in ASCII digits
    key `256-00000`, `None-0000000`   bytes of image i < n: PREFIX-i, i padded with zeros; PREFIX is the stored side,
                                      or None for images left as they were

Where `length` is missing, every key is an image and keys are in byte order: LSUN's own LMDBs. Reading takes no lock
and leaves nothing behind, so an LMDB on a read-only disk will do. Needs the package lmdb, which is loaded when the
first LMDB is opened.

An LMDB is mapped into memory, where pages that the file lacks would end the process by a signal and without a word:
its size is therefore compared with what its own header says before it is opened.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbae.data.files.folder import file_state
from dbae.data.files.images import Exif, ImageFiles
from dbae.data.files.paths import exists, expanded, require_bounded, require_ordinary, status
from dbae.support.errors import UserError

DATA_FILES = ("data.mdb", "lock.mdb")
_NUMBERED = re.compile(rb"([A-Za-z0-9]+)-([0-9]+)")


def open_lmdb(path: str | os.PathLike[str], *, size: int | None = None, exif: Exif = "ignore") -> ImageFiles:
    """The images of an LMDB; see `ImageFiles`. Raises UserError when it is no LMDB, cut short, or without images."""
    files = LmdbFiles(path, size=size)
    return ImageFiles(files, size=size, images=files.images, exif=exif)


def is_lmdb(path: Path) -> bool:
    """Whether a path is the folder of an LMDB."""
    return exists(path / DATA_FILES[0]) and (path / DATA_FILES[0]).is_file()


class LmdbFiles:
    """Images and label files of an LMDB folder.

    Args:
        path: the folder that holds `data.mdb`.
        size: side that will be asked for; where images are stored at several sides, the smallest that is not smaller
            is read, else the largest.
        name_of: image number -> the name that label files use for it; None names an image by its key.

    Attributes:
        images: names of the n images in index order.

    Raises:
        UserError: the package lmdb is missing, no LMDB, keys of no known layout, or fewer images than `length` says.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, size: int | None = None, name_of: Callable[[int], str] | None = None
    ) -> None:
        self.path = expanded(path)
        status(self.path)
        self.left_out: Mapping[str, Sequence[str]] = {}
        self.stem = Path(os.path.realpath(self.path)).stem
        if not is_lmdb(self.path):
            raise UserError(f"{path}: expected the folder of an LMDB, found no data.mdb in it. Check the path.")
        self._environment = _environment(self.path)
        keys = self._image_keys(size)
        self.images = keys if name_of is None else [name_of(i) for i in range(len(keys))]
        self._keys = None if name_of is None else dict(zip(self.images, keys, strict=True))

    def names(self) -> list[str]:
        """Files beside the database, then images by their index."""
        beside = sorted(p.name for p in self.path.iterdir() if p.is_file() and not p.name.startswith("."))
        return [name for name in beside if name not in DATA_FILES] + self.images

    def read(self, name: str) -> bytes:
        """The bytes of an image, or of a file beside. Raises UserError where there is no such key."""
        if exists(beside := self.path / name) and beside.is_file():
            require_ordinary(beside, os.stat(beside))
            return beside.read_bytes()
        with _explained(self.path), self._environment.begin() as transaction:
            data = transaction.get(self._key(name).encode())
        if data is None:
            raise UserError(
                f"{self.locate(name)}: expected an image, found no such key: the LMDB is incomplete. "
                "Fetch or pack it again."
            )
        require_bounded(self.locate(name), len(data))
        return bytes(data)

    def checksum(self, name: str) -> int:
        """CRC-32; reads the image."""
        return zlib.crc32(self.read(name))

    def state(self, name: str) -> tuple[int, ...]:
        """That of the database as a whole."""
        return file_state(self.path / DATA_FILES[0])

    def locate(self, name: str) -> str:
        """FOLDER:KEY."""
        return f"{self.path}:{self._key(name)}" if name else str(self.path)

    def _key(self, name: str) -> str:
        return name if self._keys is None else self._keys.get(name, name)

    def _image_keys(self, size: int | None) -> list[str]:
        with _explained(self.path), self._environment.begin() as transaction:
            length = transaction.get(b"length")
            if length is None:
                return [bytes(key).decode("ascii", "replace") for key in transaction.cursor().iternext(values=False)]
            if not length.isdigit() or int(length) == 0:
                raise UserError(f"{self.path}: expected a number under 'length', found {length[:20]!r}. Pack it again.")
            prefix, width = _choose(self.path, _prefixes(transaction.cursor()), size)
            keys = [f"{prefix}-{i:0{width}d}" for i in range(int(length))]
            if transaction.get(keys[-1].encode()) is None:
                raise UserError(
                    f"{self.path}: expected {len(keys)} images, as key 'length' says, found no key '{keys[-1]}': the "
                    "LMDB is incomplete. Fetch or pack it again."
                )
        return keys

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_environment"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._environment = _environment(self.path)


def _prefixes(cursor: Any) -> dict[str, int]:
    """PREFIX -> digits of the image number, found by leaping from one prefix to the next."""
    found: dict[str, int] = {}
    present = cursor.first()
    while present:
        match = _NUMBERED.fullmatch(cursor.key())
        if match:
            found[match[1].decode()] = len(match[2])
        # ':' follows '9', so this is the first key after all numbers of this prefix
        present = cursor.set_range(match[1] + b"-:") if match else cursor.next()
    return found


def _choose(path: Path, prefixes: dict[str, int], size: int | None) -> tuple[str, int]:
    """The prefix to read, and its digits."""
    if not prefixes:
        raise UserError(f"{path}: expected keys like '256-00000', found none. Pack it again.")
    sides = sorted(int(prefix) for prefix in prefixes if prefix.isdigit())
    if not sides:
        return next(iter(prefixes.items()))
    enough = [side for side in sides if size is not None and side >= size]
    prefix = str(enough[0] if enough else sides[-1])
    return prefix, prefixes[prefix]


_open_environments: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()


def import_lmdb(path: Path) -> Any:
    """The package lmdb. Raises UserError naming `path` and how to install it."""
    try:
        import lmdb
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: an LMDB needs the package lmdb, which is not installed. Run: pip install 'dbae-bench[lmdb]'."
        ) from None
    return lmdb


def _environment(path: Path) -> Any:
    """The open LMDB: one for all readers of a process and its forks, since LMDB forbids opening a file twice."""
    lmdb = import_lmdb(path)
    key = (str(path.resolve()), os.stat(path / DATA_FILES[0]).st_ino)
    environment = _open_environments.get(key)
    if environment is None:
        _require_whole(path)
        with _explained(path):
            environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_readers=1024)
        _open_environments[key] = environment
    return environment


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what LMDB raises on a damaged file, then or later, into one UserError."""
    lmdb = import_lmdb(path)
    try:
        yield
    except lmdb.Error as error:
        raise UserError(f"{path}: expected an LMDB, found a damaged one ({error}). Fetch it again.") from error


_META = struct.Struct("<16x I4x 8x8x I44x 48x Q")
"""Of each of the two first pages: magic number, page size, number of the last page (`MDB_meta` in lmdb's mdb.c)."""

_MAGIC = 0xBEEFC0DE


def _require_whole(path: Path) -> None:
    """Raises UserError when `data.mdb` is shorter than the pages that its header speaks of.

    Both headers are asked: the file belongs to the later one, and never shrinks. A file that is no LMDB passes, since
    lmdb says that.
    """
    file = path / DATA_FILES[0]
    found = os.stat(file).st_size
    with open(file, "rb") as opened:
        magic, page, last = _meta(opened.read(_META.size))
        if magic != _MAGIC or not 256 <= page <= 1 << 16:
            return
        opened.seek(page)
        magic, _, other = _meta(opened.read(_META.size))
    if magic == _MAGIC:
        last = max(last, other)
    expected = (max(last, 1) + 1) * page
    if found < expected:
        raise UserError(
            f"{path}: expected an LMDB of {expected} bytes, as its header says, found {found}: it was cut short. "
            "Fetch or pack it again."
        )


def _meta(data: bytes) -> tuple[int, int, int]:
    magic, page, last = _META.unpack(data.ljust(_META.size, b"\0"))
    return magic, page, last
