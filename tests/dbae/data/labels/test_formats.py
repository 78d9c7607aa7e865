"""Label parsers against the reference programs' results, and every way a label file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dbae.data.kinds import lfw
from dbae.data.labels import formats as labels
from dbae.support.errors import UserError

GOLDEN = Path(__file__).parents[3] / "golden" / "downstream"
CELEBA = json.loads((GOLDEN / "celeba_parser.json").read_text())
LFW = json.loads((GOLDEN / "lfw_parser.json").read_text())


@pytest.mark.golden
def test_celeba_attributes_match_the_reference() -> None:
    table = labels.parse_attributes(CELEBA["list_attr_celeba.txt"], "list_attr_celeba.txt")
    assert len(table.names) == CELEBA["n_attributes"]
    assert (table.names[0], table.names[-1]) == ("5_o_Clock_Shadow", "Young")
    assert table.files == tuple(f"{i:06d}.jpg" for i in range(1, 6))
    assert table.values.dtype == np.int8
    with np.load(GOLDEN / "transforms.npz") as golden:
        np.testing.assert_array_equal(table.values[3], golden["celeba64/label_row3"])


@pytest.mark.golden
def test_celeba_splits_match_the_reference() -> None:
    splits = labels.celeba_splits()
    sizes = {"valid" if name == "val" else name: len(indices) for name, indices in splits.items()}
    assert sizes == CELEBA["len"]
    np.testing.assert_array_equal(np.concatenate(list(splits.values())), np.arange(202_599))


@pytest.mark.golden
@pytest.mark.parametrize(("split", "file"), [("train", "peopleDevTrain.txt"), ("test", "peopleDevTest.txt")])
def test_lfw_split_matches_the_reference(split: str, file: str) -> None:
    files = {name.removeprefix("lfw-py/"): text for name, text in LFW["files"].items()}
    attributes = lfw.parse_scores(files["lfw_attributes.txt"], "lfw_attributes.txt")
    names = lfw.parse_people(files["lfw-names.txt"], "lfw-names.txt", counted=False)
    people = lfw.parse_people(files[file], file, counted=True)
    result = lfw.join_split(people, names, attributes, file)
    expected = LFW["expected"][split]
    assert list(attributes.names) == LFW["expected"]["attribute_names"]
    assert list(result.paths) == expected["paths"]
    assert result.identities.tolist() == expected["targets"]
    assert result.values.tolist() == expected["attributes"]
    assert len(result.paths) + result.skipped == sum(people.values())


def test_celeba_hq_attributes_without_alignment_blanks() -> None:
    table = labels.parse_attributes("2\r\nBald Male\r\n0.jpg  -1 1\r\n1.jpg  1 -1\r\n", "anno.txt")
    assert table.files == ("0.jpg", "1.jpg")
    assert table.values.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the number of images"),
        ("file Smiling\na.png 1\n", "line 1: expected the number of images"),
        ("1\nSmiling Smiling\na.png 1 1\n", "line 2: expected distinct"),
        ("1\nSmil\x1bing\na.png 1\n", "line 2: expected distinct"),
        ("2\nSmiling\na.png 1\n", "expected 2 rows, as its first line says, found 1 rows"),
        ("1\nSmiling\na.png 1\nb.png 1\n", "expected 1 rows, as its first line says, found 2 rows"),
        ("1\nSmiling Young\na.png 1\n", "line 3: expected a file name and 2 values, found 2 fields"),
        ("1\nSmiling\na.png 0\n", "line 3: expected values -1 or 1, found '0'"),
    ],
)
def test_attribute_file_errors(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^list_attr.txt(, )?.*{message}"):
        labels.parse_attributes(text, "list_attr.txt")


@pytest.mark.parametrize("row", ["a.png 3", "a.png", "a.png 0 0", "a.png train"])
def test_partition_errors_name_the_line(row: str) -> None:
    with pytest.raises(UserError, match="line 2: expected a file name and 0, 1 or 2"):
        labels.parse_partition(f"b.png 0\n{row}\n", "list_eval_partition.txt")


def test_identities() -> None:
    rows = labels.parse_identities("000001.jpg 2880\n000002.jpg 7\n", "identity_CelebA.txt")
    assert (rows.files, rows.numbers.tolist()) == (("000001.jpg", "000002.jpg"), [2880, 7])
    with pytest.raises(UserError, match=r"line 1: expected a file name and the number of a person, found 'a\.jpg -1'"):
        labels.parse_identities("a.jpg -1\n", "identity_CelebA.txt")


def test_dataset_json_forms() -> None:
    assert labels.parse_dataset_json('{"labels": null}', "j") is None
    classes = labels.parse_dataset_json('{"labels": [["a.png", 2], ["b.png", 0]]}', "j")
    assert classes is not None
    assert classes.names == ("class_0", "class_1", "class_2")
    assert classes.values.tolist() == [[0, 0, 1], [1, 0, 0]]
    binary = labels.parse_dataset_json('{"labels": [["a.png", [0, 1]], ["b.png", [1, 1]]]}', "j")
    assert binary is not None
    assert (binary.names, binary.values.dtype) == (("label_0", "label_1"), np.int8)
    real = labels.parse_dataset_json('{"labels": [["a.png", [0.5]], ["b.png", [1]]]}', "j")
    assert real is not None
    assert real.values.tolist() == [[0.5], [1.0]]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 200_000,
        '{"labels": ' + "[" * 900 + "]" * 900 + "}",
        "[]",
        '{"images": []}',
        '{"labels": 3}',
        '{"labels": [["a.png"]]}',
        '{"labels": [["a.png", "cat"]]}',
        '{"labels": [["a.png", 10000]]}',
        '{"labels": [["a.png", -1]]}',
        '{"labels": [["a.png", [NaN]]]}',
        '{"labels": [["a.png", [1]], ["b.png", [1, 0]]]}',
        '{"labels": [["a.png", 1], ["b.png", [1]]]}',
    ],
)
def test_dataset_json_errors(text: str) -> None:
    with pytest.raises(UserError, match=r"^dataset\.json: expected"):
        labels.parse_dataset_json(text, "dataset.json")


HEADER = "#\tlfw attributes\n#\tperson\timagenum\tMale\tAsian\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A B\t1\t0.5\n", "line 3: expected a person, an image number and 2 scores"),
        ("A B\tone\t0.5\t1\n", "line 3: expected a person, an image number"),
        ("A B\t1\t0.5\tx\n", "line 3: expected numbers"),
        ("A B\t1\t0.5\t1\nA B\t1\t0.5\t2\n", "line 4: expected one row for an image"),
    ],
)
def test_lfw_attribute_errors(rows: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lfw.parse_scores(HEADER + rows, "lfw_attributes.txt")


def test_lfw_header_and_people_errors() -> None:
    with pytest.raises(UserError, match="line 2: expected '#', 'person', 'imagenum'"):
        lfw.parse_scores("# c\nperson\timagenum\n", "lfw_attributes.txt")
    with pytest.raises(UserError, match="line 1: expected the number of people that follow, 1, found '2'"):
        lfw.parse_people("2\nA_B\t1\n", "peopleDevTrain.txt", counted=True)
    with pytest.raises(UserError, match="line 2: expected a new name"):
        lfw.parse_people("A_B\t1\nA_B\t1\n", "lfw-names.txt", counted=False)
    table = lfw.parse_scores(HEADER + "A B\t1\t0\t0\n", "lfw_attributes.txt")
    with pytest.raises(UserError, match=r"expected people of lfw-names\.txt, found 'C_D'"):
        lfw.join_split({"C_D": 1}, {"A_B": 1}, table, "peopleDevTest.txt")
    with pytest.raises(UserError, match="found none among 2"):
        lfw.join_split({"C_D": 2}, {"C_D": 2}, table, "peopleDevTest.txt")
