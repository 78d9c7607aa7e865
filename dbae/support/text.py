"""Tables of aligned text, and times in words."""

from __future__ import annotations

from collections.abc import Sequence


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text, every column as wide as its widest cell, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


WIDTH = 120
"""Columns of a terminal that a table keeps to where it can."""


def table(lines: Sequence[Sequence[str]], keys: int, *, wrap: bool = False) -> str:
    """`columns`, but what all lines say alike stands once, in a line above: "data: faces; protocol: paper".

    Args:
        lines: the heading, then one line or more.
        keys: of the first `keys` columns, those with one and the same cell in all lines go above; empty ones are left
            out. The columns after them stay.
        wrap: set the columns after the keys in blocks below one another where they are wider together than `WIDTH`;
            each block begins with the keys that are left.
    """
    head, *body = lines
    shared = [i for i in range(keys) if len({line[i] for line in body}) == 1]
    above = "; ".join(f"{head[i]}: {body[0][i]}" for i in shared if body[0][i])
    left = [i for i in range(keys) if i not in shared]
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(len(head))]
    blocks: list[list[int]] = [[]]
    room = WIDTH + 2 - sum(widths[i] for i in left)
    for i in range(keys, len(head)):
        if wrap and blocks[-1] and sum(widths[j] for j in (*blocks[-1], i)) > room:
            blocks.append([])
        blocks[-1].append(i)
    texts = [columns([[line[i] for i in (*left, *block)] for line in lines]) for block in blocks]
    return "\n".join([*([above] if above else []), "\n\n".join(texts)])


def duration(seconds: float) -> str:
    """A time in its largest unit: 1.5 hours."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} second{'s' if seconds >= 1.5 else ''}"
