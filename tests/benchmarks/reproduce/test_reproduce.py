"""Reproducing tables: what is planned, what is missing, and which measured numbers stand beside published ones."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from baselines.cards import cards
from baselines.load import BUILTIN
from benchmarks.reproduce import command as reproduce
from benchmarks.reproduce import plan, prepare
from benchmarks.reproduce.tables import TABLES_BY_NUMBER, Run, Table
from benchmarks.results import Record, RecordFile
from benchmarks.runner import family
from benchmarks.subjects.settings import SettingOptions
from dbae.sample import BUILTIN_PRIOR
from dbae.support import cli
from dbae.support.errors import UserError

RECORD = Record(
    task="reconstruction",
    protocol="paper",
    task_version=1,
    model="m",
    dataset="celebahq",
    split="all",
    metric="SSIM",
    value=0.9,
    better="higher",
    n=10,
    nfe_requested=100,
    sampler="ddim",
    x_T="inferred",
    z="mean",
    weights="trained",
    data_sha256="dd",
)


def run(*arguments: str) -> int:
    return cli.run(
        reproduce.main, reproduce.ReproduceOptions, module="benchmarks.reproduce", description="", arguments=arguments
    )


@pytest.fixture
def celebahq(tmp_path, monkeypatch):
    """A small CelebAMask-HQ under $DBAE_DATA, and no checkpoints."""
    root = tmp_path / "data" / "celebahq" / "CelebAMask-HQ"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(root / "CelebA-HQ-img" / f"{i}.jpg")
    lines = ["4", "Male Young", *(f"{i}.jpg {1 - 2 * (i % 2)} 1" for i in range(4))]
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("DBAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DBAE_CHECKPOINTS", str(tmp_path / "models"))
    return tmp_path


def small(number: str) -> Table:
    """A table measured with few evaluations."""
    settings = SettingOptions(nfe=(2,), end_data=(0.5, 0.0))
    return replace(TABLES_BY_NUMBER[number], runs=(Run("reconstruction", {"settings": settings}),))


@pytest.mark.parametrize("table", TABLES_BY_NUMBER.values(), ids=lambda t: t.number)
def test_every_published_data_set_of_a_row_with_a_checkpoint_has_a_source(table):
    cells = table.cells()
    assert cells
    for card in cards().values():
        for row in card.reproduces:
            if str(row["table"]).split("_")[0] == table.number:
                wanted = {k: str(v) for k, v in row.items() if k != "table"}
                mine = [
                    c for c in cells if wanted.items() <= c.items() and c["metric"] not in ("generative", "regularised")
                ]
                assert mine, (card.name, row)
                assert table.architectures or all(table.source(c) for c in mine)


def test_answers_keep_endpoints_and_budgets_apart():
    table = TABLES_BY_NUMBER["9"]
    cells = {(c["variant"], c["nfe"]): c for c in table.cells() if c["method"] == "DiffAE"}
    inferred = cells["inferred x_T", "100"]
    assert table.answered_by(inferred, RECORD)
    assert table.answered_by(inferred, replace(RECORD, metric="SSIM_dbae_released"))
    assert not table.answered_by(inferred, replace(RECORD, metric="MSE"))
    assert not table.answered_by(inferred, replace(RECORD, x_T="random"))
    assert not table.answered_by(inferred, replace(RECORD, nfe_requested=50))
    assert table.answered_by(cells["random x_T", "50"], replace(RECORD, x_T="random", nfe_requested=50))


def test_answers_keep_ddpm_and_ddim_and_both_sources_of_z_apart():
    table = TABLES_BY_NUMBER["4"]
    cells = {(c["method"], c["variant"]): c for c in table.cells() if c["metric"] == "FID_50k"}
    drawn = replace(RECORD, task="generation", metric="FID_50k", nfe_requested=1000, z="prior x", x_T="random")
    prior, encoded = "learned/standard prior", "autoencoding (inferred prior)"
    assert table.answered_by(cells["DDIM", prior], drawn)
    assert not table.answered_by(cells["DDPM", prior], drawn)
    assert table.answered_by(cells["DDPM", prior], replace(drawn, sampler="ddpm"))
    assert not table.answered_by(cells["DiffAE", encoded], drawn)
    assert table.answered_by(cells["DiffAE", encoded], replace(drawn, z="mean"))


def test_a_checkpoint_in_the_place_of_a_row_stands_beside_its_published_values(celebahq, monkeypatch, capsys):
    monkeypatch.setitem(TABLES_BY_NUMBER, "2", small("2"))
    out = celebahq / "table2.csv"
    arguments = ("table2", "--row", "DBAE/stochastic=builtin:dbae", "--out", str(out))
    assert run(*arguments) == 0
    with open(out, newline="") as file:
        lines = list(csv.DictReader(file))
    measured = {
        (r.metric, r.end_data): r.value for r in RecordFile(celebahq / "table2_measured.csv").read() if r.nfe == 2
    }
    ssim = [line for line in lines if line["published_metric"] == "SSIM"]
    assert {(line["metric"], line["end_data"]) for line in ssim} == {
        (name, end) for name in ("SSIM", "SSIM_skimage", "SSIM_dbae_released") for end in ("0.5", "0.0")
    }
    for line in ssim:
        assert line["published"] == "0.920"
        assert float(line["value"]) == measured[line["metric"], float(line["end_data"])]
        assert float(line["difference"]) == pytest.approx(float(line["value"]) - 0.92)
    before = out.read_bytes()
    results = RecordFile(celebahq / "table2_measured.csv")
    results.add([replace(row, n=3, value=0.0) for row in results.read()])  # those of a trial
    assert run(*arguments) == 0  # nothing is measured again, and what this call did not ask for is no answer
    assert out.read_bytes() == before
    capsys.readouterr()


def test_what_is_missing_is_named_with_where_to_get_it(celebahq, caplog, capsys):
    assert run("table2") == 2
    card = cards()["diffae/ffhq128"]
    assert str(celebahq / "models" / "diffae" / "ffhq128" / "last.ckpt") in caplog.text
    assert card.obtain in caplog.text
    assert "nothing to measure" in capsys.readouterr().err
    assert run("table1", "--row", "DBAE/stochastic=builtin:dbae") == 2
    assert f"dbae.data check celeba:{celebahq / 'data' / 'celeba'}` tells more" in caplog.text


def test_the_published_checkpoint_of_a_row_that_is_given_is_not_missed(celebahq, caplog):
    assert run("table2") == 2
    published, other = (cards()[name].obtain for name in ("dbae/ffhq128", "dbae/ffhq128-d"))
    assert published in caplog.text
    caplog.clear()
    assert run("table2", "--row", "DBAE/stochastic=builtin:dbae", "--dry-run") == 0
    assert published not in caplog.text
    assert other in caplog.text


@pytest.mark.parametrize("row", ["DBAE", "Nobody=builtin:dbae", "DBAE/+XY=builtin:dbae"])
def test_a_row_that_the_table_has_not_is_refused(celebahq, row, capsys):
    assert run("table2", "--row", row) == 2
    assert "DBAE/deterministic" in capsys.readouterr().err


def test_a_dry_run_counts_evaluations_and_writes_nothing(celebahq, monkeypatch, capsys):
    monkeypatch.setitem(TABLES_BY_NUMBER, "2", small("2"))
    assert run("table2", "--row", "DBAE/stochastic=builtin:dbae", "--dry-run", "--out", str(celebahq / "t.csv")) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert " 4 " in line  # images
    assert " 6 " in line  # one_step and two evaluations, with either end_data
    assert not (celebahq / "t.csv").exists()


def test_without_checkpoints_built_in_models_run_and_no_published_value_stands_beside_them(tmp_path, monkeypatch):
    monkeypatch.delenv("DBAE_DATA", raising=False)
    table = TABLES_BY_NUMBER["2"]
    tiny = Run("reconstruction", {"settings": SettingOptions(nfe=(2,)), "limit": 4})
    monkeypatch.setitem(TABLES_BY_NUMBER, "2", dataclasses.replace(table, builtin=(tiny,)))
    monkeypatch.setattr(plan, "BUILTIN_DATA", "faces?n=20")
    monkeypatch.chdir(tmp_path)
    assert run("table2") == 0
    with open(tmp_path / "results" / "builtin" / "table2.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines
    assert not any("published" in column for column in lines[0])
    assert {line["dataset"] for line in lines} == {"faces-v1"}


def test_checkpoints_without_data_are_not_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DBAE_DATA", raising=False)
    monkeypatch.setenv("DBAE_CHECKPOINTS", "")  # what the command sets is undone
    assert run("table2", "--checkpoints", str(tmp_path), "--dry-run") == 2
    assert "found one of the two. Name the other with --images or $DBAE_DATA" in capsys.readouterr().err


def test_estimates_need_no_more_than_the_model():
    table = small("2")
    step = plan.Step(table.runs[0], "faces?n=20", ("builtin:dbae",))
    from baselines.load import load

    given = {"device": "cpu", "limit": 10, "prior": None}
    ready, missing = prepare.prepare(plan.Plan((), {}, (step,)), given, load, (), estimate=True)
    assert not missing
    assert ready[0].options.limit == 10
    line = prepare.describe(ready).splitlines()[1]
    assert "nfe=2 end_data=0.5,0.0" in line
    assert line.endswith(("second", "seconds"))


def test_what_a_step_lacks_is_said_before_anything_is_measured_and_the_others_go_on(celebahq, monkeypatch, caplog):
    """Table 3 without a prior: TAD has its rows, unconditional samples are left out beforehand."""
    runs = (
        Run("disentanglement", {"protocol": ("paper",)}),
        Run("generation", {"mode": ("prior",), "n": 10, "nfe": (1,), "method": ("one_step",)}),
    )
    monkeypatch.setitem(
        TABLES_BY_NUMBER, "3", replace(TABLES_BY_NUMBER["3"], runs=runs, sources={"CelebA": "celebahq"})
    )
    said = []

    def instead(ready, path, load):
        said.append((ready, caplog.text))
        return [], []

    monkeypatch.setattr(reproduce, "measure", instead)
    assert run("table3", "--row", "DBAE/+TC=builtin:dbae", "--out", str(celebahq / "t.csv")) == 0
    ((ready, before),) = said
    assert [step.step.run.benchmark for step in ready] == ["disentanglement"]
    assert "a distribution of z for" in before
    assert "--prior FILE" in before


@pytest.mark.parametrize("place", ["session", "measured"])
def test_a_step_that_fails_does_not_hide_the_others(celebahq, monkeypatch, capsys, place):
    monkeypatch.setitem(TABLES_BY_NUMBER, "2", replace(small("2"), runs=small("2").runs * 2))
    benchmark, calls = family("reconstruction"), []

    def fails_once(*about):
        calls.append(about)
        if len(calls) == 1:
            raise UserError("the disk is full")
        return getattr(type(benchmark), place)(benchmark, *about)

    monkeypatch.setattr(benchmark, place, fails_once)
    out = celebahq / "table2.csv"
    assert run("table2", "--row", "DBAE/stochastic=builtin:dbae", "--out", str(out)) == 2
    captured = capsys.readouterr()
    assert "1 of 2 steps failed" in captured.err
    assert "the disk is full" in captured.err
    assert "SSIM" in captured.out
    assert out.exists()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(celebahq, monkeypatch, capsys):
    monkeypatch.setitem(TABLES_BY_NUMBER, "2", small("2"))
    monkeypatch.setattr(reproduce, "measure", lambda *_: pytest.fail("measured"))
    (celebahq / "file").write_text("")
    assert run("table2", "--row", "DBAE/stochastic=builtin:dbae", "--out", str(celebahq / "file" / "t.csv")) == 2
    assert "expected a folder that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["5", "8"])
def test_costs_are_of_built_in_size_unless_full_size_is_asked_for(number, monkeypatch, capsys):
    for variable in ("DBAE_DATA", "DBAE_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    assert run(f"table{number}", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == list(TABLES_BY_NUMBER[number].small_architectures)
    assert all("second" in line or "minute" in line for line in lines)
    full = reproduce.planned(TABLES_BY_NUMBER[number], reproduce.ReproduceOptions(f"table{number}", full_size=True))
    assert set(full.steps[0].checkpoints) <= set(TABLES_BY_NUMBER[number].architectures.values())


def test_costs_need_neither_weights_nor_data_and_times_have_no_difference(tmp_path, monkeypatch):
    small_ones = {"DBAE": "untrained:faces32", "DiffAE": "untrained:diffae:faces32"}
    quick = Run(
        "cost", {"measure": ("parameters", "sampling"), "infer_steps": (250, 500), "repeats": 1, "batch_size": 1}
    )
    for number in ("5", "8"):
        monkeypatch.setitem(
            TABLES_BY_NUMBER, number, replace(TABLES_BY_NUMBER[number], architectures=small_ones, runs=(quick,))
        )
    assert run("table5", "--full-size", "--out", str(tmp_path / "table5.csv")) == 0
    with open(tmp_path / "table5.csv", newline="") as file:
        lines = {(line["method"], line["metric"]): line for line in csv.DictReader(file)}
    assert float(lines["DiffAE", "NFE_score"]["difference"]) == 0  # 250 steps of inference, not 500
    assert float(lines["DBAE", "NFE_score"]["value"]) == 0
    assert lines["DBAE", "total_time_ms"]["published"] == "0.31"
    assert lines["DBAE", "total_time_ms"]["difference"] == ""
    assert run("table8", "--full-size", "--out", str(tmp_path / "table8.csv")) == 0
    with open(tmp_path / "table8.csv", newline="") as file:
        parameters = {line["method"]: line for line in csv.DictReader(file) if line["metric"] == "parameters_M"}
    assert float(parameters["DBAE"]["difference"]) == pytest.approx(float(parameters["DBAE"]["value"]) - 161)


def test_a_dry_run_draws_no_faces(monkeypatch, capsys):
    for variable in ("DBAE_DATA", "DBAE_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("dbae.data.faces.Faces._draw", lambda *_: pytest.fail("drawn"))
    assert run("table1", "--dry-run") == 0
    assert "20000" in capsys.readouterr().out


def test_a_built_in_model_draws_from_the_prior_that_is_for_it():
    steps = plan.builtin(TABLES_BY_NUMBER["4"]).steps
    assert {step.checkpoints[0]: step.run.options.get("prior") for step in steps} == dict.fromkeys(
        BUILTIN
    ) | BUILTIN_PRIOR
