"""Train a DBAE on your own images: a checkpoint, and pictures of images, their x_T and reconstructions.

    python examples/train_on_photos.py photos runs/photos

A million images seen take some hours of two cores. It can be interrupted: the same line goes on.
"""

from __future__ import annotations

from pathlib import Path

import dbae.train
from dbae.support.cli import script
from dbae.training.folder import RunFolder


def main(folder: str, out: str, images: str = "1000000", *options: str) -> Path:
    """Train; the last checkpoint, which every other command takes as --ckpt.

    Args:
        folder: the images.
        out: folder of the run.
        images: how many to see, repetitions counted.
        options: further ones of `python -m dbae.train`.
    """
    words = ["--preset", "faces32", "--data", f"folder:{folder}", "--out", out, "--images", images, "--resume"]
    if status := dbae.train.main([*words, *options]):
        raise SystemExit(status)
    checkpoint = RunFolder(Path(out)).checkpoints()[-1]
    pictures = sorted((Path(out) / "previews").glob("*.png"))  # one every --preview-every images, and one at the end
    print(f"{checkpoint}; {pictures[-1]}")
    return checkpoint


if __name__ == "__main__":
    raise SystemExit(script(main))
