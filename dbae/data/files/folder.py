"""Images in a folder and its sub-folders, with the label files beside them (`dbae.data.labels.beside`)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from dbae.data.files.images import ImageFiles
from dbae.support.errors import UserError


def open_folder(path: str | os.PathLike[str], *, size: int | None = None) -> ImageFiles:
    """The images below a folder; see `ImageFiles`. Raises UserError when it is missing or holds no images."""
    return ImageFiles(FolderFiles(path), size=size)


class FolderFiles:
    """Files below a folder, hidden ones left out; links to files and folders are followed.

    Raises:
        UserError: no such folder; from `names`: a folder that cannot be listed, or a link that leads back.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.stem = self.path.resolve().name
        if not self.path.is_dir():
            found = f"a file. Write zip:{path} if it is a zip" if self.path.exists() else "nothing. Check the path"
            raise UserError(f"{path}: expected a folder, found {found}.")

    def names(self) -> list[str]:
        names = []
        for folder, folders, files in os.walk(self.path, followlinks=True, onerror=_unlistable):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in folders:
                _check_leads_on(Path(folder, name))
            relative = Path(folder).relative_to(self.path)
            names += [(relative / name).as_posix() for name in files if not name.startswith(".")]
        return names

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise UserError(
                f"{self.locate(name)}: expected a readable file, found: {error.strerror}. "
                "Put it back, or correct its permissions."
            ) from error

    def checksum(self, name: str) -> int:
        return zlib.crc32(self.read(name))

    def locate(self, name: str) -> str:
        return str(self.path / name)


def _check_leads_on(folder: Path) -> None:
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder}: expected a folder further down, found a link back up. Remove the link.")


def _unlistable(error: OSError) -> None:
    raise UserError(f"{error.filename}: expected a readable folder, found: {error.strerror}. Correct its permissions.")
