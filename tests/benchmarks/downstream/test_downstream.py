from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import result_rows
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.downstream import command as downstream
from benchmarks.downstream.command import DownstreamOptions, run
from benchmarks.downstream.figure import draw_attributes, panels
from benchmarks.downstream.problems import Problem
from benchmarks.downstream.report import Table, format_table, leads_over_controls
from benchmarks.downstream.rows import line
from benchmarks.downstream.trial import run_paper, run_standard
from benchmarks.metrics.prediction import average_precision, pearson
from benchmarks.results import RecordFile, beside
from benchmarks.results.scores import read_scores
from dbae.support import cli
from dbae.support.errors import UserError

SEEDS = ("0", "1", "mean of 0 1")
QUALITY = ("train", "gradient", "rank", "attributes", "drawn")


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
def probes_seen(monkeypatch) -> list[tuple[int, int | None, int]]:
    """Numbers of training, validation and test images of every probe that a test runs."""
    seen: list[tuple[int, int | None, int]] = []

    def looking(run):
        def look(train, val, test, **kwargs):
            seen.append((len(train.latents), None if val is None else len(val.latents), len(test.latents)))
            return run(train, val, test, **kwargs)

        return look

    monkeypatch.setattr("benchmarks.downstream.trial.run_paper", looking(run_paper))
    monkeypatch.setattr("benchmarks.downstream.trial.run_standard", looking(run_standard))
    return seen


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
    expected |= {
        ("standard", m, "test", f"probe_{k}_{name}", s)
        for m in models
        for k in ("AP", "Pearson_r")
        for name in QUALITY
        for s in ("0", "1")
    }
    expected |= {(p, "prevalence", "test", k, "") for p in options.protocol for k in ("AP", "MSE")}
    assert {(r.protocol, r.model, r.split, r.metric, r.seed) for r in means} == expected
    assert len(means) == len(expected)
    assert {r.attribute for r in means} == {"mean"}
    assert {r.attribute for r in attributes if r.metric == "AP"} == {"Red", "Bright"}
    assert {r.attribute for r in attributes if r.metric == "MSE"} == {"green", "blue", "light"}
    assert {r.better for r in means if r.metric == "MSE"} == {"lower"}
    assert {r.better for r in means if r.metric in ("AP", "Pearson_r")} == {"higher"}
    assert {(r.weights == "control") == (r.model != "tiny") for r in means} == {True}
    assert {(r.protocol, r.z) for r in means if r.model == "tiny"} == {("paper", "sampled"), ("standard", "mean")}
    assert {r.z for r in means if r.model == "pca"} == {"mean"}
    assert all(r.n == 20 and r.dataset == "squares" and r.task_version == 2 and r.versions for r in means)


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
    row = {(r.protocol, r.model, r.split, r.metric, r.seed): r for r in means if not r.diagnostic}
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
    for name in ("run_paper", "run_standard"):
        monkeypatch.setattr(f"benchmarks.downstream.trial.{name}", None)
    monkeypatch.setenv("DBAE_CACHE", str(continued.out.parent / "no latents needed"))
    again, _, _ = measure(continued)
    for name in ("d.csv", "d_attributes.csv"):
        assert continued.out.with_name(name).read_bytes() == options.out.with_name(name).read_bytes()
    assert [format_table(t) for t in again] == [format_table(t) for t in tables]


def test_a_killed_run_continues_where_it_stopped(finished, options, monkeypatch):
    calls = []

    def dying(run):
        def dies(*args, **kwargs):
            calls.append(kwargs["seed"])
            if len(calls) == 8:
                raise KeyboardInterrupt
            return run(*args, **kwargs)

        return dies

    monkeypatch.setattr("benchmarks.downstream.trial.run_paper", dying(run_paper))
    monkeypatch.setattr("benchmarks.downstream.trial.run_standard", dying(run_standard))
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    _, means, _ = measure(options)
    assert len(calls) == 8 + 32 - 7  # 4 sources of latents x 2 protocols x 2 kinds x 2 seeds, of which 7 were done
    assert [(r.identity, r.value) for r in means] == [(r.identity, r.value) for r in finished[3]]


def test_force_measures_again(continued, monkeypatch):
    def refuse(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.downstream.trial.run_paper", refuse)
    measure(continued)
    with pytest.raises(KeyboardInterrupt):
        measure(dataclasses.replace(continued, force=True))


def test_probes_read_what_is_linear_in_the_pixels(options):
    chosen = dataclasses.replace(options, protocol=("standard",), seeds=(0,))
    (table,), _, _ = measure(chosen, dataset=Squares(1000))
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
    assert len(new) == 4 * (3 + 2 * len(QUALITY)) + 2
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
def test_a_data_set_without_validation_lends_part_of_its_training_images(options, groups, probes_seen):
    measure(dataclasses.replace(options, seeds=(0,)), dataset=Squares(val=False, groups=groups))
    carved = (52, 8, 20) if groups else (54, 6, 20)  # 60 training images; of 15 people with 4 images each, 2 are lent
    assert set(probes_seen) == {carved, (60, None, 20)}  # regression in protocol "paper" trains on all of them


def test_of_eight_training_images_two_choose(options, probes_seen):
    measure(dataclasses.replace(options, seeds=(0,), protocol=("standard",)), dataset=Squares(14, val=False))
    assert set(probes_seen) == {(6, 2, 3)}


def test_seeds_of_protocol_standard_divide_training_and_validation_images(options, probes_seen):
    chosen = dataclasses.replace(options, protocol=("standard",), seeds=(0, 1))
    _, means, _ = measure(chosen)
    assert set(probes_seen) == {(60, 20, 20)}
    ap = {r.seed: r.value for r in means if (r.model, r.metric) == ("tiny", "Pearson_r")}
    assert ap["0"] != ap["1"]
    drawn = {r.seed: r.value for r in means if (r.model, r.metric) == ("tiny", "probe_Pearson_r_drawn")}
    assert drawn == {"0": 0, "1": 1}


def test_table_and_figure_show_model_controls_and_lead(finished, tmp_path):
    tables = finished[2]
    text = format_table(tables[0])
    assert text.splitlines()[0].startswith("tiny abababab on squares, protocol paper, 20 test images, seeds 0 1")
    assert text.splitlines()[1].split()[:5] == ["tiny", "untrained", "pca", "random", "prevalence"]
    metrics = ["AP", "Pearson_r", "MSE", "Pearson_r test-selected", "MSE test-selected"]
    assert [line.split("  ")[0] for line in text.splitlines()[2:7]] == metrics
    assert "± standard error over seeds" in text.splitlines()[7]
    assert [line.split("  ")[0] for line in text.splitlines()[8:]] == ["difference [95 % interval]", *metrics]
    assert max(map(len, text.splitlines())) <= 120
    measured = tables[0].columns
    lead = (measured["tiny"]["AP", "test"] - measured["untrained"]["AP", "test"]).mean()
    assert re.split("  +", text.splitlines()[8])[1:] == ["to untrained", "to pca"]
    assert f"{lead:+.4f} [" in text.splitlines()[9]
    assert f"] over {tables[0].leads['untrained']['AP', 'test'].over}" in text.splitlines()[9]
    assert tables[0].leads["untrained"]["AP", "test"].over in ("images", "people")  # not over attributes


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
    with pytest.raises(UserError, match="expected 2 or more images in split val, found 1"):
        measure(options, dataset=Squares(6))


@pytest.mark.parametrize(("train", "told"), [(0.48, "lower by 0.0200"), (0.57, "higher by 0.0700")])
def test_the_log_words_a_difference_to_the_training_images_as_one(train, told):
    problem = Problem("classification", ("a",), np.zeros((4, 1), np.int8))
    mean = result_rows.row(value=0.5, seed="0", seconds=1.0)
    shown = line(problem, [], [mean, dataclasses.replace(mean, metric="probe_AP_train", value=train)])
    assert f"; AP {told} on training images, " in f"; {shown.partition(': ')[2]}"


def test_attributes_that_are_constant_are_named_and_left_out(options, caplog):
    squares = Squares()
    squares.attributes.binary[squares.splits["test"], 1] = 0
    squares.attributes.continuous[squares.splits["train"], 2] = 4
    tables, means, attributes = measure(dataclasses.replace(options, seeds=(0,)), dataset=squares)
    assert "constant in the 20 test images: Bright" in caplog.text
    assert "constant in the 60 training images: light" in caplog.text
    value = {(r.protocol, r.model, r.metric, r.attribute): r.value for r in [*means, *attributes] if r.split == "test"}
    assert value["paper", "tiny", "AP", "Bright"] == 0
    assert value["paper", "tiny", "AP", "mean"] == value["paper", "tiny", "AP", "Red"] / 2
    for model in ("tiny", "pca", "prevalence"):
        assert np.isnan(value["standard", model, "AP", "Bright"])
        assert np.isnan(value["standard", model, "MSE", "light"])
        assert value["standard", model, "AP", "mean"] == value["standard", model, "AP", "Red"]
        pair = [value["standard", model, "MSE", name] for name in ("green", "blue")]
        assert value["standard", model, "MSE", "mean"] == pytest.approx(np.mean(pair), abs=1e-15)
    assert value["standard", "tiny", "probe_AP_attributes", "mean"] == 1
    assert value["standard", "tiny", "probe_Pearson_r_attributes", "mean"] == 2
    assert f"{value['standard', 'tiny', 'AP', 'mean']:.4f}" in format_table(tables[1])
    assert draw_attributes(options.out).read_bytes().startswith(b"\x89PNG")


def test_nothing_changes_where_an_attribute_has_no_number(options):
    squares = Squares()
    squares.attributes.binary[:, 1] = 0
    options = dataclasses.replace(options, protocol=("standard",))
    measure(options, dataset=squares)
    before = {file.name: file.read_bytes() for file in options.out.parent.glob("d*.csv")}
    measure(options, dataset=squares)
    assert {file.name: file.read_bytes() for file in options.out.parent.glob("d*.csv")} == before


def test_rows_about_the_probe(finished):
    *_, means, _ = finished
    found = {r.metric: r for r in means if (r.protocol, r.model, r.seed) == ("standard", "tiny", "1") and r.diagnostic}
    assert set(found) == {f"probe_{m}_{name}" for m in ("AP", "Pearson_r") for name in QUALITY}
    assert {r.seed for r in means if r.diagnostic} == {"0", "1"}
    assert {r.protocol for r in means if r.diagnostic} == {"standard"}
    assert 0 <= found["probe_AP_gradient"].value <= 1e-7
    assert found["probe_AP_rank"].value == 4
    assert found["probe_AP_attributes"].value == 2
    assert found["probe_AP_train"].value > 0.5
    assert found["probe_AP_gradient"].better == "lower"
    assert found["probe_AP_train"].better == "higher"


def test_scores_of_images_give_the_means(finished):
    options, *_, means, _ = finished
    metrics = {"AP": average_precision, "Pearson_r": pearson}
    rows = [r for r in means if r.metric in metrics and r.model != "prevalence" and not r.seed.startswith("mean")]
    for row in rows:
        scores = read_scores(options.out, row)
        assert metrics[row.metric](scores.targets, scores.predictions).mean() == pytest.approx(row.value, abs=1e-3)
        np.testing.assert_array_equal(scores.indices, Squares().splits["test"])
        assert len(scores.names) == {"AP": 2, "Pearson_r": 3}[row.metric]
    assert {row.split for row in rows} == {"test", "test-selected"}
    assert len(list((options.out.parent / "d_images").iterdir())) == len(rows)


def test_rows_of_other_probes_never_mix_with_linear_ones(options):
    chosen = dataclasses.replace(options, seeds=(0,), probe=("linear", "mlp", "knn"))
    tables, means, _ = measure(chosen)
    names = ("paper", "standard", "standard-mlp", "standard-knn")
    assert {r.protocol for r in means} == set(names)
    assert [table.title.split(", ")[1] for table in tables] == [f"protocol {name}" for name in names]
    before = chosen.out.read_bytes()
    measure(chosen)
    assert chosen.out.read_bytes() == before
    with pytest.raises(UserError, match="--probe: protocol paper has linear probes"):
        measure(dataclasses.replace(chosen, protocol=("paper",)))


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


def test_the_figure_has_all_models_of_the_file_and_intervals_of_scores(options):
    options = dataclasses.replace(options, seeds=(0, 1), protocol=("standard",))
    measure(options)
    found = panels(options.out)
    assert {(key.dataset, key.protocol) for key in found} == {("squares", "standard")}
    ap, r = sorted(found)
    assert (ap.metric, r.metric) == ("AP", "Pearson_r")
    by_name = {model.model: attributes for model, attributes in found[ap].items()}
    assert set(by_name) == {"tiny", "untrained", "pca", "random", "prevalence"}
    for name in ("tiny", "pca"):
        for value, low, high in by_name[name].values():
            assert low <= value + 1e-3
            assert high >= value - 1e-3
    assert all(np.isnan(point.low) for point in by_name["prevalence"].values())


def test_the_figure_averages_no_two_data_sets_of_one_name_and_no_two_precisions(options):
    measure(dataclasses.replace(options, seeds=(0,), protocol=("standard",)))
    (key,) = (key for key in panels(options.out) if key.metric == "AP")
    file = RecordFile(beside(options.out, "_attributes.csv"))
    rows = [row for row in file.read() if row.model == "tiny" and row.metric == "AP" and row.split == "test"]
    before = panels(options.out)[key]
    file.add([dataclasses.replace(row, data_sha256="d" * 64, value=0.0) for row in rows])
    file.add([dataclasses.replace(row, precision="bf16", value=0.0) for row in rows])
    after = panels(options.out)
    assert after[key] == before
    assert after[key._replace(data_sha256="d" * 64)].keys() <= before.keys()
    assert len(after) == 3
    assert draw_attributes(options.out).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("attributes", [2, 8])
def test_lead_over_few_attributes_is_printed_without_an_interval(options, attributes):
    """Without the scores of images, attributes are what there is."""
    values = np.random.default_rng(0).uniform(0.4, 0.9, (2, attributes))
    measure(dataclasses.replace(options, seeds=(0,), protocol=("standard",)))
    row = next(r for r in RecordFile(options.out).read() if r.metric == "AP" and r.split == "test")
    path = options.out.with_name("few.csv")
    means, single = [], []
    for name, scores in zip(("mine", "untrained"), values, strict=True):
        one = dataclasses.replace(row, model=name, weights="trained" if name == "mine" else "untrained", stderr=0.1)
        means.append(dataclasses.replace(one, value=float(scores.mean())))
        single += [dataclasses.replace(one, attribute=f"a{i}", value=float(v)) for i, v in enumerate(scores)]
    RecordFile(path).add(means)
    RecordFile(path.with_name("few_attributes.csv")).add(single)
    leads = leads_over_controls({"mine": means[:1], "untrained": means[1:]}, "mine", path)
    columns = {name: {("AP", "test"): v[None]} for name, v in zip(("mine", "untrained"), values, strict=True)}
    names = {"AP": tuple(f"a{i}" for i in range(attributes))}
    lead = format_table(Table("title", names, columns, {"AP": np.ones(attributes, bool)}, leads)).splitlines()[-1]
    assert f"{(values[0] - values[1]).mean():+.4f}" in lead
    assert ("(no interval: fewer than 8 attributes" in lead) == (attributes < 8)
    assert ("[" in lead) == (attributes == 8)
