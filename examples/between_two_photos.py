"""Images between two photographs, as one picture: z goes in a straight line, x_T follows it or turns.

    python examples/between_two_photos.py a.jpg b.jpg between.png

`python -m benchmarks.figures interpolate` draws the same with labels, and as a film.
"""

from __future__ import annotations

from baselines.editing import interpolate_images
from baselines.load import load
from dbae.data.named import read_images
from dbae.images import contact_sheet, save_png, to_uint8
from dbae.samplers import SamplerConfig
from dbae.support.cli import script


def main(first: str, second: str, out: str, ckpt: str = "builtin:dbae") -> None:
    """Write the picture: nine images, both reconstructions included."""
    model = load(ckpt).model
    x = read_images(first, second, size=model.image_size)
    sampler = SamplerConfig(model.samplers[0], nfe=20)  # type: ignore[arg-type]
    shares = [i / 8 for i in range(9)]
    between = interpolate_images(model, x[0], x[1], shares, sampler=sampler)
    save_png(contact_sheet(to_uint8(between.images), columns=len(shares)), out)
    print(f"{out}: {between.nfe} network evaluations an image, {between.encode_nfe} to infer each x_T")


if __name__ == "__main__":
    raise SystemExit(script(main))
