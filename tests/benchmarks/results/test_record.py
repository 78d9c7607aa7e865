from __future__ import annotations

import dataclasses
import math
import multiprocessing
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_rows import row

from benchmarks.results import COLUMNS, LATER, Record, RecordFile
from benchmarks.results.table import table
from dbae.support.errors import UserError

COLUMN_LINE = (
    "task, protocol, task_version, model, method, variant, train_data, dataset, split, attribute, metric, value, "
    "stderr, better, n, nfe_requested, nfe, sampler, grid, churn, eta, boot_noise, end_data, x_T, encode_nfe, "
    "latent_dim, z, seed, precision, weights, checkpoint_sha256, data_sha256, versions, revision, seconds, peak_mib"
)


def test_columns_are_the_published_ones():
    assert ", ".join(COLUMNS) == COLUMN_LINE
    assert len(COLUMNS) == 36
    assert [field.name for field in dataclasses.fields(Record)] == [*COLUMNS, "n_train"] == [*COLUMNS, *LATER]


def test_a_number_of_labels_is_a_last_column_of_files_that_have_one(tmp_path):
    """Files without such rows keep their bytes, older rows their identity."""
    file = RecordFile(tmp_path / "r.csv")
    plain, few = row(), row(n_train=100, value=0.25)
    file.add([plain])
    before = file.path.read_text()
    assert before.splitlines()[0].split(",") == [*COLUMNS]
    assert list(table([plain]).columns) == [*COLUMNS]
    assert "n_train" not in plain.identity_cells
    file.add([few])
    header, *rows = file.path.read_text().splitlines()
    assert header.split(",") == [*COLUMNS, "n_train"]
    assert rows == [before.splitlines()[1] + ",", *rows[1:]]
    assert rows[1].endswith(",100")
    assert RecordFile(file.path).read() == [plain, few]
    assert list(table([plain, few]).n_train)[1] == 100
    asked = {name: getattr(plain, name) for name in (*plain.identity_cells,) if name != "better"}
    assert file.find(asked, ["AP"]) == [plain]
    assert file.find(asked | {"n_train": 100}, ["AP"]) == [few]
    assert file.find(asked | {"n_train": 500}, ["AP"]) is None


def test_rows_of_some_labels_or_times_are_partial():
    assert not row(z="mean").partial
    assert row(n_train=100).partial
    assert row(z="mean at best t").partial
    assert row(z="mean at t=100 300").at == "t=100 300"


@given(
    value=st.floats(),
    stderr=st.none() | st.floats(allow_nan=False),
    churn=st.none() | st.floats(allow_nan=False),
    boot_noise=st.none() | st.booleans(),
    latent_dim=st.none() | st.integers(),
    variant=st.text(st.characters(codec="utf-8", exclude_characters="\r\n")),
)
def test_every_record_reads_back(tmp_path_factory, **changes):
    file = RecordFile(tmp_path_factory.mktemp("records") / "r.csv")
    written = row(**changes)
    file.add([written])
    (found,) = file.read()
    assert repr(found) == repr(written)  # repr, so that NaN equals NaN


def test_bytes_do_not_depend_on_the_order_of_arrival(tmp_path):
    records = [row(seed=str(s), model=m, eta=e) for s in (10, 2, 1) for m in "ab" for e in (None, 0.5, 0.0)]
    one, two = RecordFile(tmp_path / "one.csv"), RecordFile(tmp_path / "two.csv")
    one.add(records)
    random.Random(0).shuffle(records)
    for r in records:
        two.add([r])
    assert one.path.read_bytes() == two.path.read_bytes()
    seeds = [r.seed for r in one.read() if r.model == "a" and r.eta is None]
    assert seeds == ["1", "2", "10"]


def test_a_record_replaces_the_row_with_its_identity(tmp_path):
    file = RecordFile(tmp_path / "r.csv")
    file.add([row(), row(seed="1")])
    file.add([row(value=0.75, stderr=0.1, versions="v", revision="r", seconds=1.5, peak_mib=3)])
    assert [(r.seed, r.value, r.peak_mib) for r in file.read()] == [("", 0.75, 3), ("1", 0.5, None)]
    for name, other in {"n": 21, "better": "lower", "precision": "bf16", "z": "mean"}.items():
        assert dataclasses.replace(row(), **{name: other}).identity != row().identity


def test_nothing_but_the_csv_is_left(tmp_path):
    RecordFile(tmp_path / "new" / "r.csv").add([row()])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.csv"]


def _append(path: Path, writer: int, count: int) -> None:
    for i in range(count):
        RecordFile(path).add([row(model=f"writer{writer}", seed=str(i), value=float(i))])


def test_two_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    path, count = tmp_path / "r.csv", 40
    writers = [context.Process(target=_append, args=(path, writer, count)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = RecordFile(path).read()
    assert len({r.identity for r in found}) == len(found) == 2 * count
    assert all(r.value == float(r.seed) for r in found)
    assert [p.name for p in tmp_path.iterdir()] == ["r.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"name,age\nx,3\n", "name, age"),
        (b"\xff\xfe\x00", "cannot be read"),
        (",".join(COLUMNS).encode() + b"\na,b\n", "line 2"),
        (",".join((*COLUMNS, "mine")).encode() + b"\n", "37 columns"),
    ],
)
def test_a_foreign_file_is_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        RecordFile(path).add([row()])
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_bad_cell_names_its_line(tmp_path):
    file = RecordFile(tmp_path / "r.csv")
    file.add([row(), row(seed="1")])
    file.path.write_text(file.path.read_text().replace("higher,20", "higher,many", 1))
    with pytest.raises(UserError, match=r"r\.csv, line 2"):
        file.read()


def test_two_values_of_one_number_are_refused(tmp_path):
    file = RecordFile(tmp_path / "r.csv")
    file.add([row(), row(seed="1", value=math.nan)])
    lines = file.path.read_text().splitlines(keepends=True)
    file.path.write_text("".join(lines + lines[1:]))  # the same twice is no harm
    assert len(file.read()) == 2
    file.path.write_text("".join([*lines, lines[1].replace("0.5,", "0.75,")]))
    with pytest.raises(UserError, match=r"r\.csv, line 4: expected one value of AP .* 0\.75 here and 0\.5 above"):
        file.read()


def test_a_spreadsheets_mark_of_utf_8_is_no_harm(tmp_path):
    file = RecordFile(tmp_path / "r.csv")
    file.add([row()])
    file.path.write_bytes(b"\xef\xbb\xbf" + file.path.read_bytes())
    assert file.read() == [row()]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        RecordFile(tmp_path / "file" / "r.csv").add([row()])


@pytest.mark.parametrize(
    "changes",
    [
        {"better": "more"},
        {"weights": "good"},
        {"n": 0},
        {"metric": ""},
        {"variant": "two\nlines"},
        {"eta": float("nan")},
    ],
)
def test_impossible_records_are_refused(changes):
    with pytest.raises((ValueError, TypeError), match=next(iter(changes))):  # TypeError: by annotation, in this suite
        row(**changes)


def test_what_is_measured_is_found_by_the_cells_that_are_known_beforehand(tmp_path):
    file = RecordFile(tmp_path / "r.csv")
    rows = [row(metric=m, attribute=a, nfe=9, seed="0") for m in ("AP", "r") for a in ("mean", "Red")]
    file.add(rows)
    asked = {name: getattr(rows[0], name) for name in ("task", "protocol", "task_version", "model", "dataset", "split")}
    asked |= {"n": 20, "weights": "trained", "data_sha256": "00", "seed": "0"}
    assert file.find(asked, ["r", "AP"], ["mean", "Red"]) == [rows[2], rows[3], rows[0], rows[1]]
    assert file.find(asked, ["AP"]) == [rows[0]]
    assert file.find(asked, ["AP", "MSE"]) is None  # all or nothing
    assert file.find(asked | {"seed": "1"}, ["AP"]) is None
    assert file.find(asked | {"nfe": 8}, ["AP"]) is None  # counted evaluations matter where they are named
    assert file.find(asked | {"eta": 0.5}, ["AP"]) is None
    del asked["seed"]
    assert file.find(asked, ["AP"]) is None  # a column that is not named has its default


def test_rows_of_another_writer_are_found(tmp_path):
    one, two = RecordFile(tmp_path / "r.csv"), RecordFile(tmp_path / "r.csv")
    one.add([row()])
    two.add([row(seed="1")])
    assert [r.seed for r in one.read()] == ["", "1"]
    one.add([row(seed="2")])
    assert [r.seed for r in two.read()] == ["", "1", "2"]


def test_rows_added_one_by_one_give_the_bytes_of_rows_added_at_once(tmp_path):
    rows = [row(seed=str(i), value=i / 7, n_train=100 if i % 9 == 0 else None) for i in range(60)]
    RecordFile(tmp_path / "whole.csv").add(rows)
    file = RecordFile(tmp_path / "r.csv")
    shuffled = random.Random(0).sample(rows, 60)
    for one in [*shuffled, dataclasses.replace(rows[5], value=9.0), rows[5]]:
        file.add([one])
    assert file.path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_file_that_was_put_together_by_hand_is_sorted(tmp_path):
    rows = [row(seed=str(i)) for i in range(30)]
    file = RecordFile(tmp_path / "r.csv")
    file.add(rows)
    whole = file.path.read_bytes()
    head, *lines = whole.decode().splitlines(keepends=True)
    file.path.write_text("".join([head, *reversed(lines[1:])]))
    RecordFile(file.path).add(rows[:1])
    assert file.path.read_bytes() == whole
