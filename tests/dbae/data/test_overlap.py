"""A run that would write among its own images is refused before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_samples import picture, png, write_folder, write_lmdb, write_zip

from baselines import train as baselines_train
from dbae import reconstruct, train, train_prior
from dbae.data.overlap import require_apart
from dbae.support.errors import UserError

INSIDE = "expected a place outside of the data, found one inside of"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "photos", {"a.png": png(picture(0))})


@pytest.mark.parametrize("source", ["photos", "folder:photos", "photos?n=1", "folder:.", "celeba:photos", "./photos/"])
@pytest.mark.parametrize("out", ["photos", "photos/run", "photos/run/x.csv", "other/../photos/run", "link/run"])
def test_out_inside_of_the_data(photos: Path, source: str, out: str) -> None:
    Path("link").symlink_to(photos)
    with pytest.raises(UserError, match=INSIDE):
        require_apart(["faces:?n=2", source], out)


def test_out_elsewhere(photos: Path) -> None:
    archive = write_zip(photos / "x.zip", {"a.png": png(picture(0))})
    write_lmdb(photos / "y.lmdb", {"a": png(picture(0))})
    sources = ["photos", f"zip:{archive}", "lmdb:photos/y.lmdb", "faces", "faces:photos", "nowhere", "x:y", "lfw:\0"]
    require_apart(sources, "photos-run")
    require_apart(sources[1:], "photos/run")


def test_the_default_root_of_a_kind(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBAE_DATA", str(photos.parent))
    (photos.parent / "ffhq").mkdir()
    with pytest.raises(UserError, match=INSIDE):
        require_apart(["ffhq"], "ffhq/run")


@pytest.mark.parametrize("main", [train.main, baselines_train.main])
def test_training_is_refused(photos: Path, main, capsys: pytest.CaptureFixture[str]) -> None:
    method = ["--method", "ddim"] if main is baselines_train.main else []
    assert main([*method, "--data", "folder:photos", "--out", "photos/run", "--images", "8"]) == 2
    assert INSIDE in capsys.readouterr().err
    assert [path.name for path in photos.iterdir()] == ["a.png"]


def test_a_prior_is_refused(photos: Path) -> None:
    with pytest.raises(UserError, match=INSIDE):
        train_prior.train(train_prior.Args(data="folder:.", out=Path("run")))


@pytest.mark.parametrize("images", ["photos", "pho*", "folder:."])
def test_reconstructions_are_refused(photos: Path, images: str) -> None:
    with pytest.raises(UserError, match=INSIDE):
        reconstruct.run(reconstruct.Options(images=(images,), out=photos / "run"))
