"""Sets of generated images: a folder or zip of pictures, or an npz in guided-diffusion's format, read and written.

    arr_0   uint8 (n, s, s, 3), RGB

is all that such an npz must have; its other arrays (statistics of reference batches) are not read. An npz that is not
compressed, as `numpy.savez` writes it, is mapped into memory and not loaded.
Source: openai/guided-diffusion, evaluations/evaluator.py.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dbae.data import ImageDataset, iterate, open_data, parse_source
from dbae.sample_folder import is_sample_folder
from dbae.support.arrays import DAMAGE, array_file
from dbae.support.errors import UserError
from dbae.support.files import sha256

ARRAY = "arr_0"


class NpzImages(ImageDataset):
    """The images of an npz, in its order.

    Raises:
        UserError: no such file, no zip, no array `arr_0`, or one of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.path = path
        self.pixels = _array(path)
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] != 3:
            raise UserError(
                f"{path}: expected {ARRAY} of uint8 (n, s, s, 3), found {self.pixels.dtype} {self.pixels.shape}. "
                "Write RGB bytes, channels last."
            )
        if self.pixels.shape[1] != self.pixels.shape[2] or len(self.pixels) == 0:
            raise UserError(f"{path}: expected one or more square images, found {self.pixels.shape}.")
        self.size = self.pixels.shape[1]
        self.splits = {"all": np.arange(len(self.pixels))}

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """Image `index` of arr_0."""
        return np.array(self.pixels[index])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.path)


def open_samples(source: str) -> ImageDataset:
    """Images of an `.npz`, or of whatever `--data` takes (folder, zip, LMDB) at its stored size.

    Of a folder that `dbae.sample` wrote they are those in its images/, not the sheets beside them.

    Raises:
        UserError: there is no such thing, or it cannot be read.
    """
    if source.endswith(".npz"):
        return NpzImages(Path(source))
    parsed = parse_source(source)
    if parsed.kind != "folder" or not is_sample_folder(Path(parsed.root)):
        return open_data(source)
    _, mark, query = source.partition("?")
    images = open_data(f"folder:{parsed.root}/images{mark}{query}")
    images.name = Path(parsed.root).resolve().name
    return images


def save_npz(images: ImageDataset, path: Path) -> None:
    """Write all images in guided-diffusion's format; memory holds one batch. Raises UserError when it cannot."""
    with array_file(path) as arrays:
        for _, batch in iterate(images, np.arange(len(images)), 256):
            arrays.append(ARRAY, batch.permute(0, 2, 3, 1).numpy())


def _array(path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if f"{ARRAY}.npy" not in names:
                found = ", ".join(name.removesuffix(".npy") for name in names[:5]) or "nothing"
                raise UserError(
                    f"{path}: expected an array called {ARRAY} (guided-diffusion's format), found {found}. "
                    f"Write it with numpy.savez(path, images)."
                )
            info = archive.getinfo(f"{ARRAY}.npy")
            if info.compress_type == zipfile.ZIP_STORED:
                return _mapped(path, archive, info)
        return np.load(path)[ARRAY]
    except FileNotFoundError:
        raise UserError(f"{path}: expected an npz, found no such file. Check the path.") from None
    except DAMAGE as error:
        raise UserError(f"{path}: expected an npz, could not read it ({error}). Write it again.") from error


def _mapped(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """The array where it lies in the file, behind two headers; all of it is read once, for its checksum."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
        header = member.tell()
        while member.read(1 << 20):  # at its end, its checksum is compared
            pass
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    start = info.header_offset + 30 + name + extra + header
    return np.memmap(path, dtype, "r", start, shape, order="F" if fortran else "C")
