"""The disentanglement benchmark on coloured squares and microsecond encoders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import FakeLoaded, Squares, TinyModel

from benchmarks.disentanglement import study
from benchmarks.disentanglement.command import DISENTANGLEMENT, DisentanglementOptions, run, tc_weight
from benchmarks.disentanglement.factor_labels import factor_classes
from benchmarks.disentanglement.report import FDAE_IMAGES, draw_tradeoff, format_rows, published_scores
from benchmarks.disentanglement.study import SCORES
from benchmarks.disentanglement.study import DisentanglementStudy as Study
from benchmarks.metrics import disentanglement as tad
from benchmarks.metrics import factors as known
from benchmarks.results import Record, RecordFile
from benchmarks.results.noise import read_noise
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card
from dbae.data import Disks
from dbae.data.base import ImageDataset
from dbae.data.faces import Faces
from dbae.data.faces.attributes import FACTORS
from dbae.data.subset import Subset
from dbae.images import to_float
from dbae.noise import mixed_seed
from dbae.support.errors import UserError


@pytest.fixture(autouse=True)
def _few_votes_and_trees(monkeypatch):
    """The scores against factors themselves are tested with their metrics."""
    monkeypatch.setattr(known, "dci", lambda train, test: known.DCI(0.1, 0.2, float(len(test.z))))
    few = dict(train_votes=50, test_votes=50)
    score = known.factor_vae_score
    monkeypatch.setattr(known, "factor_vae_score", lambda fitted, held_out: score(fitted, held_out, **few))


@pytest.fixture
def options(tmp_path) -> DisentanglementOptions:
    return DisentanglementOptions(ckpt=("a",), data=("squares",), out=tmp_path / "d.csv", device="cpu", batch_size=32)


def measure(
    options: DisentanglementOptions, loaded: FakeLoaded | None = None, dataset: ImageDataset | None = None
) -> list[Record]:
    squares = Squares(n=200) if dataset is None else dataset
    return run(options, lambda source: loaded or FakeLoaded(TinyModel()), lambda source, size: squares)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[DisentanglementOptions, list[Record]]:
    """A run that is over. Its folder is not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    options = DisentanglementOptions(ckpt=("a",), data=("squares",), out=folder / "d.csv", device="cpu", batch_size=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(folder / "cache"))
        return options, measure(options)


def pick(rows, model="tiny", **cells) -> list[Record]:
    cells["model"] = model
    return [r for r in rows if all(getattr(r, name) == value for name, value in cells.items())]


def codes(model: TinyModel, dataset: ImageDataset, indices: np.ndarray) -> np.ndarray:
    return model.posterior(to_float(dataset.batch(indices)))[0].detach().double().numpy()


def test_standard_rows_are_the_metric_of_the_test_codes(finished):
    _, rows = finished
    squares = Squares(n=200)
    test = squares.split("test")
    z, y = codes(TinyModel(), squares, test), squares.attributes.binary[test]
    expected = dict(zip(("TAD", "ATTRS"), tad.bootstrap(z, y), strict=True))
    found = {r.metric: r for r in pick(rows, protocol="standard")}
    assert set(found) == {"TAD", "ATTRS", "TAD_low", "TAD_high", "ATTRS_low", "ATTRS_high"}
    for name, summary in expected.items():
        assert found[name].value == pytest.approx(summary.value, abs=1e-6)
        assert found[name].stderr == pytest.approx(summary.stderr, abs=1e-6)
        assert found[f"{name}_low"].value == pytest.approx(summary.low, abs=1e-6)
        assert found[f"{name}_high"].value == pytest.approx(summary.high, abs=1e-6)
    assert {(r.n, r.split, r.z, r.better) for r in found.values()} == {(40, "test", "mean", "higher")}


def test_paper_rows_are_the_sweep_of_draws_from_all_splits(options, monkeypatch):
    monkeypatch.setattr(study, "PAPER_IMAGES", 100)
    rows = pick(measure(dataclasses.replace(options, protocol=("paper",))), protocol="paper")
    squares = Squares(n=200)
    z = codes(TinyModel(), squares, np.arange(200))
    y = squares.attributes.binary
    draws = [tad.tad(z[drawn], y[drawn], auroc="sweep") for drawn in tad.paper_rows(200, size=100)]
    found = {r.metric: r for r in rows}
    for name, summary in zip(("TAD", "ATTRS"), tad.summaries(draws), strict=True):
        assert found[name].value == pytest.approx(summary.value, abs=1e-6)
        assert found[name].stderr == pytest.approx(summary.stderr, abs=1e-6)
        assert found[name].n == 100


def test_fewer_images_than_a_draw_have_no_spread(finished):
    rows = pick(finished[1], protocol="paper")
    assert {r.stderr for r in rows} == {None}
    assert {r.n for r in rows} == {200}


def test_infodiffusion_rows_are_folds_of_mirrored_training_images(options):
    model = TinyModel(stochastic=False)
    rows = measure(dataclasses.replace(options, protocol=("infodiffusion",)), FakeLoaded(model))
    squares = Squares(n=200)
    train = squares.split("train")
    flips = np.random.default_rng([mixed_seed(0, "disentanglement"), 0]).integers(0, 2, (len(train),)) == 1
    images = to_float(squares.batch(train))
    images[torch.from_numpy(flips)] = images[torch.from_numpy(flips)].flip(3)
    z = model.posterior(images)[0].detach().double().numpy()
    expected = tad.summaries(tad.infodiffusion_folds(z, squares.attributes.binary[train]))
    found = {r.metric: r for r in pick(rows, protocol="infodiffusion")}
    for name, summary in zip(("TAD", "ATTRS"), expected, strict=True):
        assert found[name].value == pytest.approx(summary.value, abs=1e-6)
        assert found[name].n == 96


def test_attributes_add_up_to_the_row(finished):
    options, rows = finished
    single = RecordFile(options.out.with_name("d_attributes.csv")).read()
    for metric in ("TAD", "ATTRS"):
        for row in rows:
            if row.metric == metric:
                same = [r for r in single if (r.model, r.protocol, r.metric) == (row.model, row.protocol, metric)]
                assert len(same) == 2
                assert sum(r.value for r in same) == pytest.approx(row.value, abs=1e-12)


def test_draws_of_the_posterior_have_rows_of_their_own(options):
    rows = measure(dataclasses.replace(options, z=("mean", "sampled"), protocol=("paper", "standard")))
    paper, standard = (pick(rows, protocol=p, metric="TAD") for p in ("paper", "standard"))
    assert [r.z for r in paper] == ["mean", "sampled"]
    assert paper[0].value != paper[1].value
    assert [r.z for r in standard] == ["mean"]


def test_values_do_not_depend_on_the_batch_size(options, tmp_path):
    many = measure(options, FakeLoaded(Axes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(tmp_path / "other"))
        one = measure(dataclasses.replace(options, batch_size=1, out=tmp_path / "one.csv"), FakeLoaded(Axes()))
    assert [r.identity for r in one] == [r.identity for r in many]
    for a, b in zip(many, one, strict=True):
        # The sweep's last threshold is above or below the largest code by rounding, and a matrix product rounds
        # otherwise in another batch; `Axes` has none.
        if a.protocol != "paper" or a.model == "tiny":
            assert b.value == pytest.approx(a.value, abs=1e-6)


def test_a_finished_run_is_read_back_and_leaves_its_files_as_they_were(finished, monkeypatch):
    options, first = finished
    before = [p.read_bytes() for p in sorted(options.out.parent.glob("*.csv"))]
    monkeypatch.setattr(Study, "_measure", lambda *_: pytest.fail("measured again"))
    again = measure(options)
    assert [(r.identity, r.value, r.stderr) for r in again] == [(r.identity, r.value, r.stderr) for r in first]
    assert [p.read_bytes() for p in sorted(options.out.parent.glob("*.csv"))] == before


def test_a_killed_run_continues(options, monkeypatch):
    options = dataclasses.replace(options, protocol=("infodiffusion",))
    calls = []
    measured = Study._measure

    def counted(self, subject, protocol, z):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((subject.model, protocol))
        return measured(self, subject, protocol, z)

    monkeypatch.setattr(Study, "_measure", counted)
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    first, calls[:] = list(calls), []
    monkeypatch.setattr(
        Study,
        "_measure",
        lambda *a: (calls.append((a[1].model, a[2])), measured(*a))[1],
    )
    measure(options)
    assert not set(first) & set(calls)
    assert len(first) + len(calls) == 4


class Axes(TinyModel):
    """z = the mean colour of each half of the image: one attribute of `Squares` a dimension."""

    def __init__(self) -> None:
        super().__init__(latent_dim=6, stochastic=False)

    def posterior(self, x):
        left, right = x[..., : x.shape[3] // 2].mean((2, 3)), x[..., x.shape[3] // 2 :].mean((2, 3))
        return torch.cat([left, right * torch.tensor([1.0, 0.0, 0.0])], dim=1), None


def test_disentangled_codes_beat_entangled_ones(finished, options):
    straight, (_, mixed) = measure(options, FakeLoaded(Axes())), finished
    for protocol in ("paper", "standard"):  # infodiffusion mirrors the images, which swaps these two halves
        values = [pick(rows, protocol=protocol, metric="TAD")[0].value for rows in (straight, mixed)]
        assert values[0] > values[1] + 0.1
    assert pick(straight, protocol="standard", metric="ATTRS")[0].value == 2
    assert pick(straight, model="random", protocol="standard", metric="ATTRS")[0].value == 0


def test_factors_named_by_the_user_are_scored(options):
    wanted = dataclasses.replace(
        options, factors=("Red", "green", "light"), factor_images=40, protocol=("infodiffusion",)
    )
    protocol = "factors (Red green light)"
    found = {r.metric: r for r in pick(measure(wanted, FakeLoaded(Axes())), protocol=protocol)}
    assert set(found) == set(SCORES)
    assert {r.n for r in found.values()} == {40}
    assert found["DCI_informativeness"].value == 40  # the stand-in says how many test codes it was given
    assert found["MIG"].value > 0.3
    noise = {r.metric: r for r in pick(measure(wanted, FakeLoaded(Axes())), model="random", protocol=protocol)}
    assert found["MIG"].value > 2 * noise["MIG"].value


def test_scores_against_other_factors_are_other_rows(options, capsys):
    disks = Disks(200, 8)
    wanted = dataclasses.replace(options, factor_images=40)
    one, two = (dataclasses.replace(wanted, factors=names) for names in (disks.factors[1::-1], disks.factors[:1]))
    both = [measure(o, dataset=disks) for o in (wanted, one, two)]
    named = sorted(disks.factors[:2])
    assert [{r.protocol for r in rows} for rows in both] == [
        {"factors"}, {f"factors ({' '.join(named)})"}, {f"factors ({disks.factors[0]})"},
    ]  # fmt: skip
    again = dataclasses.replace(wanted, factors=disks.factors[::-1])
    assert {r.protocol for r in measure(again, dataset=disks)} == {"factors"}  # the data set's own, in any order
    printed = format_rows([row for rows in both for row in rows])
    assert "  ".join(["model", "data", "factors", "n"]).split() == printed.split()[:4]
    assert " ".join(named) in printed


def test_no_factors_no_rows_and_an_unknown_factor_is_refused(finished, options):
    assert not [r for r in finished[1] if r.protocol == "factors"]
    with pytest.raises(UserError, match="--factors size"):
        measure(dataclasses.replace(options, factors=("size",)))


def test_factors_are_enough_where_no_label_is_binary(options, capsys):
    disks = Disks(200, 8)
    rows = measure(dataclasses.replace(options, factor_images=40), dataset=disks)
    assert {(r.protocol, r.split, r.n) for r in rows} == {("factors", "test", 40)}
    assert {r.metric for r in pick(rows)} == {r.metric for r in pick(rows, model="pca")} == set(SCORES)
    DISENTANGLEMENT.report(options, rows)
    printed = capsys.readouterr().out
    assert printed.split()[:4] == ["model", "data", "n", "MIG"]
    assert "TAD" not in printed
    disks.factors = ()
    with pytest.raises(UserError, match="binary attributes or known factors"):
        measure(dataclasses.replace(options, force=True), dataset=disks)


def test_the_published_protocol_is_of_principal_components_and_stands_beside_what_was_published(options):
    disks = Disks(200, 8)
    wanted = dataclasses.replace(options, factor_images=40, factor_protocol=("standard", "fdae"))
    rows = measure(wanted, dataset=disks)
    found = {r.metric: r for r in pick(rows, protocol="factors-fdae")}
    assert set(found) == set(study.FDAE_SCORES)
    assert len(pick(rows, protocol="factors")) == len(SCORES)
    assert "FactorVAE of 36 components" in format_rows(rows)
    assert published_scores(rows) == []  # of other data, and of fewer images
    whole = [dataclasses.replace(r, dataset="cars3d", n=FDAE_IMAGES) for r in rows]
    assert published_scores([r for r in whole if r.protocol == "factors"]) == []
    table = published_scores(whole)
    assert table == [
        ["FDAE, published", "Cars3D", "10000", "0.418 ± 0.036", "0.918 ± 0.027"],
        ["DiffAE, published", "Cars3D", "10000", "0.307", "0.959"],
    ]
    assert format_rows(whole, published=table).splitlines()[-1].split()[-1] == "0.959"


def test_classes_that_a_data_set_knows_are_taken_as_they_are():
    squares = Squares(n=200)
    squares.factors, squares.classes = ("angle", "side"), np.stack([np.arange(200) % 40, np.arange(200) % 2], axis=1)
    np.testing.assert_array_equal(factor_classes(squares), squares.classes)
    np.testing.assert_array_equal(factor_classes(squares, ("angle",)), squares.classes[:, :1])
    np.testing.assert_array_equal(factor_classes(Subset(squares, np.array([7, 50]))), [[7, 1], [10, 0]])
    named = factor_classes(squares, ("side", "light"))
    np.testing.assert_array_equal(named[:, 0], squares.classes[:, 1])
    assert len(np.unique(named[:, 1])) == 5  # a continuous label is cut


def test_faces_name_factors_that_are_independent():
    faces = Faces(4000, 8)
    labels = dict(zip(faces.attributes.binary_names, faces.attributes.binary.T, strict=True))
    labels |= dict(zip(faces.attributes.continuous_names, faces.attributes.continuous.T, strict=True))
    values = np.stack([labels[name] for name in FACTORS])
    correlation = np.corrcoef(values) - np.eye(len(FACTORS))
    assert faces.factors == Subset(faces, np.arange(10)).factors == FACTORS
    assert abs(correlation).max() < 0.07  # four standard errors of 4000 images
    everything = np.corrcoef(np.stack(list(labels.values())))
    assert (abs(everything) > 0.07).sum() > 400  # as a control: most others are not


def test_limit_takes_the_first_of_every_split(options):
    rows = measure(dataclasses.replace(options, limit=20))
    assert {r.n for r in pick(rows, metric="TAD")} == {60, 16, 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"limit": 2}, "--limit 2"), ({"factor_images": 1}, "--factor-images 1"), ({"batch_size": 0}, "--batch-size")],
)
def test_impossible_options_are_refused(options, change, message):
    with pytest.raises(UserError, match=message):
        measure(dataclasses.replace(options, **change))


def test_unlabelled_data_and_a_missing_generation_file_are_refused(options, tmp_path):
    squares = Squares()
    squares.attributes = None
    with pytest.raises(UserError, match="binary attributes"):
        measure(options, dataset=squares)
    with pytest.raises(UserError, match="--generation"):
        measure(dataclasses.replace(options, generation=(tmp_path / "none.csv",)))


def regularised(folder: Path, weight: float) -> FakeLoaded:
    """A model with a checkpoint of this package whose card has the weight."""
    card = Card("tiny", "tiny", {}, images_seen=1, objective={"tc_weight": weight} if weight else {})
    path = folder / f"{weight:g}.safetensors"
    checkpoint.save(path, card, ema={"w": torch.zeros(1)})
    return FakeLoaded(TinyModel(seed=int(weight) + 1), sha256=f"{int(weight):02d}" * 32, path=path)


def fid(sha: str, value: float) -> Record:
    cells = dict(task="generation", protocol="standard", task_version=1, model="m", dataset="squares", split="all")
    return Record(
        **cells, metric="FID", value=value, better="lower", n=10, weights="trained", checkpoint_sha256=sha,
        data_sha256="0", sampler="ddbm_euler", nfe=10,
    )  # fmt: skip


def test_weights_of_several_checkpoints_make_the_curve(options, tmp_path):
    options = dataclasses.replace(options, protocol=("infodiffusion",))
    rows = [r for weight in (0.0, 2.0, 10.0) for r in measure(options, regularised(tmp_path, weight))]
    assert [r.value for r in rows if r.metric == "TC_weight"] == [0, 2, 10]
    fids = [fid(f"{w:02d}" * 32, 20.0 + w) for w in (0, 2, 10)] + [fid("ff" * 32, 1.0)]
    stored = RecordFile(options.out).read()
    assert draw_tradeoff(stored, fids, tmp_path / "tc.png")
    assert (tmp_path / "tc.png").read_bytes()[:4] == b"\x89PNG"
    table = format_rows(rows, fids)
    assert "30.00" in table
    assert "1.00\n" not in table  # another checkpoint's


def test_only_models_that_were_trained_alike_make_a_curve(options, tmp_path):
    options = dataclasses.replace(options, protocol=("infodiffusion",))
    rows = [r for weight in (0.0, 2.0) for r in measure(options, regularised(tmp_path, weight))]
    first = next(r.checkpoint_sha256 for r in rows if r.metric == "TC_weight")
    longer = [dataclasses.replace(r, train_data="for longer") if r.checkpoint_sha256 == first else r for r in rows]
    assert draw_tradeoff(rows, [], tmp_path / "tc.png")
    assert not draw_tradeoff(longer, [], tmp_path / "other.png")


def test_no_weight_no_curve(options, tmp_path):
    assert tc_weight(FakeLoaded(TinyModel(), path=None)) is None
    assert tc_weight(FakeLoaded(TinyModel(), path=Path("ema_0.9999_1020000.pt"))) is None
    options = dataclasses.replace(options, protocol=("infodiffusion",))
    rows = measure(options, regularised(tmp_path, 2.0))  # one weight is no curve
    assert not draw_tradeoff(rows, [], tmp_path / "tc.png")
    assert not (tmp_path / "tc.png").exists()


def test_table_has_a_line_for_every_model_and_protocol(finished):
    lines = format_rows(finished[1]).splitlines()
    assert len(lines) == 1 + 4 * 3 + 1
    assert lines[-1].startswith("(± standard error over draws or folds")
    assert lines[0].split()[:4] == ["model", "data", "protocol", "z"]


def test_an_interval_of_an_older_file_is_printed_so_that_it_holds_the_number(finished):
    values = {"ATTRS": 1.0, "ATTRS_low": 2.0, "ATTRS_high": 3.0}
    rows = [dataclasses.replace(r, value=values.get(r.metric, r.value)) for r in pick(finished[1], protocol="standard")]
    assert "[1.000, 3.000]" in format_rows(rows)


def test_controls_of_two_models_are_told_apart(finished):
    rows = [r for r in finished[1] if r.metric in ("TAD", "ATTRS")]
    other = {"tiny": {"model": "other", "method": "Other", "checkpoint_sha256": "cd" * 32}}
    other["untrained"] = {"method": "Other", "checkpoint_sha256": "ef" * 32}
    other |= {"pca": {"latent_dim": 64}, "random": {"latent_dim": 64}}
    both = [*rows, *(dataclasses.replace(r, **other[r.model]) for r in rows)]
    lines = format_rows(both).splitlines()[1:-1]
    names = {line.partition("  ")[0] for line in lines}
    assert len(names) == 8
    assert {"tiny", "other", "pca z of 4", "pca z of 64"} < names
    assert len(lines) == 8 * 3


def test_resamples_of_the_standard_protocol_lie_beside_the_rows(finished):
    options, rows = finished
    for metric in ("TAD", "ATTRS"):
        found = {
            r.model: (r, read_noise(options.out, r)) for r in rows if (r.metric, r.protocol) == (metric, "standard")
        }
        assert len(found) > 2
        for row, noise in found.values():
            assert noise is not None
            assert noise.error == pytest.approx(row.stderr)
            assert noise.whole == (metric == "ATTRS")
            assert noise.units == row.n
        assert len({noise.scheme for _, noise in found.values()}) == 1  # the same resamples of the same images
    assert {read_noise(options.out, r) for r in rows if r.protocol == "paper"} == {None}


def test_ends_of_attrs_are_whole_numbers(finished):
    assert all(r.value == round(r.value) for r in finished[1] if r.metric in ("ATTRS_low", "ATTRS_high"))
