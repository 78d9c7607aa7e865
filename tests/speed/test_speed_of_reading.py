"""Reading PNGs of 64 px against torchvision's folder and against Pillow's decoding of bytes that lie in memory.

All give the same uint8 batch. The pictures are drawn faces with grain, whose files are about as large as a
photograph's (7 KB).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.extractors.torchvision_shim import import_torchvision
from dbae.data.faces import Faces
from dbae.data.files import open_folder, open_zip
from dbae.data.pack import write_zip
from dbae.support.allocator import keep_freed_memory

N = 256


@pytest.fixture(scope="module")
def pngs() -> list[bytes]:
    keep_freed_memory()  # as every command does
    faces = Faces(N, 64).batch(range(N)).permute(0, 2, 3, 1).numpy()
    grain = np.random.default_rng(0).integers(-2, 3, faces.shape)
    files = [io.BytesIO() for _ in range(N)]
    for file, pixels in zip(files, (faces + grain).clip(0, 255).astype(np.uint8), strict=True):
        Image.fromarray(pixels).save(file, "PNG")
    return [file.getvalue() for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pngs: list[bytes]) -> Path:
    """FOLDER/all/00000.png: torchvision wants a folder a class."""
    root = tmp_path_factory.mktemp("pngs")
    (root / "all").mkdir()
    for i, data in enumerate(pngs):
        (root / "all" / f"{i:05d}.png").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory, pngs: list[bytes]) -> Path:
    path = tmp_path_factory.mktemp("zip") / "pngs.zip"
    write_zip(path, [(f"{i:05d}.png", data) for i, data in enumerate(pngs)], {})
    return path


def test_zip_against_decoding(against, pngs: list[bytes], zipped: Path):
    def bare() -> Tensor:
        images = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pngs]
        return torch.from_numpy(np.stack(images))

    data = open_zip(zipped, size=64)
    found, expected = against(
        f"a zip of {N} PNGs of 64 px", "Pillow, bytes in memory", 0.95, lambda: data.batch(range(N)), bare
    )
    assert torch.equal(found, expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_torchvision_folder(against, folder: Path, zipped: Path, kind: str):
    import_torchvision()
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    images = ImageFolder(str(folder), transform=pil_to_tensor)
    data = open_zip(zipped, size=64) if kind == "zip" else open_folder(folder, size=64)
    found, expected = against(
        f"a {kind} of {N} PNGs of 64 px", "torchvision ImageFolder", 1.5,
        lambda: data.batch(range(N)), lambda: torch.stack([images[i][0] for i in range(N)]),
    )  # fmt: skip
    assert torch.equal(found, expected)
