"""Pictures with labels on one sheet, as PNG, SVG or animated GIF.

Small pictures are enlarged by whole factors, pixel by pixel, so that nothing on a sheet is smoother than the model made
it. A GIF shows several sheets one after the other.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dbae.data.files import printable
from dbae.support.errors import UserError
from dbae.support.files import atomic_path

Pixels = UInt8[Tensor, "3 s s"]
SIDE = 128
"""Pictures are enlarged as far as they stay within so many pixels."""
_GAP, _MARGIN, _TEXT, _TITLE, _NARROWEST = 3, 12, 12, 14, 560
_FRAME, _HOLD = 90, 900  # milliseconds


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows of pictures under headings.

    Attributes:
        rows: label -> pictures, all of one size; None leaves a place empty.
        headings: of the columns, or none.
    """

    rows: Mapping[str, Sequence[Pixels | None]]
    headings: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Blocks below one another, a title above, notes below."""

    title: str
    blocks: Sequence[Block]
    notes: Sequence[str] = ()


def require_format(out: Path, *, moving: bool) -> None:
    """Raise UserError unless the ending of `out` names a format that the figure has."""
    known = (".png", ".svg", ".gif") if moving else (".png", ".svg")
    if out.suffix.lower() not in known:
        raise UserError(f"--out {out}: expected a name that ends in {', '.join(known)}. Choose another --out.")


def is_film(out: Path) -> bool:
    """Whether the ending of `out` names a format that moves."""
    return out.suffix.lower() == ".gif"


def save(sheets: Sequence[Sheet], out: Path, *, scale: int | None = None) -> None:
    """Write a sheet in the format that the ending of `out` names; several of one layout are the frames of a GIF.

    Args:
        scale: factor of enlargement; None takes the largest within `SIDE`.

    Raises:
        UserError: the file cannot be written.
    """
    layouts = [_Layout(sheet, scale) for sheet in sheets]
    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".svg":
            temporary.write_text(layouts[0].svg(), encoding="utf-8")
        elif out.suffix.lower() == ".png":
            layouts[0].image().save(temporary, format="PNG")
        else:
            _save_film([layout.image() for layout in layouts], temporary)


def _save_film(frames: Sequence[Image.Image], path: Path) -> None:
    """Forth and back, with a while at both ends."""
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    durations = [_HOLD if i in (0, len(frames) - 1) else _FRAME for i in order]
    quantised = [frame.quantize(dither=Image.Dither.NONE) for frame in frames]
    first, *others = (quantised[i] for i in order)
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


@dataclasses.dataclass(frozen=True)
class _Text:
    """`anchor` is "start", "middle" or "end"; y is the middle of the line."""

    x: int
    y: int
    text: str
    anchor: str = "start"
    size: int = _TEXT


class _Layout:
    """Where everything stands, in pixels."""

    def __init__(self, sheet: Sheet, scale: int | None) -> None:
        like = next(p for block in sheet.blocks for row in block.rows.values() for p in row if p is not None)
        self.scale = scale or max(1, SIDE // like.shape[-1])
        self.side = like.shape[-1] * self.scale
        labels = [label for block in sheet.blocks for label in block.rows]
        self.left = _MARGIN + max(map(_width, labels)) + (8 if any(labels) else 0)
        across = max(len(row) for block in sheet.blocks for row in block.rows.values())
        self.width = max(_NARROWEST, self.left + across * (self.side + _GAP) + _MARGIN)
        self.pictures: list[tuple[int, int, Pixels]] = []
        self.texts: list[_Text] = []
        self.y = _MARGIN
        self._lines(sheet.title, _TITLE)
        for block in sheet.blocks:
            self._block(block)
        self.y += 4
        for note in sheet.notes:
            self._lines(note, _TEXT)
        self.height = self.y + _MARGIN - 4

    def _lines(self, text: str, size: int) -> None:
        """Text from margin to margin."""
        line = ""
        for word in [*map(printable, text.split()), ""]:
            longer = f"{line} {word}".strip()
            if word and _width(longer, size) <= self.width - 2 * _MARGIN:
                line = longer
                continue
            self.texts.append(_Text(_MARGIN, self.y + size // 2, line, size=size))
            self.y += size + 5
            line = word

    def _block(self, block: Block) -> None:
        self.y += 6
        for i, heading in enumerate(block.headings):
            middle = self.left + i * (self.side + _GAP) + self.side // 2
            self.texts.append(_Text(middle, self.y + _TEXT // 2, shortened(heading, self.side), "middle"))
        self.y += (_TEXT + 5) * bool(block.headings)
        for label, row in block.rows.items():
            self.texts.append(_Text(self.left - 8, self.y + self.side // 2, label, "end"))
            places = (self.left + i * (self.side + _GAP) for i in range(len(row)))
            self.pictures += [(x, self.y, p) for x, p in zip(places, row, strict=True) if p is not None]
            self.y += self.side + _GAP

    def image(self) -> Image.Image:
        """As pixels."""
        canvas = Image.new("RGB", (self.width, self.height), "white")
        for x, y, picture in self.pictures:
            canvas.paste(Image.fromarray(self._enlarged(picture)), (x, y))
        draw = ImageDraw.Draw(canvas)
        for text in self.texts:
            anchor = {"start": "lm", "middle": "mm", "end": "rm"}[text.anchor]
            draw.text((text.x, text.y), text.text, fill="#222222", font=_font(text.size), anchor=anchor)
        return canvas

    def svg(self) -> str:
        """As a drawing: pictures embedded pixel by pixel, text as text."""
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" ']
        parts.append(f'width="{self.width}" height="{self.height}" font-family="DejaVu Sans, sans-serif">')
        parts.append('<rect width="100%" height="100%" fill="white"/>')
        for x, y, picture in self.pictures:
            held = io.BytesIO()
            Image.fromarray(self._enlarged(picture)).save(held, format="PNG")
            data = base64.b64encode(held.getvalue()).decode()
            place = f'x="{x}" y="{y}" width="{self.side}" height="{self.side}"'
            parts.append(f'<image {place} href="data:image/png;base64,{data}"/>')
        for text in self.texts:
            place = f'x="{text.x}" y="{text.y}" dy="0.35em" font-size="{text.size}" text-anchor="{text.anchor}"'
            parts.append(f'<text {place} fill="#222222">{escape(text.text)}</text>')
        return "\n".join([*parts, "</svg>\n"])

    def _enlarged(self, picture: Pixels) -> np.ndarray:
        pixels = picture.permute(1, 2, 0).numpy()
        return pixels.repeat(self.scale, axis=0).repeat(self.scale, axis=1)


def shortened(text: str, width: int) -> str:
    """The end of a text, which tells names of files apart, as far as it fits into so many pixels."""
    if _width(text) <= width:
        return text
    kept = next((i for i in range(1, len(text)) if _width(f"…{text[i:]}") <= width), len(text))
    return f"…{text[kept:]}"


def _width(text: str, size: int = _TEXT) -> int:
    return math.ceil(_font(size).getlength(text))


@functools.cache
def _font(size: int) -> Any:
    """The font that matplotlib brings, which has most letters of the world's alphabets."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
