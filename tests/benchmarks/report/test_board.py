"""Tables: what stands beside what, and which numbers are marked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from report_results import CONTROL, DECODED, PROBE, write_results

from benchmarks import compare
from benchmarks.report import numbers
from benchmarks.report.board import CONTROLS
from benchmarks.report.build import boards
from benchmarks.report.claims import changes, claims
from benchmarks.report.numbers import Spread, decimals, digits_in, interval_ends, spread, spread_text, written
from benchmarks.report.sources import find
from benchmarks.results import RecordFile
from benchmarks.results.evidence import Evidence
from benchmarks.results.noise import Noise
from dbae.support.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results") / "first")


def test_tables_are_by_task_data_and_protocol(folder):
    assert [(b.task, b.protocol) for b in boards(find([folder]))] == [
        ("downstream", "standard"),
        ("reconstruction", "paper"),
    ]


def test_controls_stand_apart_and_are_not_marked_although_ahead(folder):
    board = boards(find([folder]))[0]
    groups = board.groups()
    assert list(groups) == ["models", CONTROLS]
    column = board.columns[0]
    (pca,) = groups[CONTROLS]
    assert pca.cells[column].number.value > groups["models"][0].cells[column].number.value
    assert not pca.cells[column].best


def test_the_best_is_marked_and_what_a_test_cannot_tell_from_it(folder):
    board = boards(find([folder]))[0]
    marks = {
        (row.model.model, row.images_seen): (row.cells[board.columns[0]].best, row.cells[board.columns[0]].tied)
        for row in board.groups()["models"]
    }
    assert marks[("mine", 2000)] == (True, False)
    assert marks[("theirs", 2000)] == (False, True)  # other errors
    assert marks[("mine", 500)] == (False, False)


def test_numbers_have_intervals_over_images(folder):
    for board in boards(find([folder])):
        for row in board.rows:
            number = row.cells[board.columns[0]].number
            assert number.spread.over == "images"
            assert number.spread.low < number.value < number.spread.high


def test_an_interval_of_a_mean_over_images_is_that_of_students_t(folder):
    row = boards(find([folder]))[1].rows[0]
    (cell,) = row.cells.values()
    assert cell.number.spread.high - cell.number.value == pytest.approx(2.01 * cell.number.record.stderr, rel=0.15)


def test_an_inferred_x_T_is_no_rival_of_one_that_comes_from_z(tmp_path):
    rows = [
        dataclasses.replace(DECODED, value=0.8),
        dataclasses.replace(DECODED, value=0.9, x_T="inferred", encode_nfe=9),
    ]
    RecordFile(tmp_path / "reconstruction.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    assert len(board.groups()) == 2


def test_a_long_table_leads_with_the_longest_training_and_the_usual_evaluations(tmp_path):
    rows = [
        dataclasses.replace(DECODED, train_data=f"faces ({seen} images seen)", checkpoint_sha256=f"{seen:064d}",
                            nfe=nfe, nfe_requested=nfe, value=0.5)
        for seen in (100, 200) for nfe in (1, 2, 3, 4, 5, 6, 10)
    ]  # fmt: skip
    rows.append(dataclasses.replace(DECODED, model="theirs", train_data="", nfe=5, nfe_requested=5, value=0.4))
    RecordFile(tmp_path / "reconstruction.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    assert {(row.model.model, row.images_seen, row.first.nfe) for row in board.rows if row.lead} == {
        ("mine", 200, 5),
        ("theirs", 0, 5),
    }


def test_other_conventions_and_selected_splits_do_not_lead(tmp_path):
    names = ("SSIM", "SSIM_skimage", "SSIM_dbae_released")
    RecordFile(tmp_path / "a.csv").add([dataclasses.replace(DECODED, metric=name, value=0.5) for name in names])
    RecordFile(tmp_path / "b.csv").add(
        [dataclasses.replace(PROBE, split=s, value=0.5) for s in ("test", "test-selected")]
    )
    probes, decoded = boards(find([tmp_path]))
    assert [column.label for column in probes.columns if column.lead] == ["AP test"]
    assert [column.metric for column in decoded.columns if column.lead] == ["SSIM"]


def test_costs_of_one_model_are_one_row(tmp_path):
    plain = dataclasses.replace(DECODED, task="cost", sampler="", grid="", eta=None, end_data=None, nfe_requested=None)
    cost = dataclasses.replace(plain, nfe=None, x_T="", better="lower", encode_nfe=None, metric="GFLOPs", value=1.0)
    timed = dataclasses.replace(cost, metric="total_time_ms", x_T="inferred", encode_nfe=250, value=9.0)
    slow = dataclasses.replace(timed, encode_nfe=500, value=18.0)
    RecordFile(tmp_path / "cost.csv").add([cost, timed, slow])
    (board,) = boards(find([tmp_path]))
    assert sorted(len(row.cells) for row in board.rows) == [1, 2]


def test_what_decides_is_said_with_its_interval(folder):
    found = {claim.board.task: claim for claim in claims(boards(find([folder])))}
    probe, decoded = found["downstream"], found["reconstruction"]
    assert (probe.best.model.model, probe.other.model.model, probe.verdict) == ("mine", "pca", "behind")
    assert (decoded.best.model.model, decoded.other.model.model, decoded.verdict) == ("mine", "theirs", "ahead")
    assert "[" in probe.lead


def test_what_nothing_can_be_ahead_of_is_no_rival(tmp_path):
    path = dataclasses.replace(PROBE, task="trajectories", metric="straightness", attribute="mean", value=0.9)
    control = dataclasses.replace(path, train_data="", weights="control", checkpoint_sha256="")
    others = [dataclasses.replace(control, model=m, value=v) for m, v in (("factors", 1.0), ("pixels", 0.8))]
    RecordFile(tmp_path / "trajectories.csv").add([path, *others])
    (claim,) = claims(boards(find([tmp_path])))
    assert claim.other.model.model == "pixels"


def test_changes_between_sets_are_those_of_compare(folder, tmp_path):
    other = write_results(tmp_path / "second", gain=1.0)
    before, after = find([folder, other])
    found = {
        (d.pair.after.model, d.pair.after.train_data): d
        for d in changes(before, after)
        if d.pair.after.task == "downstream"
    }
    assert found["mine", "faces (2000 images seen)"].value > 0.05
    assert found["pca", ""].value == 0


def test_changes_are_of_the_same_model_whatever_file_it_lies_in(tmp_path):
    for name, value in (("before/a", 0.4), ("before/b", 0.6), ("after/a", 0.45)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        about = {"model": "other", "checkpoint_sha256": "1" * 64} if name == "before/b" else {}
        RecordFile(tmp_path / f"{name}.csv").add([dataclasses.replace(PROBE, value=value, **about)])
    after, before = find([tmp_path / "after", tmp_path / "before"])
    (found,) = changes(before, after)
    assert (found.pair.before.model, round(found.value, 6)) == ("mine", 0.05)


def test_numbers_of_other_seeds_of_the_probe_are_another_line(tmp_path):
    few, many = ({"seed": f"mean of {seeds}"} for seeds in ("0 1", "0 1 2"))
    rows = [dataclasses.replace(PROBE, value=0.5, **few), dataclasses.replace(PROBE, value=0.6, **many)]
    rows.append(dataclasses.replace(PROBE, metric="Pearson_r", value=0.4, **many))
    RecordFile(tmp_path / "downstream.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    values = {row.settings["seeds"]: {c.metric: n.number.value for c, n in row.cells.items()} for row in board.rows}
    assert values == {"mean of 0 1": {"AP": 0.5}, "mean of 0 1 2": {"AP": 0.6, "Pearson_r": 0.4}}


def test_one_model_in_two_files_is_two_lines_that_say_which(tmp_path):
    for name, value in (("a", 0.5), ("b", 0.6)):
        row = dataclasses.replace(PROBE, value=value)
        rows = [row, dataclasses.replace(row, metric="Pearson_r")]
        RecordFile(tmp_path / f"{name}.csv").add(rows[: 1 + (name == "b")])
    (board,) = boards(find([tmp_path]))
    values = {row.settings["file"]: {c.metric: n.number.value for c, n in row.cells.items()} for row in board.rows}
    assert values == {"a.csv": {"AP": 0.5}, "b.csv": {"AP": 0.6, "Pearson_r": 0.6}}


def test_a_total_cost_says_what_x_T_took(tmp_path):
    cost = dataclasses.replace(PROBE, task="cost", better="lower", encode_nfe=0, nfe=None, seed="")
    total = dataclasses.replace(cost, metric="total_time_ms", value=634.0, encode_nfe=250)
    RecordFile(tmp_path / "cost.csv").add([dataclasses.replace(cost, metric="encode_time_ms", value=1.0), total])
    (board,) = boards(find([tmp_path]))
    assert board.shared["NFE"] == "250"


def test_a_set_is_a_folder_and_names_tell_them_apart(tmp_path):
    for name in ("a/one", "b/one"):
        (tmp_path / name).mkdir(parents=True)
        RecordFile(tmp_path / name / "x.csv").add([dataclasses.replace(CONTROL, value=0.5)])
    assert [one.name for one in find([tmp_path])] == ["a/one", "b/one"]
    assert [one.name for one in find([tmp_path / "a", tmp_path / "a" / "one"])] == ["one"]


def test_a_model_that_draws_nothing_is_not_the_least_varied(tmp_path):
    row = dataclasses.replace(DECODED, task="variation", better="lower", nfe_requested=None)
    values = {"ae": 0.0, "dbae": 0.03, "diffae": 0.05}
    rows = [
        dataclasses.replace(row, model=model, metric=metric, value=value + shift)
        for metric, shift in (("std", 0.0), ("MSE_pairwise", 0.0), ("MSE", 0.01))
        for model, value in values.items()
    ]
    RecordFile(tmp_path / "variation.csv").add(rows)
    found = boards(find([tmp_path]))
    best = {
        (column.metric, row.model.model) for row in found[0].rows for column, cell in row.cells.items() if cell.best
    }
    assert best == {("std", "dbae"), ("MSE_pairwise", "dbae"), ("MSE", "ae")}
    claimed = {claim.column.metric: claim.best.model.model for claim in claims(found)}
    assert claimed["MSE"] == "ae"
    assert {model for metric, model in claimed.items() if metric != "MSE"} == {"dbae"}
    alone = [r for r in rows if r.model != "diffae" and r.metric == "std"]
    (tmp_path / "two").mkdir()
    RecordFile(tmp_path / "two" / "variation.csv").add(alone)
    found = boards(find([tmp_path / "two"]))
    assert not [cell for row in found[0].rows for cell in row.cells.values() if cell.best or cell.tied]
    assert not list(claims(found))


def test_what_is_no_result_is_refused_or_passed_over(tmp_path):
    with pytest.raises(UserError, match="nothing of that name"):
        find([tmp_path / "none"])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="found none"):
        find([tmp_path])
    with pytest.raises(UserError, match="36 columns"):
        find([tmp_path / "other.csv"])


def test_the_interval_is_that_of_the_files_own_rows_where_it_has_some():
    tad = dataclasses.replace(PROBE, task="disentanglement", metric="TAD", value=0.43, stderr=0.1)
    ends = [dataclasses.replace(tad, metric=f"TAD_{end}", value=value) for end, value in (("low", 0.3), ("high", 0.7))]
    found = spread(tad, Path("none.csv"), interval_ends([tad, *ends]))
    assert (found.low, found.high) == (0.3, 0.7)


def test_an_interval_of_an_older_file_holds_the_number():
    attrs = dataclasses.replace(PROBE, task="disentanglement", metric="ATTRS", value=2.0, stderr=0.1)
    ends = [dataclasses.replace(attrs, metric=f"ATTRS_{end}", value=v) for end, v in (("low", 3.0), ("high", 5.0))]
    found = spread(attrs, Path("none.csv"), interval_ends([attrs, *ends]))
    assert (found.low, found.high) == (2, 5)


def test_no_interval_of_a_share_leaves_0_to_1(monkeypatch):
    noise = Noise("images", 50, halves=np.random.default_rng(0).normal(0.98, 0.1, (20, 2)))
    monkeypatch.setattr(numbers, "evidence", lambda record, path: Evidence(noise=noise))
    of = {name: dataclasses.replace(PROBE, task="generation", metric=name, value=0.98) for name in ("Recall", "FID")}
    ends = {name: spread(row, Path("none.csv"), {}) for name, row in of.items()}
    assert ends["Recall"].high == 1 < ends["FID"].high
    assert ends["Recall"].low == ends["FID"].low < 0.98


def test_a_comparison_beside_results_is_no_result(tmp_path):
    results = tmp_path / "downstream.csv"
    RecordFile(results).add([PROBE, CONTROL])
    compare.main(compare.Options(files=(str(results),), out=tmp_path / "compared.csv"))
    (found,) = find([tmp_path])
    assert list(found.files) == [results]


def test_numbers_are_written_with_the_digits_that_serve():
    assert decimals([0.546, 0.569]) == 3
    assert decimals([19.3, 22.1]) == 1
    assert decimals([4.0, 3.0]) == 0
    assert [digits_in(v, [1.34, 634.0]) for v in (1.34, 634.0)] == [2, 0]
    assert [digits_in(v, [0.8, 0.7, -0.001]) for v in (0.8, -0.001)] == [3, 3]
    assert written(float("nan"), 3) == "–"
    assert spread_text(Spread(error=0.0004, over="seeds"), 3) == "± 0.0004"
    assert spread_text(Spread(0.5, 0.6, "images"), 2) == "[0.50, 0.60]"
    assert not spread_text(Spread(), 3)
    assert np.isnan(Spread().low)


PAPER = dataclasses.replace(PROBE, protocol="paper", dataset="lfw", metric="Pearson_r", n=3000, value=0.6)


def _names_of_published(folder, *rows):
    folder.mkdir()
    RecordFile(folder / "downstream.csv").add(rows)
    (board,) = boards(find([folder]))
    return {row.name: [row.values[column] for column in board.columns] for row in board.published}


def test_published_numbers_stand_beside_those_of_the_same_data_and_protocol(tmp_path):
    found = _names_of_published(tmp_path / "paper", PAPER)
    assert found["DBAE stochastic, trained on CelebA"] == ["0.643"]
    assert found["DBAE stochastic, trained on FFHQ"] == ["0.675"]


def test_published_numbers_do_not_stand_beside_others(tmp_path):
    others = {
        "trial": {"n": 100},
        "standard": {"protocol": "standard"},
        "data": {"dataset": "faces"},
        "control": {"weights": "control", "model": "pca"},
        "metric": {"metric": "MAE", "better": "lower"},
        "labels": {"n_train": 100},
    }
    for name, cells in others.items():
        assert not _names_of_published(tmp_path / name, dataclasses.replace(PAPER, **cells)), name


def test_published_evaluations_are_those_measured(tmp_path):
    row = dataclasses.replace(DECODED, dataset="celebahq", n=30_000, nfe_requested=20, nfe=20, value=0.9)
    RecordFile(tmp_path / "reconstruction.csv").add([row])
    (board,) = boards(find([tmp_path]))
    names = [row.name for row in board.published if "NFE" in row.name]
    assert names
    assert all(name.endswith("NFE 20") for name in names)


def test_probes_of_few_labels_are_rows_of_their_own_and_do_not_lead(tmp_path):
    rows = [dataclasses.replace(PROBE, n_train=n, value=0.5) for n in (None, 100, 500)]
    RecordFile(tmp_path / "downstream.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    assert {row.settings["labels"]: row.lead for row in board.rows} == {"": True, "100": False, "500": False}


def test_lengths_of_z_are_told_where_they_differ(tmp_path):
    rows = [dataclasses.replace(PROBE, model=f"z of {n}", latent_dim=n) for n in (32, 160)]
    RecordFile(tmp_path / "downstream.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    assert {row.model.model: row.settings["length of z"] for row in board.rows} == {"z of 32": "32", "z of 160": "160"}
    assert "length of z" not in board.shared


def test_a_setting_that_one_model_lacks_is_not_called_shared(tmp_path):
    rows = [DECODED, dataclasses.replace(DECODED, model="theirs", end_data=None, value=0.1)]
    RecordFile(tmp_path / "reconstruction.csv").add(rows)
    (board,) = boards(find([tmp_path]))
    assert "end_data" not in board.shared
    assert {row.settings["end_data"] for row in board.rows} == {"", "0.5"}
