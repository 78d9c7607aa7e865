"""Writing images and label files into a zip or LMDB: the same contents in the same order give the same bytes."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dbae.data.files import import_lmdb
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

_MAP_SIZE = 1 << 40  # address space, not disk; a constant, since LMDB writes it into the file
_TRANSACTION = 1024  # images that are written together


def write_zip(out: Path, images: Iterable[tuple[str, bytes]], labels: Mapping[str, bytes]) -> None:
    """Write a zip of stored members, the label files first.

    Args:
        out: the zip, which appears when it is complete.
        images: (path inside the zip, bytes) in the order wanted.
        labels: file name -> content.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in itertools.chain(labels.items(), images):
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16  # not the system or date of this run
            archive.writestr(member, data)


def write_lmdb(out: Path, images: Iterable[tuple[str, bytes]], labels: Mapping[str, bytes]) -> None:
    """Write an LMDB folder of DiffAE's layout (`dbae.data.files.lmdb`), the label files beside `data.mdb`.

    Args:
        out: the folder, which appears when it is complete.
        images: (key, bytes) in the order of the keys.
        labels: file name -> content.

    Raises:
        UserError: the package lmdb is missing; the disk is full or cannot be written.
    """
    lmdb = import_lmdb(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            temporary.chmod(0o755)  # mkdtemp makes private folders; this is an ordinary result
            with lmdb.open(str(temporary), map_size=_MAP_SIZE, lock=False) as environment:
                _put(environment, images)
            for name, data in labels.items():
                (temporary / name).write_bytes(data)
            os.replace(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, lmdb.Error) as error:
        raise UserError(
            f"{out}: could not be written ({error}). Free some space or name another folder, then run the same command "
            "again."
        ) from error


def _put(environment: Any, images: Iterable[tuple[str, bytes]]) -> None:
    pairs, count = iter(images), 0
    while batch := list(itertools.islice(pairs, _TRANSACTION)):
        with environment.begin(write=True) as transaction:
            for key, data in batch:
                transaction.put(key.encode(), data, append=True)
        count += len(batch)
    with environment.begin(write=True) as transaction:
        transaction.put(b"length", str(count).encode())
