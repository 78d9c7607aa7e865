from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.downstream import command as downstream
from benchmarks.downstream.command import DownstreamOptions, run
from benchmarks.downstream.probe import probe_config
from benchmarks.downstream.problems import carve_validation
from benchmarks.downstream.report import draw_attributes, format_table
from benchmarks.downstream.study import run_probe
from benchmarks.results.record import RecordFile
from dbae.support import cli
from dbae.support.errors import UserError

SEEDS = ("0", "1", "mean of 0 1")


@pytest.fixture
def options(tmp_path) -> DownstreamOptions:
    return DownstreamOptions(
        ckpt=("a",), data=("squares",), out=tmp_path / "d.csv", seeds=(0, 1), device="cpu", batch_size=32
    )


def measure(options: DownstreamOptions, model: TinyModel | None = None, dataset: Squares | None = None):
    loaded = FakeLoaded(model or TinyModel())
    tables = run(options, lambda source: loaded, lambda source, size: dataset or Squares(size=size))
    return tables, RecordFile(options.out).read(), RecordFile(options.out.with_name("d_attributes.csv")).read()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is over: its options, cache folder, tables, mean rows and attribute rows. Not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    options = DownstreamOptions(
        ckpt=("a",), data=("squares",), out=folder / "d.csv", seeds=(0, 1), device="cpu", batch_size=32
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(folder / "cache"))
        return options, folder / "cache", *measure(options)


@pytest.fixture
def continued(finished, tmp_path, monkeypatch) -> DownstreamOptions:
    """Options of a run in a copy of the finished one's folder."""
    options, cache, *_ = finished
    shutil.copytree(options.out.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / cache.name))
    return dataclasses.replace(options, out=tmp_path / "d.csv")


def test_every_model_protocol_metric_and_seed_has_its_row(finished):
    options, _, _, means, attributes = finished
    models = ("tiny", "untrained", "pca", "random")
    expected = {
        (p, m, "test", k, s)
        for p in options.protocol
        for m in models
        for k in ("AP", "Pearson_r", "MSE")
        for s in SEEDS
    }
    expected |= {("paper", m, "test-selected", k, s) for m in models for k in ("Pearson_r", "MSE") for s in SEEDS}
    expected |= {(p, "prevalence", "test", k, "") for p in options.protocol for k in ("AP", "MSE")}
    assert {(r.protocol, r.model, r.split, r.metric, r.seed) for r in means} == expected
    assert len(means) == len(expected)
    assert {r.attribute for r in means} == {"mean"}
    assert {r.attribute for r in attributes if r.metric == "AP"} == {"Red", "Bright"}
    assert {r.attribute for r in attributes if r.metric == "MSE"} == {"green", "blue", "light"}
    assert {r.better for r in means if r.metric == "MSE"} == {"lower"}
    assert {r.better for r in means if r.metric != "MSE"} == {"higher"}
    assert {(r.weights == "control") == (r.model != "tiny") for r in means} == {True}
    assert {(r.protocol, r.z) for r in means if r.model == "tiny"} == {("paper", "sampled"), ("standard", "mean")}
    assert {r.z for r in means if r.model == "pca"} == {"mean"}
    assert all(r.n == 20 and r.dataset == "squares" and r.task_version == 1 and r.versions for r in means)


def test_a_z_that_an_inversion_finds_says_so_and_what_it_cost(options):
    class Inverting(TinyModel):
        encode_nfe = 7

    options = dataclasses.replace(options, protocol=("paper",), seeds=(0,))
    _, means, _ = measure(options, Inverting(stochastic=False))
    z = {r.model: (r.z, r.encode_nfe) for r in means}
    assert z["tiny"] == ("inferred x_T", 7)
    assert z["pca"] == ("mean", None)
    before = options.out.read_bytes()
    measure(options, Inverting(stochastic=False))
    assert options.out.read_bytes() == before


def test_means_are_those_of_the_attributes_and_of_the_seeds(finished):
    *_, means, attributes = finished
    row = {(r.protocol, r.model, r.split, r.metric, r.seed): r for r in means}
    for key, record in row.items():
        if record.seed in ("0", "1", ""):
            single = [r.value for r in attributes if (r.protocol, r.model, r.split, r.metric, r.seed) == key]
            assert record.value == pytest.approx(np.mean(single), abs=1e-15)
        else:
            pair = [row[(*key[:4], seed)].value for seed in ("0", "1")]
            assert record.value == pytest.approx(np.mean(pair), abs=1e-15)
            assert record.stderr == pytest.approx(abs(pair[0] - pair[1]) / 2, abs=1e-12)


def test_prevalence_rows_are_the_chance_level(finished):
    squares = Squares()
    *_, attributes = finished
    labels, continuous = squares.attributes.binary, squares.attributes.continuous
    train, test = squares.splits["train"], squares.splits["test"]
    found = {(r.metric, r.attribute): r.value for r in attributes if r.model == "prevalence"}
    for i, name in enumerate(squares.attributes.binary_names):
        assert found["AP", name] == pytest.approx(labels[test, i].mean(), abs=1e-12)
    for i, name in enumerate(squares.attributes.continuous_names):
        expected = np.mean((continuous[test, i] - continuous[train, i].mean()) ** 2)
        assert found["MSE", name] == pytest.approx(expected, abs=1e-12)


def test_other_seeds_do_not_touch_the_encoder(finished, continued):
    before = finished[3]
    model = TinyModel()
    model.fails_at = 1
    _, after, _ = measure(dataclasses.replace(continued, seeds=(0, 1, 2)), model)
    old = {r.identity: r for r in before}
    assert {r.seed for r in after} == {"", "0", "1", "2", "mean of 0 1", "mean of 0 1 2"}
    assert [r for r in after if r.identity in old] == before


def test_a_finished_run_measures_nothing_and_changes_no_byte(finished, continued, monkeypatch):
    options, _, tables, *_ = finished
    monkeypatch.setattr("benchmarks.downstream.study.run_probe", None)
    monkeypatch.setenv("DBAE_CACHE", str(continued.out.parent / "no latents needed"))
    again, _, _ = measure(continued)
    for name in ("d.csv", "d_attributes.csv"):
        assert continued.out.with_name(name).read_bytes() == options.out.with_name(name).read_bytes()
    assert [format_table(t) for t in again] == [format_table(t) for t in tables]


def test_a_killed_run_continues_where_it_stopped(finished, options, monkeypatch):
    calls = []

    def dies(*args, **kwargs):
        calls.append(kwargs["seed"])
        if len(calls) == 8:
            raise KeyboardInterrupt
        return run_probe(*args, **kwargs)

    monkeypatch.setattr("benchmarks.downstream.study.run_probe", dies)
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    _, means, _ = measure(options)
    assert len(calls) == 8 + 32 - 7  # 4 sources of latents x 2 protocols x 2 kinds x 2 seeds, of which 7 were done
    assert [(r.identity, r.value) for r in means] == [(r.identity, r.value) for r in finished[3]]


def test_force_measures_again(continued, monkeypatch):
    def refuse(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.downstream.study.run_probe", refuse)
    measure(continued)
    with pytest.raises(KeyboardInterrupt):
        measure(dataclasses.replace(continued, force=True))


def test_probes_read_what_is_linear_in_the_pixels(options, monkeypatch):
    faster = dataclasses.replace(probe_config("standard", "regression"), learning_rate=0.05)
    monkeypatch.setattr("benchmarks.downstream.study.probe_config", lambda protocol, kind: faster)
    chosen = dataclasses.replace(options, protocol=("standard",), seeds=(0,))
    (table,), _, _ = measure(chosen, dataset=Squares(2000))
    r = {name: values["Pearson_r", "test"].mean() for name, values in table.columns.items() if name != "prevalence"}
    assert r["pca"] > 0.99
    assert abs(r["random"]) < 0.15
    assert r["tiny"] > 0.5


def test_limit_is_another_data_set(finished, continued):
    # The test split has 20 images, so that n alone would not tell the two apart.
    chosen = dataclasses.replace(continued, limit=20, protocol=("standard",), seeds=(0,))
    _, both, _ = measure(chosen)
    new = [r for r in both if r.data_sha256 != finished[3][0].data_sha256]
    assert len(both) - len(new) == len(finished[3])
    assert len(new) == 4 * 3 + 2
    assert {r.n for r in both} == {20}


def test_checkpoints_and_data_sets_are_crossed(options):
    models = {"a": FakeLoaded(TinyModel(1), sha256="aa"), "b": FakeLoaded(TinyModel(2), sha256="bb", name="tiny2")}
    data = {"squares": Squares(), "more": Squares(120)}
    chosen = dataclasses.replace(options, ckpt=("a", "b"), data=("squares", "more"), protocol=("standard",), seeds=(0,))
    tables = run(chosen, models.__getitem__, lambda source, size: data[source])
    assert [t.model for t in tables] == ["tiny", "tiny", "tiny2", "tiny2"]
    found = RecordFile(options.out).read()
    assert len({(r.model, r.data_sha256) for r in found}) == 2 * (2 + 4)  # controls are shared by the models


@pytest.mark.parametrize("groups", [False, True])
def test_a_data_set_without_validation_lends_part_of_its_training_images(options, groups, monkeypatch):
    seen = []

    def look(train, val, test, **kwargs):
        seen.append((len(train.latents), None if val is None else len(val.latents), len(test.latents)))
        return run_probe(train, val, test, **kwargs)

    monkeypatch.setattr("benchmarks.downstream.study.run_probe", look)
    measure(dataclasses.replace(options, seeds=(0,)), dataset=Squares(val=False, groups=groups))
    carved = (52, 8, 20) if groups else (54, 6, 20)  # 60 training images; of 15 people with 4 images each, 2 are lent
    assert set(seen) == {carved, (60, None, 20)}  # regression in protocol "paper" trains on all of them


def test_carved_validation_is_a_tenth_and_keeps_people_together():
    train = np.arange(10, 210)
    for seed in range(3):
        kept, held_out = carve_validation(train, None, seed)
        assert len(held_out) == 20
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(200))
        groups = np.arange(300) // 7
        kept, held_out = carve_validation(train, groups, seed)
        assert not set(groups[train[kept]]) & set(groups[train[held_out]])
        assert len(np.unique(groups[train[held_out]])) == 3  # of 29 people
    assert not np.array_equal(carve_validation(train, None, 0)[1], carve_validation(train, None, 1)[1])


def test_table_and_figure_show_model_controls_and_lead(finished, tmp_path):
    tables = finished[2]
    text = format_table(tables[0])
    assert text.splitlines()[0].startswith("tiny abababab on squares, protocol paper, 20 test images, seeds 0 1")
    assert text.splitlines()[1].split()[:5] == ["tiny", "untrained", "pca", "random", "prevalence"]
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == [
        "AP",
        "Pearson_r",
        "MSE",
        "Pearson_r test-selected",
        "MSE test-selected",
    ]
    measured = tables[0].columns
    lead = (measured["tiny"]["AP", "test"] - measured["untrained"]["AP", "test"]).mean()
    assert f"{lead:+.4f} [" in text.splitlines()[2]
    draw_attributes(tables, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ckpt": ()}, "--ckpt"),
        ({"seeds": (1, 1)}, "--seeds"),
        ({"seeds": (-1,)}, "--seeds"),
        ({"out": Path("x.txt")}, r"x\.txt"),
        ({"limit": 1}, "--limit 1"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"device": "nonsense"}, "--device nonsense"),
    ],
)
def test_bad_options_are_named(options, changes, message):
    with pytest.raises(UserError, match=message):
        measure(dataclasses.replace(options, **changes))


def test_data_that_cannot_be_used_is_named(options):
    with pytest.raises(UserError, match="takes images of 8 pixels, found 16"):
        measure(options, dataset=Squares(size=16))
    unlabelled = Squares()
    unlabelled.attributes = None
    with pytest.raises(UserError, match="squares: expected attribute labels"):
        measure(options, dataset=unlabelled)
    unsplit = Squares()
    del unsplit.splits["test"]
    with pytest.raises(UserError, match="'test'"):
        measure(options, dataset=unsplit)


def test_attributes_that_are_constant_are_named(options, caplog):
    squares = Squares()
    squares.attributes.binary[:, 1] = 0
    _, _, attributes = measure(dataclasses.replace(options, seeds=(0,)), dataset=squares)
    assert "constant in the 20 test images: Bright" in caplog.text
    assert {r.value for r in attributes if r.attribute == "Bright"} == {0.0}


def test_command_line_fails_with_a_message_and_status_2(tmp_path, capsys):
    out = tmp_path / "d.csv"
    out.write_text("mine\n")
    arguments = ["--ckpt", "a", "--out", str(out)]
    main = lambda options: run(options, lambda source: FakeLoaded(TinyModel()))  # noqa: E731
    status = cli.run(main, DownstreamOptions, module="benchmarks.downstream", description=None, arguments=arguments)
    assert status == 2
    assert capsys.readouterr().err.startswith(f"{out}: expected a results file")
    assert out.read_text() == "mine\n"


def test_help_has_examples_and_every_option():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.downstream", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(downstream.__file__).parents[2],
    )
    assert done.returncode == 0
    assert "python -m benchmarks.downstream --limit 500" in done.stdout
    for field in dataclasses.fields(DownstreamOptions):
        assert f"--{field.name.replace('_', '-')}" in done.stdout
