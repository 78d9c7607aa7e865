"""LFW: funneled photographs with 73 attribute scores, and who is on them.

    lfw_funneled/First_Last/First_Last_0001.jpg     250 x 250
    peopleDevTrain.txt, peopleDevTest.txt           the splits: a count of people, then rows `First_Last  images`
    lfw-names.txt                                   all people: the same rows without the count
    lfw_attributes.txt                              tab separated: a comment; `# person imagenum attr1 ...`; rows
                                                    `First Last  n  scores`

They may lie in a folder of their own below the root (torchvision's is `lfw-py`). Images are numbered as the lists
name them, training first. Images without a row of scores are left out, as in the published protocol.

Source: yue-zhongqi/diti ca4ed6c, eval/src/lfw_attribute.py.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from dbae.data.base import Attributes
from dbae.data.files import Files, ImageFiles
from dbae.data.kinds.kind import Kind, root_of
from dbae.data.kinds.published import Layout, Part, files_at
from dbae.data.labels.beside import Annotations
from dbae.data.labels.formats import Table, finite_numbers, malformed, split_rows
from dbae.data.transforms import LFW
from dbae.support.errors import UserError

IMAGE = "lfw_funneled/{name}/{name}_{number:04d}.jpg"
"""Path of an image below the folder of the label files."""

PEOPLE = {"train": "peopleDevTrain.txt", "test": "peopleDevTest.txt"}
"""Split -> the list of its people."""

NAMES, SCORES = "lfw-names.txt", "lfw_attributes.txt"

_COPY = "https://github.com/aailab-kaist/DBAE (its README links a copy; the site of UMass is gone)"

LAYOUT = Layout(
    "lfw",
    13_233,
    LFW,
    ("lfw_funneled",),
    (
        Part("lfw_funneled/*_0001.jpg", "funneled images", f"lfw-funneled.tgz, {_COPY}"),
        Part("peopleDevTrain.txt", "people of the training split", _COPY),
        Part("peopleDevTest.txt", "people of the test split", _COPY),
        Part("lfw-names.txt", "all people", _COPY),
        Part(
            "lfw_attributes.txt",
            "73 attribute scores",
            "https://www.cs.columbia.edu/CAVE/databases/pubfig/download/lfw_attributes.txt",
        ),
    ),
)

logger = logging.getLogger(__name__)


def open_lfw(root: str | os.PathLike[str], *, size: int | None = None) -> ImageFiles:
    """LFW in a folder or zip, `groups` being the people.

    Raises:
        UserError: a label file or an image is missing or malformed.
    """
    files = files_at(root)
    members = set(files.names())
    base = _base(files, members)

    def text(name: str) -> tuple[str, str]:
        member = posixpath.join(base, name)
        if member not in members:
            raise UserError(
                f"{files.locate(member)}: expected this label file of LFW, found none. Run: {_check(files)}."
            )
        return files.read(member).decode("utf-8-sig", "replace"), files.locate(member)

    scores, names = parse_scores(*text(SCORES)), parse_people(*text(NAMES), counted=False)
    people = {split: parse_people(*text(file), counted=True) for split, file in PEOPLE.items()}
    parts = {split: join_split(listed, names, scores, text(PEOPLE[split])[1]) for split, listed in people.items()}
    images = [posixpath.join(base, path) for part in parts.values() for path in part.paths]
    _check_there(images, members, files)
    for split, part in parts.items():
        logger.info("lfw %s: %d images; %d without scores are left out", split, len(part.paths), part.skipped)
    annotations = _annotations(
        parts, scores.names, [posixpath.join(base, name) for name in (SCORES, NAMES, *PEOPLE.values())]
    )
    return ImageFiles(
        files,
        size=size,
        transform=LAYOUT.transform,
        images=images,
        annotations=annotations,
        name=LAYOUT.name,
        members=sorted(members),
    )


def _annotations(parts: Mapping[str, Split], names: tuple[str, ...], read: Sequence[str]) -> Annotations:
    ends = np.cumsum([0, *(len(part.paths) for part in parts.values())])
    splits = {split: np.arange(ends[i], ends[i + 1]) for i, split in enumerate(parts)}
    values = np.concatenate([part.values for part in parts.values()])
    return Annotations(
        {"all": np.arange(ends[-1])} | splits,
        Attributes((), np.empty((len(values), 0), np.int8), names, values),
        np.concatenate([part.identities for part in parts.values()]),
        read=tuple(read),
    )


def _base(files: Files, members: set[str]) -> str:
    """Folder of the label files."""
    found = sorted(posixpath.dirname(name) for name in members if posixpath.basename(name) == SCORES)
    if len(found) != 1:
        what = "none" if not found else f"{len(found)}, in {', '.join(found)}"
        raise UserError(f"{files.locate('')}: expected one {SCORES}, found {what}. Run: {_check(files)}.")
    return found[0]


def _check_there(images: Sequence[str], members: set[str], files: Files) -> None:
    missing = [image for image in images if image not in members]
    if missing:
        raise UserError(
            f"{files.locate(missing[0])}: expected this image, found none; {len(missing)} of {len(images)} images of "
            f"the lists are missing. Unpack lfw-funneled.tgz again. Run: {_check(files)}."
        )


def _check(files: Files) -> str:
    return f"python -m dbae.data check lfw:{files.locate('')}"


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of one split that have attributes, in list order.

    Attributes:
        paths: n paths below the data folder.
        identities: int64 (n,), line of the person in `lfw-names.txt`.
        values: float64 (n, 73), raw classifier scores.
        skipped: images of the split without an attribute row, which the protocol leaves out.
    """

    paths: tuple[str, ...]
    identities: np.ndarray
    values: np.ndarray
    skipped: int


def parse_scores(text: str, where: str) -> Table:
    """`lfw_attributes.txt` -> scores, float64 (n, 73); `files` holds "First Last-n", n without leading zeros.

    Raises:
        UserError: no header line, a row of another length or with something else than numbers, or two different
            rows for one image.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    header = lines[1].split("\t") if len(lines) > 1 else []
    if header[:3] != ["#", "person", "imagenum"]:
        raise malformed(where, 2, "'#', 'person', 'imagenum' and attribute names, tab separated", f"'{header[:3]}'")
    names = tuple(header[3:])
    rows: dict[str, list[float]] = {}
    for number, line in enumerate(lines[2:], 3):
        fields = line.split("\t")
        if not line:
            continue
        if len(fields) != len(names) + 2 or not fields[1].isdecimal():
            raise malformed(where, number, f"a person, an image number and {len(names)} scores", f"'{line[:80]}'")
        key, scores = f"{fields[0]}-{int(fields[1])}", finite_numbers(fields, range(2, len(fields)), where, number)
        if rows.setdefault(key, scores) != scores:
            raise malformed(where, number, "one row for an image", f"other scores for {key} than before")
    return Table(tuple(rows), names, np.array(list(rows.values()), np.float64).reshape(len(rows), len(names)))


def parse_people(text: str, where: str, *, counted: bool) -> dict[str, int]:
    """People lists -> number of images of each person, in file order.

    Args:
        text: content of `peopleDevTrain.txt`, `peopleDevTest.txt` (`counted`) or `lfw-names.txt` (not `counted`).
        where: how messages name the file.
        counted: whether the first line is the number of people.

    Raises:
        UserError: the count or a line is not what the format says, or a person is there twice.
    """
    rows = split_rows(text.splitlines(), first=1)
    if counted:
        if not rows or len(rows[0][1]) != 1 or rows[0][1][0] != str(len(rows) - 1):
            found = f"'{' '.join(rows[0][1])}'" if rows else "an empty file"
            raise malformed(where, 1, f"the number of people that follow, {max(len(rows) - 1, 0)}", found)
        rows = rows[1:]
    people: dict[str, int] = {}
    for line, fields in rows:
        if len(fields) != 2 or not fields[1].isdecimal() or fields[0] in people:
            raise malformed(where, line, "a new name and a number of images", f"'{' '.join(fields)[:80]}'")
        people[fields[0]] = int(fields[1])
    return people


def join_split(people: Mapping[str, int], names: Mapping[str, int], attributes: Table, where: str) -> Split:
    """Join a people list with the attribute rows: image n of `A_B_C` has the row "A B C-n".

    Args:
        people: a parsed `peopleDevTrain.txt` or `peopleDevTest.txt`.
        names: the parsed `lfw-names.txt`; its order numbers the identities.
        attributes: the parsed `lfw_attributes.txt`.
        where: how messages name the people list.

    Raises:
        UserError: a person is not in `lfw-names.txt`, or no image has attributes.
    """
    identity, row = {n: i for i, n in enumerate(names)}, {f: i for i, f in enumerate(attributes.files)}
    images = [(name, number) for name, count in people.items() for number in range(1, count + 1)]
    for name in people:
        if name not in identity:
            raise malformed(where, None, "people of lfw-names.txt", f"'{name}'")
    keys = [f"{name.replace('_', ' ')}-{number}" for name, number in images]
    kept = [(name, number, row[key]) for (name, number), key in zip(images, keys, strict=True) if key in row]
    if not kept:
        raise malformed(where, None, "images that have rows in lfw_attributes.txt", f"none among {len(images)}")
    return Split(
        paths=tuple(IMAGE.format(name=name, number=number) for name, number, _ in kept),
        identities=np.array([identity[name] for name, _, _ in kept], np.int64),
        values=attributes.values[[i for _, _, i in kept]],
        skipped=len(images) - len(kept),
    )


KINDS = (Kind("lfw", lambda source: open_lfw(root_of(source), size=source.size), layout=LAYOUT),)
