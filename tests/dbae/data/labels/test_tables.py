"""Labels as CSV: the README's example, what Kaggle and pandas write, and every way a CSV can be wrong."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from image_samples import picture, png, write_folder

from dbae.data import Attributes, open_data
from dbae.data.labels import rows as rows_module
from dbae.data.labels import tables
from dbae.data.labels.formats import parse_attributes
from dbae.data.labels.tables import parse_csv, parse_csv_partition
from dbae.data.labels.write import label_files
from dbae.support.errors import UserError

README = Path(__file__).parents[4] / "README.md"


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", README.read_text(), re.DOTALL)
    files = [line.split(",")[0] for line in text.splitlines()[2:]]
    root = write_folder(tmp_path / "photos", {f: png(picture(i)) for i, f in enumerate(files)})
    (root / "labels.csv").write_text(text)
    data = open_data(f"folder:{root}")
    labels = data.attributes
    assert labels is not None
    assert labels.binary_names == ("smiling", "glasses", "hair=brown")
    assert labels.binary.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1]]
    assert labels.continuous_names == ("age",)
    assert labels.continuous.tolist() == [[31.5], [27], [64]]
    assert {name: indices.tolist() for name, indices in data.splits.items()} == {
        "all": [0, 1, 2],
        "train": [0],
        "val": [2],
        "test": [1],
    }
    assert len(data.notes) == 1
    assert "'photo_id' is no target" in data.notes[0]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["0", "1", "1"], "binary", [0, 1, 1]),
        (["-1", "1", "-1"], "binary", [0, 1, 0]),
        (["1.0", "0.0", "0.0"], "binary", [1, 0, 0]),
        (["1", "1", "1"], "binary", [1, 1, 1]),
        (["-1", "-1", "-1"], "binary", [0, 0, 0]),
        (["True", "False", "True"], "binary", [1, 0, 1]),
        (["true", "FALSE", "tRue"], "binary", [1, 0, 1]),
        (["-1", "0", "1"], "real", [-1, 0, 1]),
        (["0", "1", "2"], "real", [0, 1, 2]),
        (["0.1", "1e-3", "12345678.123456789"], "real", [0.1, 1e-3, 12345678.123456789]),
    ],
)
@pytest.mark.parametrize("reader", ["pandas", "line by line"])
def test_what_a_column_is(
    monkeypatch: pytest.MonkeyPatch, values: list[str], kind: str, expected: list[float], reader: str
) -> None:
    if reader != "pandas":
        monkeypatch.setattr(rows_module, "_by_pandas", lambda *_: None)
    text = "file,x\n" + "".join(f"{i}.png,{value}\n" for i, value in enumerate(values))
    parsed = parse_csv(text, "labels.csv")
    found = parsed.binary if kind == "binary" else parsed.real
    assert found.names == ("x",)
    assert found.values[:, 0].tolist() == expected
    assert (parsed.real if kind == "binary" else parsed.binary).names == ()
    if values[0].lower() not in ("true", "false"):
        real = parse_csv(text, "attributes_continuous.csv", all_real=True)
        assert real.real.values[:, 0].tolist() == [float(value) for value in values]


def test_both_readers_agree_on_a_large_file() -> None:
    rng = np.random.default_rng(0)
    header = ["file", "split", "a", "b", "c", "d"]
    rows = [
        [f"{i}.png", "train", i % 2, repr(rng.normal()), f"{rng.normal():.3g}", rng.choice(["x y", "z"])]
        for i in range(500)
    ]
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    quick = parse_csv(text.getvalue(), "labels.csv")
    columns = rows_module._by_pandas(text.getvalue(), header, "file")
    slow = rows_module._one_by_one(text.getvalue(), header, "file", "labels.csv", 0)
    assert columns is not None
    for name in header:
        assert columns[name].tolist() == slow[name].tolist()
    assert quick.real.values[:, 0].tolist() == [float(row[3]) for row in rows]


def test_a_users_own_age_is_measured() -> None:
    parsed = parse_csv("file,age,split\na.png,31,0\nb.png,27,2\n", "attributes_continuous.csv", all_real=True)
    assert parsed.real.names == ("age",)
    assert parsed.splits is not None
    assert parsed.splits.numbers.tolist() == [0, 2]
    assert parsed.notes == ()


def test_a_column_beside_its_z_score_is_no_second_target() -> None:
    head = "file,split,age,age_z,male\n"
    parsed = parse_csv(
        head + "a.png,2,31,-0.2501,-1\nb.png,2,37,0.0499,-1\nc.png,0,30,-0.3001,1\n", "c.csv", all_real=True
    )
    assert parsed.real.names == ("age_z", "male")
    assert parsed.notes == ("c.csv: 'age' is no target of its own: 'age_z' is the same as a z-score",)
    other = parse_csv(head + "a.png,2,31,5,-1\nb.png,2,37,3,-1\nc.png,0,30,5,1\n", "c.csv", all_real=True)
    assert other.real.names == ("age", "age_z", "male")  # a name alone proves nothing


def test_the_file_says_what_is_no_target() -> None:
    rows = "file,age,age_z,id\na.png,1,-1,7\nb.png,2,0,8\nc.png,3,1,9\n"
    parsed = parse_csv("# made by hand\n# not targets: id\n" + rows, "c.csv", all_real=True)
    assert parsed.real.names == ("age", "age_z")
    assert parsed.notes == ("c.csv: 'id' is no target, as its line '# not targets:' says",)
    assert parse_csv("# not targets:\n" + rows, "c.csv", all_real=True).real.names == ("age", "age_z", "id")
    with pytest.raises(UserError, match=r"names of columns after 'not targets:', found 'ids'"):
        parse_csv("# not targets: ids\n" + rows, "c.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: expected a header of distinct column names, one of them 'file'"),
        ("file,x\n", "line 2: expected a row for every image, found none"),
        ("name,x\na.png,1\n", "found 'name,x', none of which names the image. Call that column 'file'"),
        ("file;x\na.png;1,5\n", "line 1: .* found one column, with semicolons in its name. Put commas between"),
        ("file\tx\na.png\t1\n", "line 1: .* found one column, with tabs in its name. Put commas between"),
        ("File,x\na.png,1\n", "found one called file in other letters"),
        ("file,x,x\na.png,1,1\n", r"line 1: .* found 'x' twice\. Remove or rename"),
        (
            ",file,x\n0,a.png,1\n",
            r"found a column without a name \(number 1\)\. Remove it.* to_csv\(\.\.\., index=False\)",
        ),
        ("file,x,\na.png,1,\n", r"found a column without a name \(number 3\)"),
        ("Unnamed: 0,file,x\n0,a.png,1\n", r"found a column without a name \(number 1\)"),
        ('file,"two\nlines"\na.png,1\n', r"found a line break or another control character in column 2, 'two\\nlines'"),
        ("file,a\x1b[1m\na.png,1\n", "a line break or another control character in column 2"),
        ("file,x,y\na.png,1\n", "line 2: expected 3 fields, as in the header, found 2"),
        ("file,x\na.png,1\nb.png,1,2\n", "line 3: expected 2 fields, as in the header, found 3"),
        ("file,x\na.png,1,2\nb.png,1,2\n", "line 2: expected 2 fields, as in the header, found 3"),
        ("file,x\na.png," + "1" * 200_000, "expected (comma separated values|finite|words of at most 100)"),
        ('file,x\na.png,"w\x07"\n', "line 2: expected words of at most 100 printable characters in column 'x'"),
        (
            "file,x\na.png,1\nb.png,n/a\n",
            "line 3: expected numbers alone, or words .* found 'n/a' among",
        ),
        ("file,x\na.png,1\nb.png,true\n", "line 3: expected numbers alone, or words alone"),
        ("file,x\na.png,1.5\nb.png,nan\n", "line 3: expected finite numbers in column 'x'"),
        (
            "# by us\nfile,x\na.png,1\nb.png,\n",
            "line 4: expected a value in every column, found an empty one in column 'x'",
        ),
        ("file,x\na.png,nan\n", "line 2: expected finite numbers in column 'x', found nan"),
        ("file,x\na.png,1\nb.png,inf\n", "line 3: expected finite numbers"),
        ("file,split,x\na.png,5,1\n", "line 2: expected 0, 1 or 2"),
        (
            "file,split,x\na.png,train,1\nb.png,dev,1\n",
            r"line 3: expected 0, 1 or 2 \(train, val, test\) .* found 'dev'",
        ),
        (
            "file,word\n" + "".join(f"{i}.png,w{i}\n" for i in range(20)),
            "20 different words, such as 'w0' .*not targets: word",
        ),
    ],
)
def test_errors_name_the_line_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^labels.csv.*{message}"):
        parse_csv(text, "labels.csv")


@pytest.mark.parametrize("value", ["", "many", "1_000", "1,5", "true", "0x1"])
def test_targets_are_numbers(value: str) -> None:
    with pytest.raises(UserError, match=r"^c\.csv, line 3: expected (numbers|a value|2 fields)"):
        parse_csv(f"file,x\na.png,1\nb.png,{value}\n", "c.csv", all_real=True)


def test_kaggles_lists(tmp_path: Path) -> None:
    names = [f"{i + 1:06d}.jpg" for i in range(4)]
    folder = "img_align_celeba/img_align_celeba"
    root = write_folder(tmp_path / "kaggle", {f"{folder}/{n}": png(picture(i, 178, 218)) for i, n in enumerate(names)})
    (root / "list_attr_celeba.csv").write_text(
        "image_id,5_o_Clock_Shadow,Male\n" + "".join(f"{n},{-1 + 2 * (i % 2)},-1\n" for i, n in enumerate(names))
    )
    (root / "list_eval_partition.csv").write_text(
        "image_id,partition\n" + "".join(f"{n},{max(0, i - 1)}\n" for i, n in enumerate(names))
    )
    for kind in ("celeba", "folder"):
        data = open_data(f"{kind}:{root}", size=8)
        assert data.attributes is not None
        assert data.attributes.binary_names == ("5_o_Clock_Shadow", "Male")
        assert data.attributes.binary.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0]]
        assert {name: indices.tolist() for name, indices in data.splits.items()} == {
            "all": [0, 1, 2, 3],
            "train": [0, 1],
            "val": [2],
            "test": [3],
        }
        assert data.unused == ()
    (root / "list_eval_partition.txt").write_text("".join(f"{n} 0\n" for n in names))
    data = open_data(f"celeba:{root}", size=8)
    assert list(data.splits) == ["all", "train"]
    assert data.unused == ("1 label files that are not read (first: list_eval_partition.csv)",)
    with pytest.raises(UserError, match="expected a column split or partition, found none"):
        parse_csv_partition("image_id,x\na,0\n", "list_eval_partition.csv")


def test_no_two_files_name_an_attribute_alike(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", {"a.png": png(picture(0))})
    (root / "list_attr.txt").write_text("1\nBald\na.png 1\n")
    (root / "labels.csv").write_text("file,Bald\na.png,1\n")
    with pytest.raises(UserError, match="expected every attribute in one label file, found two called 'Bald'"):
        open_data(f"folder:{root}")


def test_classes_and_z_scores_survive_writing(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", {f"{i}.png": png(picture(i)) for i in range(3)})
    (root / "labels.csv").write_text(
        "# not targets:\nfile,hair,height,height_z\n0.png,dark brown,1,-1\n1.png,grey,2,0\n2.png,grey,3,1\n"
    )
    data = open_data(f"folder:{root}")
    copy = write_folder(tmp_path / "b", {f"{i}.png": png(picture(i)) for i in range(3)})
    for name, content in label_files(data, ["0.png", "1.png", "2.png"]).items():
        (copy / name).write_bytes(content)
    again = open_data(f"folder:{copy}")
    assert again.fingerprint == data.fingerprint
    assert again.attributes is not None
    assert again.attributes.binary_names == ("hair=grey",)
    assert again.attributes.continuous_names == ("height", "height_z")


def test_long_attribute_lists_are_read_by_pandas_to_the_same_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = [f"A{k}" for k in range(7)]
    rows = [f"{i:06d}.jpg  " + "  ".join(f"{2 * v - 1:2d}" for v in rng.integers(0, 2, 7)) for i in range(1200)]
    text = "\n".join([str(len(rows)), " ".join(names), *rows, ""])
    quick = parse_attributes(text, "list_attr.txt")
    asked: list[object] = []

    def refuses(*given: object, **_: object) -> None:
        asked.append(given)
        raise ValueError

    monkeypatch.setattr(pandas, "read_csv", refuses)
    slow = parse_attributes(text, "list_attr.txt")
    assert (quick.files, quick.names, quick.values.dtype) == (slow.files, slow.names, slow.values.dtype)
    np.testing.assert_array_equal(quick.values, slow.values)
    assert len(asked) == 1  # so that the second reading was the other one


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n000700.jpg 1 1", "\n000700.jpg 1", "line 703: expected a file name and 2 values, found 2 fields"),
        ("\n000700.jpg 1 1", "\n000700.jpg 1 1 1", "line 703: expected a file name and 2 values, found 4 fields"),
        ("\n000700.jpg 1 1", "\n000700.jpg 1 0", "line 703: expected values -1 or 1, found '0'"),
        ("\n000700.jpg 1 1", "", "expected 1000 rows, as its first line says, found 999"),
    ],
)
def test_a_long_list_that_is_wrong_is_told_line_by_line(old: str, new: str, message: str) -> None:
    text = "1000\nA B\n" + "".join(f"{i:06d}.jpg 1 1\n" for i in range(1000))
    with pytest.raises(UserError, match=message):
        parse_attributes(text.replace(old, new), "list_attr.txt")


def labels(text: str):
    return tables.parse_csv(text, "labels.csv")


def test_of_two_words_one_is_an_attribute():
    """The other says the same again: each would be redundant to TAD, and count twice in a mean."""
    found = labels("file,top\na,no\nb,yes\nc,no\n").binary
    assert found.names == ("top=yes",)
    assert found.values[:, 0].tolist() == [0, 1, 0]
    assert labels("file,top\na,no\nb,yes\nc,so so\n").binary.names == ("top=no", "top=so so", "top=yes")
    assert labels("file,top\na,no\nb,no\n").binary.names == ("top=no",)


def test_a_column_of_splits_is_one_in_any_letters():
    found = labels("file,Split,top\na,train,1\nb,test,0\n")
    assert found.splits is not None
    assert found.splits.numbers.tolist() == [0, 2]
    assert found.binary.names == ("top",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split,partition\na,train,0\n", "line 1: expected one column of splits, found 'split' and 'partition'"),
        ("file,mean,std\na,1,0\nb,0,1\n", "line 1: expected other names than 'mean'"),
        ("# not targets:\nfile,top\na,red\nb,NA\nc,blue\n", "line 4: expected a word .*, found 'NA', a missing value"),
    ],
)
def test_labels_that_would_be_taken_for_others_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        labels(text)


def test_no_label_has_the_name_of_their_mean():
    with pytest.raises(UserError, match="line 2: expected other names than 'mean'"):
        parse_attributes("1\nmean Young\na.png 1 -1\n", "list_attr.txt")
    with pytest.raises(UserError, match="labels: expected other names than 'mean'"):
        Attributes(("mean",), np.zeros((2, 1), np.int8), (), np.empty((2, 0)))
