"""Generated images on disk: what is damaged is made again, and only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.generation import generated
from benchmarks.generation.generated import Made, generate
from dbae.support.distributed import ALONE


def numbered(asked: list[int]):
    def make(positions: np.ndarray) -> Made:
        asked.extend(positions.tolist())
        images = torch.from_numpy(positions.astype(np.uint8))[:, None, None, None].expand(-1, 3, 4, 4)
        return Made(images, 5, 0)

    return make


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "fewer", "garbage"])
def test_a_damaged_part_is_made_again(monkeypatch, caplog, how):
    monkeypatch.setattr(generated, "PART", 8)
    first = generate({"seed": 0}, 20, numbered([]), world=ALONE, progress=False)
    path = first.folder / "000008-000016.npz"
    whole = path.read_bytes()
    match how:
        case "cut" | "empty":
            path.write_bytes(whole[: len(whole) // 2 if how == "cut" else 0])
        case "flipped":
            path.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
        case "fewer":
            np.savez(path, images=np.zeros((7, 4, 4, 3), np.uint8), nfe=5, encode_nfe=0, seconds=0.1)
        case "garbage":
            path.write_bytes(b"garbage" * 50)
    asked: list[int] = []
    again = generate({"seed": 0}, 20, numbered(asked), world=ALONE, progress=False)
    assert asked == list(range(8, 16))
    assert [int(again.image(i)[0, 0, 0]) for i in range(20)] == list(range(20))
    assert any(said.startswith(f"{path}: damaged (") for said in caplog.messages)
