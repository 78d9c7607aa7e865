"""The two files of a run: which rows go where, and what a run has touched."""

from __future__ import annotations

import pytest
from result_rows import row

from benchmarks.results.file import Results, beside
from dbae.support.errors import UserError


def asked(**changes):
    names = ("task", "protocol", "task_version", "model", "dataset", "split", "n", "weights", "data_sha256")
    return {name: getattr(row(), name) for name in names} | changes


def test_means_and_attributes_go_to_files_of_their_own_and_are_found_together(tmp_path):
    results = Results(tmp_path / "d.csv")
    rows = [row(), row(attribute="Red"), row(attribute="Bright")]
    results.add(rows)
    assert [r.attribute for r in results.means.read()] == ["mean"]
    assert [r.attribute for r in results.attributes.read()] == ["Bright", "Red"]
    again = Results(tmp_path / "d.csv")
    assert again.find(asked(), ["AP"], ["mean", "Red", "Bright"]) == rows
    assert again.find(asked(), ["AP"], ["Red"]) == rows[1:2]
    assert again.find(asked(), ["AP"], ["mean", "Blue"]) is None
    assert list(again.touched.values()) == rows


def test_forced_runs_find_nothing(tmp_path):
    Results(tmp_path / "d.csv").add([row()])
    assert Results(tmp_path / "d.csv").find(asked(), ["AP"])
    assert Results(tmp_path / "d.csv", force=True).find(asked(), ["AP"]) is None


def test_an_update_writes_what_changed(tmp_path):
    results = Results(tmp_path / "d.csv")
    results.add([row(seconds=1.0)])
    results.update([row(seconds=2.0), row(attribute="Red")])
    assert [r.seconds for r in results.means.read()] == [1.0]
    results.update([row(seconds=2.0, value=0.75)])
    assert [(r.seconds, r.value) for r in results.means.read()] == [(2.0, 0.75)]


def test_a_foreign_file_is_refused_at_the_door(tmp_path):
    beside(tmp_path / "d.csv", "_attributes.csv").write_text("name,age\n")
    with pytest.raises(UserError, match="name, age"):
        Results(tmp_path / "d.csv")
