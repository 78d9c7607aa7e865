"""Damage to bytes, texts and JSON, drawn from a generator: the same seed does the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Rng = np.random.Generator


def pick(rng: Rng, values: Any) -> Any:
    """One of a sequence."""
    return values[int(rng.integers(len(values)))]


def broken_bytes(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """`data` after one accident of a disk or a download, and which."""
    n = max(len(data), 1)
    at, length = int(rng.integers(n)), int(rng.integers(1, max(2, min(n, 4096))))
    head = int(rng.integers(min(n, 512)))  # where formats have their facts
    accidents: dict[str, Callable[[], bytes]] = {
        f"cut at {at}": lambda: data[:at],
        f"cut at {head}": lambda: data[:head],
        "emptied": lambda: b"",
        f"zeros at {at}, {length}": lambda: data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
        f"noise at {at}, {length}": lambda: data[:at] + rng.bytes(len(data[at : at + length])) + data[at + length :],
        f"bit {at % 8} at {at}": lambda: _flipped(data, at, at % 8),
        f"bit {at % 8} at {head}": lambda: _flipped(data, head, at % 8),
        f"255 at {head}, 8": lambda: data[:head] + b"\xff" * 8 + data[head + 8 :],
        f"without {at}, {length}": lambda: data[:at] + data[at + length :],
        f"twice {at}, {length}": lambda: data[:at] + data[at : at + length] + data[at:],
        f"noise behind, {length}": lambda: data + rng.bytes(length),
        "all noise": lambda: rng.bytes(min(n, 5000)),
        "a web page": lambda: b"<!DOCTYPE html><html><title>Quota exceeded</title></html>",
    }
    kind = pick(rng, list(accidents))
    return accidents[kind](), kind


def _flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if data else data


CELLS = (
    *("", " ", "nan", "inf", "-inf", "1e400", "1e-400", "0x10", "1_000", "True", "FALSE", "yes", "-1", "2", "-", "1,5"),
    *("é", "\u00a01", "１", "\x00", "\u2028", "'", '"', '""', "=1+1", "9" * 40, "0." + "1" * 400, "a" * 5000),
    *("../../x.png", "/etc/passwd", "a\nb", "\ud800"),
)
"""What stands in tables that people and programs make."""


def broken_table(rng: Rng, text: str, separator: str = ",") -> tuple[bytes, str]:
    """A table of lines after one slip of a person or a program, and which."""
    lines = text.splitlines()
    row = int(rng.integers(len(lines)))
    cells = lines[row].split(separator)
    column = int(rng.integers(len(cells)))
    cell = pick(rng, CELLS)

    def joined(changed: list[str]) -> bytes:
        return ("\n".join(changed) + "\n").encode("utf-8", "surrogatepass")

    def with_row(new: str) -> bytes:
        return joined([*lines[:row], new, *lines[row + 1 :]])

    slips: dict[str, Callable[[], bytes]] = {
        f"cell {cell[:20]!r} at {row}, {column}": lambda: with_row(
            separator.join([*cells[:column], cell, *cells[column + 1 :]])
        ),
        f"cell gone at {row}, {column}": lambda: with_row(separator.join(cells[:column] + cells[column + 1 :])),
        f"cell twice at {row}, {column}": lambda: with_row(separator.join([*cells[: column + 1], *cells[column:]])),
        f"line {row} gone": lambda: joined(lines[:row] + lines[row + 1 :]),
        f"line {row} twice": lambda: joined([*lines[: row + 1], *lines[row:]]),
        f"line {row} empty": lambda: with_row(""),
        "line order reversed": lambda: joined(lines[::-1]),
        "only the header": lambda: joined(lines[:1]),
        "separator ;": lambda: joined([line.replace(separator, ";") for line in lines]),
        "separator tab": lambda: joined([line.replace(separator, "\t") for line in lines]),
        "UTF-16": lambda: text.encode("utf-16"),
        "byte order mark": lambda: b"\xef\xbb\xbf" + text.encode(),
        "CR LF": lambda: text.replace("\n", "\r\n").encode(),
        "quote open": lambda: text.encode()[:row] + b'"' + text.encode()[row:],
        "Latin-1": lambda: text.encode() + "é,1\n".encode("latin-1"),
    }
    kind = pick(rng, list(slips))
    return slips[kind](), kind


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10_000_000, 1 << 40, 1 << 63, 10**30, 0.5, -0.5, 1e308, float("nan")),
    *(float("inf"), "", "16", "x" * 100_000, [], [[]], {}, {"a": 1}, [1] * 10_000, [1 << 40] * 3, [None], [-1, 0]),
    *([0.5, 1], "../../../etc/passwd", "\x00", "a\nb", {"base": {"base": {}}}),
)
"""What a field of a card may be given."""


def broken_json(rng: Rng, content: Any) -> tuple[Any, str]:
    """A copy of JSON `content` in which one entry has another value, is gone, or is new; and what was done."""
    content = json.loads(json.dumps(content))
    holder, key = pick(rng, list(_entries(content)))
    how = pick(rng, ("value", "value", "value", "value", "gone", "new"))
    if how == "gone":
        del holder[key]
    elif how == "new" and isinstance(holder, dict):
        holder[f"{key}_too"] = holder[key]
    else:
        value = pick(rng, VALUES)
        holder[key] = value
        return content, f"{key} = {repr(value)[:60]}"
    return content, f"{key} {how}"


def _entries(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _entries(value)
