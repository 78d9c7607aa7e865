"""LSUN's horses and bedrooms: `0/1/.../<key>.webp` in the order of their keys, LSUN's own LMDB, or DiffAE's."""

from __future__ import annotations

from dbae.data.kinds.published import LMDBS, Layout, Part, published
from dbae.data.transforms import CENTRED

_SITE = "https://github.com/fyu/lsun"

KINDS = tuple(
    published(
        Layout(
            f"lsun-{scene}",
            images,
            CENTRED,
            (),
            (Part("*.webp", "images", f"{_SITE}, category {scene}; {LMDBS}"),),
            numbered=False,
        )
    )
    for scene, images in (("horse", 2_000_340), ("bedroom", 3_033_042))
)
