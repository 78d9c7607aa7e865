"""Small data sets on disk, built by the tests themselves."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dbae.data.faces import Faces


def picture(index: int, width: int = 16, height: int = 16) -> np.ndarray:
    """Random uint8 (height, width, 3)."""
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    """Lossless file of an image."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def coded(array: np.ndarray, format_: str) -> bytes:
    """File of an image in Pillow's format `format_`, at its highest quality."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format_, quality=100)
    return buffer.getvalue()


def celeba_members(n: int = 6) -> dict[str, bytes]:
    """Members of an archive in CelebA's formats: n images, 2 attributes, 2 targets, half train, rest val and test."""
    files = [f"{i + 1:06d}.png" for i in range(n)]
    numbers = [0 if i < n // 2 else 1 + i % 2 for i in range(n)]
    attributes = [f"{f} {1 if i % 2 else -1:2d} {1 if i % 3 else -1:2d}" for i, f in enumerate(files)]
    rows = [f"{f},{p},{20 + i},{i / 8},{-i}" for i, (f, p) in enumerate(zip(files, numbers, strict=True))]
    return {f"img_align/{f}": png(picture(i)) for i, f in enumerate(files)} | {
        "list_attr.txt": "\n".join([str(n), "Smiling Young ", *attributes]).encode(),
        "list_eval_partition.txt": "\n".join(f"{f} {p}" for f, p in zip(files, numbers, strict=True)).encode(),
        "attributes_continuous.csv": "\n".join(["file,split,age,age_z,light", *rows]).encode(),
    }


def edited(members: dict[str, bytes], name: str, old: str, new: str) -> dict[str, bytes]:
    """Members with other text in one of them."""
    text = members[name].decode()
    assert old in text
    return members | {name: text.replace(old, new).encode()}


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Pack members in the given order."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, members: dict[str, bytes]) -> Path:
    """The same members as files."""
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_lmdb(path: Path, members: dict[str, bytes]) -> Path:
    """Keys and values as an LMDB; names that are no keys of images become files beside it."""
    lmdb = pytest.importorskip("lmdb")
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, data in members.items():
            if name.endswith(".txt"):
                (path / name).write_bytes(data)
            else:
                transaction.put(name.encode(), data)
    return path


def column(dataset: Faces, name: str) -> np.ndarray:
    """Labels of one attribute, float64 (n,)."""
    labels = dataset.attributes
    if name in labels.binary_names:
        return labels.binary[:, labels.binary_names.index(name)].astype(np.float64)
    return labels.continuous[:, labels.continuous_names.index(name)]
