"""Between bytes and [-1, 1]."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from dbae.images import NotFiniteError, contact_sheet, naming, save_png, to_device, to_float, to_uint8

EVERY_BYTE = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)


def test_round_trip_is_exact():
    assert torch.equal(to_uint8(to_float(EVERY_BYTE)), EVERY_BYTE)


def test_values_are_those_of_totensor_and_normalize():
    found = to_float(EVERY_BYTE)
    assert found.dtype == torch.float32
    assert torch.equal(found, (EVERY_BYTE.float() / 255 - 0.5) / 0.5)
    assert (found.min().item(), found.max().item()) == (-1.0, 1.0)


def test_bytes_are_rounded_to_nearest_and_clamped():
    x = (
        torch.tensor([-7.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0.0, 1.0, 7.0])
        .view(1, 1, 1, 7)
        .expand(1, 3, 1, 7)
    )
    assert to_uint8(x)[0, 0, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_bytes(dtype):
    x = torch.linspace(-1, 1, 48, dtype=dtype).view(1, 3, 4, 4)
    assert torch.equal(to_uint8(x), to_uint8(x.float()))


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
def test_images_go_to_a_gpu_from_pinned_memory(monkeypatch, device, pinned):
    """Else the host would wait for every copy, whatever `non_blocking` says. The calls are asked: they need no GPU."""
    calls: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (calls.append("pinned"), self)[1])
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: (calls.append((where, how)), self)[1])
    to_device(EVERY_BYTE, torch.device(device))
    assert calls == ["pinned"] * pinned + [((torch.device(device),), {"non_blocking": True})]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_copy_onto_a_gpu_is_whole():
    assert torch.equal(to_device(EVERY_BYTE, torch.device("cuda")).cpu(), EVERY_BYTE)


def test_inputs_are_left_as_they_are():
    pixels, x = EVERY_BYTE.clone(), torch.full((1, 3, 1, 1), 0.3)
    to_float(pixels)
    to_uint8(x)
    assert torch.equal(pixels, EVERY_BYTE)
    assert x.unique().tolist() == pytest.approx([0.3])


def test_contact_sheet_lays_images_out_row_by_row():
    images = torch.arange(1, 6, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 4, 3)
    sheet = contact_sheet(images, columns=2, gap=1)
    assert sheet.shape == (3, 3 * 5 + 1, 2 * 4 + 1)
    for i in range(5):
        y, x = 1 + i // 2 * 5, 1 + i % 2 * 4
        assert torch.equal(sheet[:, y : y + 4, x : x + 3], images[i])
    white = sheet[0] == 255
    assert white[::5].all()
    assert white[:, ::4].all()
    assert white[10:, 5:].all()
    assert white.sum() == sheet[0].numel() - 5 * 12


def test_png_has_the_pixels(tmp_path):
    pixels = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_png(pixels, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (7, 5))
        assert image.tobytes() == pixels.permute(1, 2, 0).contiguous().numpy().tobytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_no_byte_can_say_is_refused(value):
    x = torch.zeros(4, 3, 2, 2)
    x[2, 1, 0, 1] = value
    with pytest.raises(NotFiniteError, match="image 2 of its batch: has NaN or infinite pixels"):
        to_uint8(x)
    with pytest.raises(NotFiniteError, match=r"^c.png: has NaN"), naming(["a.png", "b.png", "c.png", "d.png"]):
        to_uint8(x)
