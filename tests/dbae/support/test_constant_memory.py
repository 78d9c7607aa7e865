"""Reconstructing and encoding ten times as many images takes no more memory."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_model import small_card, small_config

from dbae.checkpoints import own as checkpoint
from dbae.model import DBAE

FEW, MANY = 150, 1500
SIZE = 64  # MANY images held as float32 would be 70 MiB, a fifth of the peak
STATUS = Path("/proc/self/status")  # resource.getrusage would count what the parent held when it forked
SCRIPT = """
import sys
from pathlib import Path
from dbae import {command}
from dbae.samplers import SamplerConfig
{command}.run({command}.Options((sys.argv[1],), Path(sys.argv[2]), sys.argv[3], {options}))
print(next(line.split()[1] for line in open("{status}") if line.startswith("VmHWM")))
"""
OPTIONS = {
    "reconstruct": ("draws=1, sampler=SamplerConfig('one_step', nfe=1)", "pictures"),
    "encode": ("draws=2, sigma=True", "z.npz"),
}


def thin_model() -> DBAE:
    """Few channels, and attention among 64 pixels alone: the time goes into files."""
    config, levels = small_config(SIZE), (1, 1, 1, 1)
    score = dataclasses.replace(config.score, channel_mult=levels)
    encoder = dataclasses.replace(config.encoder, channel_mult=levels)
    return DBAE.initialised(dataclasses.replace(config, score=score, encoder=encoder), 0)


def pack(path: Path, n: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((SIZE, SIZE)).save(buffer, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            archive.writestr(f"{i:06d}.png", buffer.getvalue())
    return path


def peak(folder: Path, command: str, n: int) -> int:
    """Most memory, in KiB, that the command held while it worked on n images."""
    options, out = OPTIONS[command]
    script = SCRIPT.format(command=command, options=options, status=STATUS)
    images = pack(folder / f"{n}.zip", n)
    arguments = [sys.executable, "-c", script, images, folder / f"{n}" / out, folder / "a.safetensors"]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("command", list(OPTIONS))
def test_peak_does_not_grow_with_the_number_of_images(tmp_path, command):
    model = thin_model()
    checkpoint.save(tmp_path / "a.safetensors", small_card(model), ema=model.state_dict())
    few, many = (peak(tmp_path, command, n) for n in (FEW, MANY))
    assert many < 1.1 * few
