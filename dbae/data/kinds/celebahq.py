"""CelebA-HQ with CelebAMask-HQ's attributes: `CelebA-HQ-img/0.jpg` ... at any depth, or the keys `256-%05d`."""

from __future__ import annotations

from dbae.data.kinds.published import LMDBS, Layout, Part, published
from dbae.data.transforms import CENTRED

_SITE = "https://github.com/switchablenorms/CelebAMask-HQ"

LAYOUT = Layout(
    "celebahq",
    30_000,
    CENTRED,
    ("CelebA-HQ-img",),
    (
        Part("CelebA-HQ-img/*.jpg", "images", f"CelebAMask-HQ.zip, {_SITE}; {LMDBS}"),
        Part("CelebAMask-HQ-attribute-anno.txt", "40 attributes", f"CelebAMask-HQ.zip, {_SITE}", needed=False),
    ),
    name_of=lambda i: f"{i}.jpg",
)

KINDS = (published(LAYOUT),)
