"""Labels as CSV: what users write, what pandas writes, and what Kaggle hands out.

    file,split,smiling,age,hair            a header; one column names the image: `file`, `filename`, `file_name`,
    a.png,train,1,31.5,brown               `image` or `image_id`
    b.png,test,0,27,black                  `split`: train, val, test, or 0, 1, 2

Every other column is a label, and its values say of which kind (`kind_of`): 0/1, true/false or -1/1 are a binary
attribute, other numbers a real-valued target, words classes, each of which becomes a binary attribute `hair=brown`; of
two classes the second alone, in alphabetical order, since the other says the same. In `attributes_continuous.csv` every
label is a real-valued target. No label is called `mean`, which is what results call the mean over all of them.

What is no target is said by the file: in a line `# not targets: id, age` before the header, or by a column NAME beside
a column NAME_z that is its z-score, which is the same quantity in its own units. No name alone leaves a column out.

How the file is read: `dbae.data.labels.rows`.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from dbae.data.base import require_names
from dbae.data.labels.formats import PARTITIONS, Numbered, Table, malformed
from dbae.data.labels.rows import NOT_TARGETS, Rows, read_rows

SPLIT_COLUMNS = ("split", "partition")

MAX_CLASSES = 1000
"""Classes of one column; one with more is a name or a number of an image."""

LONGEST = 100
"""Characters of the name of a class."""

_SPLITS = {word: i for i, name in enumerate(PARTITIONS) for word in (name, str(i))}
_WORDS = {"false": 0, "true": 1}
_MISSING = ("na", "n/a", "<na>", "nan", "null")


@dataclasses.dataclass(frozen=True)
class CsvLabels:
    """What a CSV says.

    Attributes:
        binary: int8 (n, k) of 0/1; real: float64 (n, m).
        splits: 0, 1, 2 of every row (train, val, test), or None without such a column.
        notes: which columns are no targets, and why.
    """

    binary: Table
    real: Table
    splits: Numbered | None
    notes: tuple[str, ...] = ()


def parse_csv(text: str, where: str, *, all_real: bool = False) -> CsvLabels:
    """A CSV of labels -> attributes, targets and splits.

    Args:
        text: content of the file.
        where: how messages name it.
        all_real: every label is a real-valued target, as in `attributes_continuous.csv`; otherwise its values decide.

    Raises:
        UserError: columns without a name, with two lines or twice; no column that names the image; a row of another
            length; an empty cell; a number that is not finite; more than `MAX_CLASSES` classes; two columns of splits
            (names the line).
    """
    named, rows = read_rows(text, where)
    splits = _split_column(rows, where)
    labels = {name: column for name, column in rows.columns.items() if name != splits}
    chosen, notes = _targets(labels, named, where)
    require_names(chosen, f"{where}, line {rows.first - 1}")
    binary: dict[str, np.ndarray] = {}
    real: dict[str, np.ndarray] = {}
    for name in chosen:
        if all_real:
            real[name] = _numbers(labels[name], name, where, rows.first)
            continue
        column = _numbers_or_words(labels[name], name, where, rows.first)
        kind = kind_of(column)
        if kind == "real":
            real[name] = _numbers(column, name, where, rows.first)
        elif kind == "binary":
            binary[name] = _zeros_and_ones(column)
        else:
            binary |= _classes(column, name, where, rows.first)
    return CsvLabels(
        _table(rows.files, binary, np.int8),
        _table(rows.files, real, np.float64),
        None if splits is None else Numbered(rows.files, _split_numbers(rows, splits, where)),
        notes,
    )


def _split_column(rows: Rows, where: str) -> str | None:
    found = [name for name in rows.columns if name.lower() in SPLIT_COLUMNS]
    if len(found) > 1:
        raise malformed(where, rows.first - 1, "one column of splits", f"'{found[0]}' and '{found[1]}'")
    return found[0] if found else None


def parse_csv_partition(text: str, where: str) -> Numbered:
    """`list_eval_partition.csv` -> split numbers. Raises UserError like `parse_csv`, and without such a column."""
    splits = parse_csv(text, where).splits
    if splits is None:
        raise malformed(where, 1, f"a column {' or '.join(SPLIT_COLUMNS)}", "none")
    return splits


def kind_of(column: np.ndarray) -> str:
    """Binary (0/1, -1/1, true/false), real (other numbers), or classes (anything else)."""
    if column.dtype == bool:
        return "binary"
    if column.dtype.kind in "iuf":
        return "binary" if np.isin(column, (0, 1)).all() or np.isin(column, (-1, 1)).all() else "real"
    return "binary" if all(str(value).lower() in _WORDS for value in set(column.tolist())) else "classes"


def _targets(
    labels: dict[str, np.ndarray], named: frozenset[str] | None, where: str
) -> tuple[list[str], tuple[str, ...]]:
    """The columns that are targets, and what is to be said about the others."""
    if named is not None:
        out = [name for name in labels if name in named]
        notes = [f"{where}: '{name}' is no target, as its line '{NOT_TARGETS}' says" for name in out]
    else:
        out = [name for name in labels if _has_z_score(name, labels)]
        notes = [f"{where}: '{name}' is no target of its own: '{name}_z' is the same as a z-score" for name in out]
    return [name for name in labels if name not in set(out)], tuple(notes)


def _has_z_score(name: str, labels: dict[str, np.ndarray]) -> bool:
    """Whether a column NAME_z is an affine function of NAME, but for rounding."""
    raw, z = labels[name], labels.get(f"{name}_z")
    if z is None or not {raw.dtype.kind, z.dtype.kind} <= set("iuf") or len(raw) < 2:
        return False
    x, y = raw.astype(np.float64) - raw.mean(), z.astype(np.float64) - z.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return scale > 0 and float(x @ y) / scale > 0.999


def _numbers(column: np.ndarray, name: str, where: str, first: int) -> np.ndarray:
    if column.dtype.kind not in "iufb":
        line, value = _first_word(column, first)
        raise malformed(where, line, f"numbers in column '{name}'", f"'{value}'")
    if not np.isfinite(column).all():
        line = first + int(np.flatnonzero(~np.isfinite(column))[0])
        raise malformed(where, line, f"finite numbers in column '{name}'", f"{column[line - first]}")
    return column.astype(np.float64)


def _numbers_or_words(column: np.ndarray, name: str, where: str, first: int) -> np.ndarray:
    """A column that is all numbers or all words. Raises UserError for one that is both, as with a stray 'n/a'."""
    if column.dtype.kind in "iufb":
        return column
    words = set(column.tolist())
    numbers = sum(map(is_number, words))
    if 0 < numbers < len(words):
        line, word = _first_word(column, first)
        raise malformed(where, line, f"numbers alone, or words alone, in column '{name}'", f"'{word}' among numbers")
    return column.astype(np.float64) if numbers else column


def _first_word(column: np.ndarray, first: int) -> tuple[int, str]:
    """Line and value of the first cell that is no number (lines are counted without blank ones)."""
    values = column.tolist()
    i = next((i for i, value in enumerate(values) if not is_number(value)), 0)
    return first + i, str(values[i])[:80]


def is_number(value: object) -> bool:
    """Whether a cell is a number, 1_000 being none."""
    try:
        return isinstance(float(str(value)), float) and "_" not in str(value)
    except ValueError:
        return False


def _zeros_and_ones(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind in "biuf":
        return (column > 0).astype(np.int8)
    return np.array([_WORDS[str(value).lower()] for value in column.tolist()], np.int8)


def _classes(column: np.ndarray, name: str, where: str, first: int) -> dict[str, np.ndarray]:
    """One 0/1 column a class, by name."""
    words = [str(value) for value in column.tolist()]
    counts = collections.Counter(words)
    odd = next((word for word in counts if not word.isprintable() or len(word) > LONGEST), None)
    if odd is not None:
        expected = f"words of at most {LONGEST} printable characters in column '{name}'"
        raise malformed(where, first + words.index(odd), expected, f"{odd[:40]!r}")
    if len(counts) > MAX_CLASSES or len(counts) == len(words) > 10:
        raise malformed(
            where,
            first,
            f"numbers, 0/1, true/false, -1/1 or at most {MAX_CLASSES} classes in column '{name}'",
            f"{len(counts):,} different words, such as '{words[0][:40]}' (if it is no target, write the line "
            f"'{NOT_TARGETS} {name}' before the header)",
        )
    missing = next((word for word in counts if word.lower() in _MISSING), None)
    if missing is not None:
        expected = f"a word in every row of column '{name}'"
        raise malformed(where, first + words.index(missing), expected, f"'{missing}', a missing value")
    array, classes = np.array(words, object), sorted(counts)
    return {f"{name}={word}": (array == word).astype(np.int8) for word in classes[len(classes) == 2 :]}


def _split_numbers(rows: Rows, name: str, where: str) -> np.ndarray:
    column = rows.columns[name]
    words = [f"{value:g}" if column.dtype.kind in "iuf" else str(value).lower() for value in column.tolist()]
    wrong = next((i for i, word in enumerate(words) if word not in _SPLITS), None)
    if wrong is not None:
        expected = f"0, 1 or 2 (train, val, test) in column '{name}'"
        raise malformed(where, rows.first + wrong, expected, f"'{words[wrong][:80]}'")
    return np.array([_SPLITS[word] for word in words], np.int64)


def _table(files: tuple[str, ...], columns: dict[str, np.ndarray], dtype: type) -> Table:
    values = np.stack(list(columns.values()), axis=1) if columns else np.empty((len(files), 0))
    return Table(files, tuple(columns), values.astype(dtype))
