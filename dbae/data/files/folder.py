"""Images in a folder and its sub-folders, with the label files beside them (`dbae.data.labels.beside`)."""

from __future__ import annotations

import collections
import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dbae.data.files import listing
from dbae.data.files.images import Exif, ImageFiles
from dbae.data.files.paths import expanded, require_ordinary, shown, status
from dbae.support.errors import UserError


def open_folder(path: str | os.PathLike[str], *, size: int | None = None, exif: Exif = "upright") -> ImageFiles:
    """The images below a folder; see `ImageFiles`. Raises UserError when it is missing or holds no images."""
    return ImageFiles(FolderFiles(path), size=size, exif=exif)


class FolderFiles:
    """Files below a folder, each once, hidden ones left out (`dbae.data.files.listing`).

    Links to files and folders are followed, after everything that lies in the folder itself, so that a file has the
    name of its own place and not of a link to it. A link that leads to what is read already, or back up, is left out.

    Attributes:
        left_out: after `names`: reason -> names of what is not read.

    Raises:
        UserError: no such folder; from `names`: a folder that cannot be listed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self.left_out: Mapping[str, Sequence[str]] = {}
        found = status(self.path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            what = "a file. Write zip:PATH if it is a zip" if found is not None else "nothing. Check the path"
            raise UserError(f"{shown(path)}: expected a folder, found {what}.")
        self.stem = os.path.basename(os.path.realpath(self.path))

    def names(self) -> list[str]:
        """All files below the folder, by a walk that also notes what it leaves out."""
        walk = _Walk(self.path)
        self.left_out = walk.left_out
        return walk.names

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises UserError where it cannot be read, or is a pipe or device."""
        where = self.locate(name)
        try:
            require_ordinary(where, os.stat(where))
            with open(where, "rb", buffering=0) as file:
                return file.readall()
        except OSError as error:
            raise UserError(
                f"{shown(where)}: expected a readable file, found: {error.strerror}. "
                "Put it back, or correct its permissions."
            ) from error

    def checksum(self, name: str) -> int:
        """CRC-32; reads the file."""
        return zlib.crc32(self.read(name))

    def state(self, name: str) -> tuple[int, ...]:
        """Size, time of change and inode."""
        return file_state(self.path / name)

    def locate(self, name: str) -> str:
        """Its path."""
        return str(self.path / name)


def file_state(path: Path) -> tuple[int, ...]:
    """Size, time of change in nanoseconds and inode: other numbers, another file. Raises UserError without the file."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UserError(f"{shown(path)}: expected a readable file, found: {error.strerror}. Put it back.") from error
    return found.st_size, found.st_mtime_ns, found.st_ino


class _Walk:
    """One listing of a folder: its own files and folders first, then what its links lead to."""

    def __init__(self, root: Path) -> None:
        self.names: list[str] = []
        self.left_out: dict[str, list[str]] = collections.defaultdict(list)
        self._links: collections.deque[tuple[str, str]] = collections.deque()
        self._linked_files: list[tuple[str, str]] = []
        self._folders: set[tuple[int, int]] = set()
        self._files: set[tuple[int, int]] = set()
        self._below(str(root), "")
        while self._links:
            self._follow(*self._links.popleft())
        for path, name in self._linked_files:
            self._take(path, name)

    def _below(self, top: str, prefix: str) -> None:
        """Everything below a folder that is no link; links are put off. `prefix` is its name, with a final '/'."""
        waiting = [(top, prefix)]
        while waiting:
            folder, prefix = waiting.pop()
            identity, entries = _listed(folder)
            self._folders.add(identity)
            further: list[tuple[str, str]] = []
            for entry in entries:
                name = prefix + entry.name
                if listing.is_hidden(entry.name):
                    if listing.worth_saying(name):
                        self.left_out[listing.HIDDEN].append(name)
                elif entry.is_symlink():
                    self._links.append((entry.path, name))
                elif entry.is_dir(follow_symlinks=False):
                    further.append((entry.path, name + "/"))
                elif entry.is_file(follow_symlinks=False):
                    self.names.append(name)
                else:
                    self.left_out[listing.SPECIAL].append(name)
            waiting += reversed(further)  # the first is taken next

    def _follow(self, path: str, name: str) -> None:
        """List the folder that a link leads to; a file is put off until all folders are known."""
        try:
            found = os.stat(path)
        except OSError:
            self.names.append(name)  # leads nowhere: whoever reads it says so, by name
            return
        if not stat.S_ISDIR(found.st_mode):
            self._linked_files.append((path, name))
        elif _identity(found) in self._folders:
            self.left_out[listing.AGAIN].append(name)
        else:
            self._below(path, name + "/")

    def _take(self, path: str, name: str) -> None:
        """The file that a link leads to, unless it is read by its own name or that of another link."""
        found, real = os.stat(path), os.path.realpath(path)
        is_known = _identity(os.stat(os.path.dirname(real))) in self._folders and _as_good(real, name)
        if not stat.S_ISREG(found.st_mode):
            self.left_out[listing.SPECIAL].append(name)
        elif is_known or _identity(found) in self._files:
            self.left_out[listing.AGAIN].append(name)
        else:
            self._files.add(_identity(found))
            self.names.append(name)


def _as_good(real: str, name: str) -> bool:
    """Whether a file is read under its own name wherever it is read under that of a link to it."""
    last = os.path.basename(real)
    return not listing.is_hidden(last) and (listing.is_image(last) or not listing.is_image(name))


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _listed(folder: str) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """A folder's identity and entries, by name."""
    try:
        with os.scandir(folder) as entries:
            return _identity(os.stat(folder)), sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{shown(folder)}: expected a readable folder, found: {error.strerror}. Correct its permissions."
        ) from error
