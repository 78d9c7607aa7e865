"""FFHQ: `images1024x1024/00000.png` ... or `thumbnails128x128` at any depth, or the keys `256-%05d`."""

from __future__ import annotations

from dbae.data.kinds.published import LMDBS, Layout, Part, published
from dbae.data.transforms import CENTRED

_SITE = "https://github.com/NVlabs/ffhq-dataset"

LAYOUT = Layout(
    "ffhq",
    70_000,
    CENTRED,
    ("images1024x1024", "thumbnails128x128"),
    (Part("*[0-9].png", "images1024x1024 or thumbnails128x128", f"{_SITE}; {LMDBS}"),),
)

KINDS = (published(LAYOUT),)
