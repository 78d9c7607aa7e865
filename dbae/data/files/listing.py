"""One rule for what becomes of every file below a folder, or in an archive:

| file                                                       |                                                     |
|------------------------------------------------------------|-----------------------------------------------------|
| an image by its extension (`dbae.data.decode.EXTENSIONS`)  | read, or refused by name when it cannot be          |
| a label file by its name (`dbae.data.labels.beside`)       | read, or refused by name and line                   |
| a name that resembles a label file's                       | seen and not used                                   |
| hidden (`.name`, `__MACOSX`)                               | left out; images and label files: seen and not used |
| a link to what is read already                             | seen and not used: each file is read once           |
| a pipe, socket or device                                   | never opened; seen and not used                     |
| anything else                                              | seen and not used                                   |

What is seen and not used is said at the start of every run, in one line, and by `python -m dbae.data check`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence

from dbae.data.decode import EXTENSIONS
from dbae.data.files.paths import shown
from dbae.data.labels.beside import is_label_file

HIDDEN, AGAIN, SPECIAL = "hidden", "links to what is read already", "pipes, sockets or devices"
"""Reasons for which a listing leaves files out."""

_RESEMBLES = re.compile(r"attr|label|partition|split|identit|annot|dataset.*\.json", re.IGNORECASE)
_ODD = re.compile(r"\\|//|^/|/$|(^|/)\.{1,2}(/|$)")
"""In names of members that are no plain relative paths."""
_TABLES = (".txt", ".csv", ".tsv", ".json", ".xlsx", ".xls", ".parquet", ".zip", ".gz")


def is_image(name: str) -> bool:
    """Whether a file is an image, by its extension."""
    return posixpath.splitext(name)[1].lower() in EXTENSIONS


def is_hidden(part: str) -> bool:
    """Whether a file or folder is hidden, by its own name."""
    return part.startswith(".") or part == "__MACOSX"


def member_name(raw: str) -> str:
    """What a member of an archive is called: a relative path with '/'.

    Windows' programs write backslashes, others './name' or '../name'. Nothing is ever unpacked, so '..' leads nowhere.
    """
    if not _ODD.search(raw):
        return raw
    return "/".join(part for part in raw.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def worth_saying(name: str) -> bool:
    """Whether a hidden file would have been read; not macOS' `._name`, which goes with every file."""
    last = posixpath.basename(name)
    return not last.startswith("._") and "__MACOSX" not in name and (is_image(last) or is_label_file(last))


def resembles_labels(name: str) -> bool:
    """Whether a name is close to that of a label file, without being one."""
    last = posixpath.basename(name)
    return last.lower().endswith(_TABLES) and bool(_RESEMBLES.search(last)) and not is_label_file(last)


def not_used(
    members: Iterable[str], images: Sequence[str], left_out: Mapping[str, Sequence[str]], labels: Iterable[str] = ()
) -> tuple[str, ...]:
    """What is seen and not used, one phrase a reason, e.g. "3 other files (first: notes.md)".

    Args:
        members: all files.
        images: those that are read as images.
        left_out: reason -> names, of what the listing left out.
        labels: those that are read as label files; those of the names that are read are taken to be.
    """
    used = set(images).union(labels)
    others = [name for name in members if name not in used]
    groups = {
        "images that are not read": [name for name in others if is_image(name)],
        "label files that are not read": [name for name in others if is_label_file(name)] if labels else [],
        "files whose names resemble those of label files": [name for name in others if resembles_labels(name)],
        **left_out,
    }
    groups["other files"] = [
        name for name in others if not (is_image(name) or is_label_file(name) or resembles_labels(name))
    ]
    return tuple(
        f"{len(names):,} {reason} (first: {shown(min(names))})" for reason, names in groups.items() if len(names)
    )
