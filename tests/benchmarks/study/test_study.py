"""The command from beginning to end, at the smallest size; its tables say what its results files say."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import pandas
import pytest
from image_samples import picture, png, write_zip

from baselines.load import load
from benchmarks.results import RecordFile
from benchmarks.study import command as study
from benchmarks.study import tables
from benchmarks.study.command import StudyOptions, describe, groups_of, main
from benchmarks.study.figure import over_seeds
from benchmarks.study.found import points_of
from benchmarks.study.plan import SCALES, planned
from benchmarks.study.register import Register, portable
from dbae.data import open_data
from dbae.support.errors import UserError

TABLES = ("table1", "table2", "table3", "curve", "training")
PUBLISHED = Path(__file__).parents[3] / "results/study-utkface64-cpu"


def labelled(path: Path) -> str:
    """A zip of 90 pictures with three attributes, of which nobody knows the factors behind them."""
    names = [f"{i:02d}.png" for i in range(90)]
    members = {name: png(picture(i, 32, 32)) for i, name in enumerate(names)}
    lines = [f"{name} {' '.join(str(2 * (i // part % 2) - 1) for part in (1, 2, 3))}" for i, name in enumerate(names)]
    members["list_attr.txt"] = "\n".join(["90", "First Second Third", *lines]).encode()
    members["list_eval_partition.txt"] = "\n".join(f"{name} {i % 3}" for i, name in enumerate(names)).encode()
    return f"zip:{write_zip(path, members)}"


def test_a_small_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = labelled(tmp_path / "labelled.zip")
    options = StudyOptions(
        data, rows=("vae",), units=86, rates=(0.001,), seeds=(0,), out=tmp_path / "o", runs=tmp_path / "r"
    )
    main(options)
    assert "VAE" in capsys.readouterr().out
    table = pandas.read_csv(tmp_path / "o" / "table1.csv").set_index("row")
    rows = RecordFile(tmp_path / "o" / "downstream.csv").read()
    means = [r for r in rows if r.metric == "AP" and r.attribute == "mean" and r.seed.startswith("mean of")]
    of_vae = {r.train_data: r.value for r in means if r.model == "vae-seed0"}
    assert len(of_vae) == 2  # two points of the curve
    assert table.loc["VAE", "AP"] == pytest.approx(next(v for k, v in of_vae.items() if "(64 images" in k), abs=1e-5)
    assert table.loc["VAE", "AP_se"] > 0
    assert table.loc["pca", "AP"] == pytest.approx(next(r.value for r in means if r.model == "pca"), abs=1e-5)
    stranger = next(r for r in rows if r.model == "vae-seed0")
    longer = dataclasses.replace(next(r for r in means if r.model == "pca"), latent_dim=160, value=0.8)
    others = [dataclasses.replace(stranger, checkpoint_sha256="0", value=0.9), longer]
    RecordFile(tmp_path / "o" / "downstream.csv").add(others)
    (tmp_path / "o" / "differences.csv").write_text("row,baseline\nof,before\n")
    with open(tmp_path / "r" / "vae" / "seed0-lr0.001" / "log.csv", "a") as log:
        log.write("64,4,0.1")  # cut off
    main(options)  # rows of other weights under the same name, or of another length of z, change nothing
    assert not (tmp_path / "o" / "differences.csv").exists()
    again = pandas.read_csv(tmp_path / "o" / "table1.csv").set_index("row")
    assert again[again["latent_dim"] != 160].equals(table)
    assert again[again["latent_dim"] == 160]["AP"].to_dict() == {"pca": 0.8}
    reconstructed = pandas.read_csv(tmp_path / "o" / "table2.csv")
    assert reconstructed["SSIM"].between(-1, 1).all()
    assert (reconstructed["SSIM_se"] > 0).all()
    last = tmp_path / "r" / "vae" / "seed0-lr0.001" / "milestones" / "images-000000064.safetensors"
    with open(tmp_path / "o" / "training.csv", newline="") as file:
        (run,) = csv.DictReader(file)
    assert (run["images"], run["own_units"]) == ("64", "86")
    assert int(run["parameters"]) == sum(p.numel() for p in load(str(last)).model.parameters())
    assert "--method vae" in run["command"]
    assert run["hardware"].endswith(", 1 thread")
    assert str(tmp_path) not in run["command"]
    assert (tmp_path / "o" / "curve.png").stat().st_size > 1000
    shutil.rmtree(tmp_path / "r")
    assert_tables_are_made_again(tmp_path / "o")


def assert_tables_are_made_again(out: Path) -> None:
    """From the folder alone; of rows that the study measured; and nothing in it is lost where scores are."""
    again = StudyOptions(tables=True, out=out)
    tables = {path: path.read_bytes() for path in out.glob("*.csv") if path.stem in TABLES}
    assert len(tables) == 5
    for path in tables:
        path.unlink()
    main(again)
    assert {path: path.read_bytes() for path in tables} == tables
    results = RecordFile(out / "downstream.csv")
    measured = (out / "downstream.csv").read_bytes()
    of_vae = [row for row in results.read() if row.model == "vae-seed0" and row.seed.startswith("mean of")]
    others = [{"protocol": "paper"}, {"n_train": 20}, {"z": "mean at t=100"}, {"precision": "bf16"}]
    results.add([dataclasses.replace(row, value=0.5, **other) for row in of_vae for other in others])
    shutil.rmtree(out / "downstream_images")
    main(again)
    assert {path: path.read_bytes() for path in tables} == tables
    results.add([dataclasses.replace(row, value=0.5, seed="mean of 7") for row in of_vae])
    with pytest.raises(UserError, match=r"expected one AP of VAE .* found several, measured in different ways"):
        main(again)
    (out / "downstream.csv").unlink()
    with pytest.raises(UserError, match=r"table1\.csv: expected measurements of VAE .* Nothing was written"):
        main(again)
    assert {path: path.read_bytes() for path in tables} == tables
    (out / "downstream.csv").write_bytes(measured)
    main(again)
    for option in ({"rows": ("ae",)}, {"dry_run": True}, {"groups": ("who=First",)}):
        with pytest.raises(UserError, match=f"--tables: expected --out alone, found {next(iter(option))}"):
            main(dataclasses.replace(again, **option))


def test_a_longer_study_keeps_the_points_of_the_shorter_one(tmp_path, monkeypatch):
    """Tables are written once where nothing new was measured, and after every row where there is time for it."""
    written: list[int] = []
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(study, "report", lambda register: written.append(len(register.runs())))
    monkeypatch.setattr(study, "BETWEEN", 0)
    data, out = labelled(tmp_path / "labelled.zip"), tmp_path / "o"
    short = StudyOptions(data, rows=("vae", "ae"), units=44, rates=(0.001,), seeds=(0,), out=out, runs=tmp_path / "r")
    main(short)
    assert written == [1, 2, 2]
    main(short)
    assert written[3:] == [2]
    main(dataclasses.replace(short, units=130, rows=("ae",)))
    assert written[4:] == [1, 1]
    main(dataclasses.replace(short, rows=("ae",)))
    assert written[6:] == [2]  # the other row of that study is still there
    records = [row for row in RecordFile(out / "downstream.csv").read() if row.model.endswith("seed0")]
    assert {row.model for row in records} == {"ae-seed0", "vae-seed0"}
    assert len({row.checkpoint_sha256 for row in records}) == 6
    assert all(any(f"({n} images" in row.train_data for n in (16, 32, 48, 96)) for row in records)


def test_a_curve_is_over_the_same_seeds_everywhere():
    """A seed that stopped early, or has more points, would show as a bend of the mean."""
    line = pandas.DataFrame({"units": [10, 20, 10, 15, 20], "seed": [0, 0, 1, 1, 1]}).assign(value=1.0, se=0.1)
    assert list(over_seeds(line).index) == [10, 20]


def test_what_cannot_be_measured_or_chosen_is_refused_before_it_is_trained(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for i in range(20):
        (path / f"{i}.png").write_bytes(png(picture(i, 32, 32)))
    parts = f"folder:{path}?split=train:0.5,test:0.5"
    data = labelled(tmp_path / "labelled.zip")
    out, runs = tmp_path / "o", tmp_path / "r"
    for options, reason in (
        (StudyOptions(parts, rows=("vae",), rates=(0.001,), out=out, runs=runs), "expected attribute labels"),
        (StudyOptions(parts, rows=("ddim",), out=out, runs=runs), "expected a split val"),
        (StudyOptions(parts, rows=("ddim",), rates=(0.001,), out=path / "o", runs=runs), "outside of the data"),
        (StudyOptions(data, rows=("vae",), rates=(0.001,), out=out, runs=runs, rate_of={"ae": -1.0}), "--rate-of"),
    ):
        for dry_run in (False, True):
            with pytest.raises(UserError, match=reason):
                main(dataclasses.replace(options, dry_run=dry_run))
    for text, reason in (("who", "expected NAME="), ("who=First,Nobody", "has no 'Nobody'; it has First, Second")):
        with pytest.raises(UserError, match=reason):
            groups_of([text], open_data(data))
    assert groups_of(["who=First,Third"], open_data(data)) == {"who": ["First", "Third"]}
    assert sorted(tmp_path.iterdir()) == [tmp_path / "labelled.zip", path]
    assert not (path / "o").exists()


def test_the_command_of_a_run_is_told_as_it_is_on_any_machine():
    """Names of data and folders alone are other ones: a word of the options may be the same."""
    plan = planned(("pdae",), SCALES["cpu"], "faces", Path("/home/faces/runs"))
    ddim, pdae = plan.rows
    told = portable(plan.training(pdae, 0, 1e-3, plan.training(ddim, 0, 1e-3)))
    assert "--method pdae --preset faces32 --data faces: --out RUNS/pdae/" in told
    assert "--pretrained RUNS/ddim/" in told


def test_a_dry_run_on_drawn_faces_refuses_groups_of_other_labels():
    with pytest.raises(UserError, match="has no 'Nobody'"):
        main(StudyOptions(rows=("ddim",), groups=("who=Male,Nobody",), dry_run=True))


def test_the_plan_in_words(tmp_path):
    lines = describe(planned(("pdae",), SCALES["cpu"], "faces", tmp_path)).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["row", "ddim", "pdae"]
    assert "110,000 units a row; about " in lines[-1]
    assert lines[1].split()[3] == "55,008"


def test_published_tables_are_those_of_the_published_rows(monkeypatch):
    """Their values: errors, a minute's work to draw again, are tested on the small study."""
    monkeypatch.setattr(tables, "standard_error", lambda row, path: None)
    register = Register(PUBLISHED)
    points = points_of(register.runs().values())
    lines = {name: tables.table_lines(name, points, PUBLISHED, register.study["data"]) for name in tables.METRICS}
    lines["curve"] = tables.curve_lines(points, register)
    for name, made in lines.items():
        published = pandas.read_csv(PUBLISHED / f"{name}.csv")
        columns = [column for column in published if not column.endswith("se")]
        keys = [column for column in columns if column == "units" or published[column].dtype.kind != "f"]
        found, expected = (
            table[columns].sort_values(keys).reset_index(drop=True) for table in (pandas.DataFrame(made), published)
        )
        pandas.testing.assert_frame_equal(found, expected, rtol=1e-5, check_dtype=False)
