"""Images in a zip, with the label files beside them (`dbae.data.labels.beside`).

Members are read by position (`pread`) straight from the zip: no shared file offset, so threads and forked workers
read at once without locks or reopening. Stored and deflated members are supported. Every read is checked against
its CRC-32.
"""

from __future__ import annotations

import contextlib
import gc
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbae.data.files import listing
from dbae.data.files.images import Exif, ImageFiles
from dbae.data.files.paths import expanded, require_bounded, require_ordinary, shown, status
from dbae.support.errors import UserError

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, then lengths of file name and extra field


def open_zip(path: str | os.PathLike[str], *, size: int | None = None, exif: Exif = "upright") -> ImageFiles:
    """The images of a zip; see `ImageFiles`. Raises UserError when it is no zip, broken, or without images."""
    return ImageFiles(ZipFiles(path), size=size, exif=exif)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage among objects that are all kept, which takes a fifth of opening a large zip."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ZipFiles:
    """Members of a zip, without directories, hidden files and macOS' resource forks, by `listing.member_name`.

    Attributes:
        left_out: reason -> names of what is not read.

    Raises:
        UserError: missing, not a zip, cut short, encrypted, compressed in another way, or with a member twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self.stem = self.path.stem
        with _uncollected():
            members = _directory(self.path)
        hidden = [name for name in members if any(map(listing.is_hidden, name.split("/")))]
        out = set(hidden)
        self.left_out: Mapping[str, Sequence[str]] = {listing.HIDDEN: list(filter(listing.worth_saying, hidden))}
        self._members = {name: info for name, info in members.items() if name not in out}
        self._file = open(self.path, "rb")  # noqa: SIM115  lives as long as this object
        self._length = os.fstat(self._file.fileno()).st_size

    def names(self) -> list[str]:
        """All members, in the archive's order."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises UserError where they are damaged, or more than the directory says."""
        info = self._members[name]
        require_bounded(self.locate(name), info.file_size)
        data = self._stored(name, info)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            try:
                # no further than the directory says: a few kilobytes can inflate to gigabytes
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
            except zlib.error:
                raise self._corrupt(name) from None
        if zlib.crc32(data) != info.CRC:
            raise self._corrupt(name)
        return data

    def _stored(self, name: str, info: zipfile.ZipInfo) -> bytes:
        """The bytes of a member as they lie in the zip."""
        try:
            header = os.pread(self._file.fileno(), _LOCAL_HEADER.size, info.header_offset)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
                raise self._corrupt(name)
            _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
            return os.pread(self._file.fileno(), min(info.compress_size, self._length), start)
        except (OSError, OverflowError):  # places in the file that there are not
            raise self._corrupt(name) from None

    def checksum(self, name: str) -> int:
        """CRC-32, as the archive's directory has it."""
        return self._members[name].CRC

    def state(self, name: str) -> tuple[int, ...]:
        """Size and CRC-32, from the directory."""
        return self._members[name].file_size, self._members[name].CRC

    def locate(self, name: str) -> str:
        """ARCHIVE:MEMBER."""
        return f"{self.path}:{name}" if name else str(self.path)

    def _corrupt(self, name: str) -> UserError:
        return UserError(
            f"{self.locate(name)}: expected {self._members[name].file_size} bytes with the checksum of the zip's "
            "directory, found other or missing bytes: the zip is damaged. Fetch or pack it again."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = open(self.path, "rb")  # noqa: SIM115


def _directory(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Name -> checked entry of the files in a zip."""
    found = status(path)
    if found is None:
        raise UserError(f"{shown(path)}: expected a zip, found no such file. Check the path.")
    if path.is_dir():
        raise UserError(f"{path}: expected a zip, found a folder. Write folder:{path} instead.")
    if not path.is_file():
        require_ordinary(path, found)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if not (info.is_dir() or info.filename.endswith("\\"))]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path}: expected a zip, found {found.st_size} bytes without a readable zip directory ({error}). It is "
            "another kind of file, or was cut short: fetch or pack it again."
        ) from error
    members: dict[str, zipfile.ZipInfo] = {}
    for info in entries:
        name = listing.member_name(info.filename)
        if name in members:
            raise UserError(f"{path}: expected distinct members, found '{shown(name)}' twice. Pack it again.")
        members[name] = info
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(
                f"{path}:{shown(name)}: expected a stored or deflated member, found an encrypted one or compression "
                f"method {info.compress_type}. Pack it again with 'zip -0'."
            )
    return members
