"""The trajectories benchmark on sequences whose paths are known, and microsecond encoders."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from image_samples import png, write_folder, write_zip
from stand_ins import FakeLoaded, Squares, TinyModel

import benchmarks.trajectories
from benchmarks import compare
from benchmarks.results import RecordFile
from benchmarks.results.evidence import evidence, forget
from benchmarks.trajectories import study
from benchmarks.trajectories.command import TRAJECTORIES, TrajectoriesOptions, drawn, run
from benchmarks.trajectories.drawn import MOVING, DrawnSequences
from benchmarks.trajectories.report import format_rows, panels_of
from benchmarks.trajectories.sequences import sequences_of
from dbae.data import Faces, Subset, disks, open_data
from dbae.data.base import ImageDataset
from dbae.support.errors import UserError


class Grey(ImageDataset):
    """Plain images of the given values in [0, 255], and the sequence of each."""

    name, size = "grey", 8

    def __init__(self, colours: np.ndarray, groups: np.ndarray) -> None:
        self.colours, self.groups = colours, groups
        self.splits = {"all": np.arange(len(groups))}

    def __len__(self) -> int:
        return len(self.groups)

    def image(self, index: int) -> np.ndarray:
        return np.broadcast_to(self.colours[index], (8, 8, 3)).astype(np.uint8)

    @property
    def fingerprint(self) -> str:
        return f"{hash(self.colours.tobytes()):x}"


def lines(sequences: int = 9, frames: int = 5) -> Grey:
    """Colours that move along straight lines."""
    rng = np.random.default_rng(0)
    start, step = rng.integers(50, 120, (sequences, 1, 3)), rng.integers(1, 20, (sequences, 1, 3))
    return Grey((start + step * np.arange(frames)[:, None]).reshape(-1, 3), np.repeat(np.arange(sequences), frames))


@pytest.fixture
def options(tmp_path) -> TrajectoriesOptions:
    return TrajectoriesOptions(
        ckpt=("a",), data=("faces", "disks"), out=tmp_path / "t.csv", sequences=8, frames=5, device="cpu"
    )


def measure(options, loaded=None, dataset=None):
    found = run(options, lambda source: loaded or FakeLoaded(TinyModel()), lambda source, size: dataset)
    return [row for measured in found for row in measured.rows]


def value(rows, metric="straightness", **cells):
    (row,) = [r for r in rows if r.metric == metric and all(getattr(r, k) == v for k, v in cells.items())]
    return row.value


def test_a_straight_line_of_codes_has_1_and_chance_has_minus_one_half(options):
    rows = measure(dataclasses.replace(options, data=("grey",)), dataset=lines())
    for model in ("tiny", "untrained", "pixels"):  # linear in the pixels, all of them
        assert value(rows, model=model) == pytest.approx(1, abs=1e-5)
        assert value(rows, "curvature", model=model) == pytest.approx(0, abs=0.3)
    assert value(rows, model="random") < -0.2
    assert {(r.n, r.split, r.dataset) for r in rows} == {(9, "all", "grey")}
    assert {r.better for r in rows if r.metric.startswith("curvature")} == {"lower"}


def test_a_random_walk_has_about_0(tmp_path):
    z = np.random.default_rng(0).standard_normal((900, 64)).cumsum(axis=0)
    walks = Grey(np.zeros((900, 3)), np.repeat(np.arange(30), 30))
    found = benchmarks.trajectories.measure(z, data=walks, out=tmp_path / "t.csv", device="cpu")
    found = found.set_index(["model", "metric"]).value
    assert found["z", "straightness"] == pytest.approx(0, abs=0.03)
    assert found["z", "straightness_low"] < found["z", "straightness"] < found["z", "straightness_high"]
    assert found["z", "curvature"] == pytest.approx(90, abs=2)
    assert "pixels" not in found  # nobody looks at an image


def test_drawn_rows(options):
    rows = measure(options)
    assert {r.model for r in rows} == {"tiny", "untrained", "pca", "random", "pixels", "factors"}
    assert {r.dataset for r in rows} == {"faces-v1, open paths of 5 frames", "disks-v1, open paths of 5 frames"}
    for name in ("faces-v1", "disks-v1"):
        mine = [r for r in rows if r.dataset.startswith(name)]
        assert value(mine, model="factors") == pytest.approx(1, abs=1e-6)
        assert value(mine, model="pixels") < 0.99
        low, middle, high = (value(mine, f"straightness{end}", model="pixels") for end in ("_low", "", "_high"))
        assert low < middle < high
    closed = measure(dataclasses.replace(options, path="closed", frames=12, data=("disks",)))
    assert 0.5 < value(closed, model="factors") < 0.99
    assert value(closed, model="random") == pytest.approx(-0.5, abs=0.2)


def test_the_row_is_the_mean_over_sequences_in_their_order(options):
    model = TinyModel()
    rows = measure(dataclasses.replace(options, data=("disks",)), FakeLoaded(model))
    sequences = DrawnSequences("disks", 8, sequences=8, frames=5, shape="open")
    straight = []
    for i in range(8):
        x = sequences.batch(range(5 * i, 5 * i + 5)).float() / 127.5 - 1
        steps = torch.diff(model.posterior(x)[0].detach().double(), dim=0)
        straight.append(torch.cosine_similarity(steps[:-1], steps[1:]).mean().item())
    assert value(rows, model="tiny") == pytest.approx(np.mean(straight), abs=1e-4)
    (row,) = [r for r in rows if (r.model, r.metric) == ("tiny", "straightness")]
    assert row.stderr == pytest.approx(np.std(straight, ddof=1) / np.sqrt(8), abs=1e-4)


def test_a_finished_run_is_read_back_and_its_sequences_are_paired(options, monkeypatch, capsys):
    first = measure(options)
    monkeypatch.setattr(study.TrajectoryStudy, "_measure", lambda *_: pytest.fail("measured again"))
    assert [(r.identity, r.value) for r in measure(options)] == [(r.identity, r.value) for r in first]
    forget()
    stored = RecordFile(options.out).read()
    assert len(stored) == len(first)
    for row in stored:
        if row.metric in study.BETTER:
            known = evidence(row, options.out).images
            assert known is not None
            assert known.values.mean() == pytest.approx(row.value)
    compare.main(compare.Options(files=(str(options.out),), baseline="untrained", models=("tiny",)))
    printed = capsys.readouterr().out
    assert "4 numbers compared" in printed  # straightness and curvature of faces and of disks
    assert "no verdict" not in printed


def test_table_and_figure(options, capsys):
    found = run(options, lambda source: FakeLoaded(TinyModel()), lambda source, size: None)
    files = TRAJECTORIES.report(options, found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:3] == ["model", "data", "n"]
    assert len(printed) == 1 + 2 * 6 + 1
    assert "1.000 [1.000, 1.000]" in printed[6]
    assert printed[-1].startswith("(means over n sequences with 95 % intervals over sequences; of the same frames")
    assert all(path.exists() for path in files)
    assert files[1].read_bytes()[:4] == b"\x89PNG"


class Other(TinyModel):
    """Of another method; its encoder as initialised is another too."""


def test_controls_of_two_models_are_told_apart_and_shared_ones_drawn_once(options):
    other = FakeLoaded(Other(seed=2), name="other", method="Other", sha256="cd" * 32)
    object.__setattr__(other, "untrained", lambda seed: TinyModel(seed=7))
    found = run(
        dataclasses.replace(options, ckpt=("a", "b"), data=("disks",)),
        lambda source: FakeLoaded(TinyModel()) if source == "a" else other,
        lambda source, size: None,
    )
    table = format_rows([row for measured in found for row in measured.rows]).splitlines()
    names = [line.partition("  ")[0] for line in table[1:-1]]
    assert len(set(names)) == len(names) == 8
    assert [name[:14] for name in names if name.startswith("untrained")] == ["untrained Tiny", "untrained Othe"]
    assert len(found) == 12
    (panels,) = panels_of([measured.panel for measured in found]).values()
    assert sorted(panel.row.model for panel in panels) == sorted(names)


def test_paths_in_a_plane_keep_their_shape():
    rng = np.random.default_rng(0)
    flat = [rng.standard_normal((6, 2)) for _ in range(3)]
    turn, _ = np.linalg.qr(rng.standard_normal((9, 9)))
    for one, shown in zip(flat, study.in_plane([one @ turn[:2] + i for i, one in enumerate(flat)]), strict=True):
        apart = np.linalg.norm(one[:, None] - one[None], axis=2)
        np.testing.assert_allclose(np.linalg.norm(shown[:, None] - shown[None], axis=2), apart, atol=1e-12)
    (line,) = study.in_plane([np.arange(4.0)[:, None]])
    np.testing.assert_allclose(np.abs(line), [[1.5, 0], [0.5, 0], [0.5, 0], [1.5, 0]])


@pytest.mark.parametrize("kind", ["faces", "disks"])
@pytest.mark.parametrize("shape", ["open", "closed"])
def test_drawn_sequences(kind, shape):
    data = DrawnSequences(kind, 16, sequences=3, frames=7, shape=shape)
    assert len(data) == 2 * 3 * 7
    batch = data.batch([20, 0]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(batch[0], data.image(20))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).image(20), batch[0])
    labels = data.attributes.continuous.reshape(6, 7, -1)
    steps = np.diff(labels, axis=1)
    if shape == "open":
        np.testing.assert_allclose(steps, steps[:, :1].repeat(6, axis=1), atol=1e-12)
        longer = DrawnSequences(kind, 16, sequences=3, frames=13, shape=shape)
        np.testing.assert_allclose(longer.attributes.continuous.reshape(6, 13, -1)[:, ::2], labels, atol=1e-12)
    else:
        back = labels[:, 0] - labels[:, -1]
        assert np.linalg.norm(back, axis=1) == pytest.approx(np.linalg.norm(steps, axis=2).mean(axis=1), rel=0.8)
        np.testing.assert_allclose(labels.mean(axis=1), (labels.max(axis=1) + labels.min(axis=1)) / 2, atol=0.35)
    assert not set(data.split("train")) & set(data.split("test"))
    others = [dict(seed=1), dict(frames=8), dict(sequences=4), dict(shape="closed" if shape == "open" else "open")]
    same = dict(sequences=3, frames=7, shape=shape)
    prints = {DrawnSequences(kind, 16, **(same | other)).fingerprint for other in [*others, {}]}
    assert len(prints) == 5


def test_disks_stay_within_their_ranges_and_faces_move_what_is_no_part_of_the_person():
    data = DrawnSequences("disks", 8, sequences=50, frames=9, shape="closed")
    values = data._values(np.arange(len(data)))
    low, high = np.array(list(disks.RANGES.values())).T
    assert (values >= low).all()
    assert (values <= high).all()
    assert set(MOVING) <= set(Faces(1, 8).factors)
    faces = DrawnSequences("faces", 32, sequences=20, frames=5, shape="open")
    frames = faces.batch(range(100)).float().unflatten(0, (20, 5))
    within = (frames[:, 1:] - frames[:, :-1]).abs().mean()
    between = (frames[1:, 0] - frames[:-1, 0]).abs().mean()
    assert 0 < within < between / 3  # the same person, moving


def members(*paths: str) -> dict[str, bytes]:
    return {name: png(np.full((8, 8, 3), i, np.uint8)) for i, name in enumerate(paths)}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_videos_are_sub_folders_with_frames_in_natural_order(tmp_path, kind, caplog):
    names = ["b/f10.png", "b/f2.png", "b/f1.png", "a/x/3.png", "a/x/20.png", "a/x/100.png", "a/x/4.png", "short/1.png"]
    files = members(*names)
    path = write_folder(tmp_path / "v", files) if kind == "folder" else write_zip(tmp_path / "v.zip", files)
    dataset = open_data(f"{kind}:{path}", size=8)
    found = sequences_of(dataset)
    assert list(found.names) == ["a/x", "b"]
    shown = [[int(dataset.image(int(i))[0, 0, 0]) for i in part] for part in found.frames]
    assert [[names[i] for i in part] for part in shown] == [
        ["a/x/3.png", "a/x/4.png", "a/x/20.png", "a/x/100.png"],
        ["b/f1.png", "b/f2.png", "b/f10.png"],
    ]
    assert "sequences of fewer than 3 frames are left out: 1" in caplog.text


def test_a_folder_of_frames_is_one_sequence(tmp_path):
    found = sequences_of(open_data(f"folder:{write_folder(tmp_path / 'v', members('1.png', '2.png', '10.png'))}"))
    assert [len(part) for part in found.frames] == [3]


def test_rows_of_a_folder(tmp_path, options):
    names = [f"{video}/{frame}.png" for video in range(3) for frame in range(4)]
    path = write_folder(tmp_path / "v", members(*names))
    dataset = open_data(f"folder:{path}", size=8)
    rows = measure(dataclasses.replace(options, data=(f"folder:{path}",)), dataset=dataset)
    assert value(rows, model="pixels") == pytest.approx(1)
    assert {r.metric for r in rows} == {"straightness", "curvature"}  # three sequences have no interval
    assert "over sequences" not in format_rows(rows)
    assert "fewer than 8 have no interval" in format_rows(rows)
    assert "factors" not in {r.model for r in rows}


def test_what_stands_still_is_said(options, caplog):
    dataset = lines()
    dataset.colours[:5] = 7
    rows = measure(dataclasses.replace(options, data=("grey",)), dataset=dataset)
    assert np.isnan(value(rows, model="pixels"))
    assert "standing still in 1 of 9 sequences, the first sequence 0" in caplog.text
    assert value(rows, model="random") < 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a/1.png", "a/2.png", "a/3.png", "0.png"), r"found 0\.png outside of one"),
        (("a/1.png", "b/2.png"), "a sequence of 3 frames or more, found none"),
    ],
)
def test_folders_that_are_no_videos(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        sequences_of(open_data(f"folder:{write_folder(tmp_path / 'v', members(*names))}"))


def test_a_sequence_is_whole_or_not_there(tmp_path):
    names = [f"{video}/{frame}.png" for video in range(3) for frame in range(4)]
    folder = write_folder(tmp_path / "v", members(*names))
    assert [len(part) for part in sequences_of(open_data(f"folder:{folder}?n=8")).frames] == [4, 4]
    with pytest.raises(UserError, match="expected all frames of a sequence or none, found 2 of the 4 of 2 in all"):
        sequences_of(open_data(f"folder:{folder}?n=10"))
    with pytest.raises(UserError, match=r"found [123] of the 4 of [012] in test"):
        sequences_of(open_data(f"folder:{folder}?split=train:0.6,test:0.4&seed=0"))
    with pytest.raises(UserError, match="found 3 of the 5 of sequence 0 in all"):
        sequences_of(Subset(lines(), np.arange(3)))


def test_an_own_data_set_called_faces_is_not_drawn_anew(options):
    data = lines(sequences=4)
    data.name = "faces"
    found = benchmarks.trajectories.measure(TinyModel(), data=data, out=options.out, device="cpu")
    assert set(found.n) == {4}


def test_data_without_sequences_and_options_that_cannot_be(options):
    with pytest.raises(UserError, match="nothing that says which images follow one another"):
        sequences_of(Squares())
    for source in ("faces:?n=10", "disks:?split=test", "faces:folder"):
        with pytest.raises(UserError, match="Write --sequences and --frames"):
            drawn(source, 8, options)
    for name, few in (("frames", 2), ("sequences", 0)):
        with pytest.raises(UserError, match=f"--{name} {few}: expected"):
            measure(dataclasses.replace(options, **{name: few}))
    assert drawn("disks:?seed=4&size=16", 8, options).size == 16
    assert drawn("folder:disks", 8, options) is None
