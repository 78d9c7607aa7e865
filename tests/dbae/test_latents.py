from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_samples import celeba_members, edited, picture, png, write_zip
from stand_ins import Squares, TinyModel

from dbae.data import ImageDataset, InMemory, Subset
from dbae.data.files import open_zip
from dbae.images import to_float
from dbae.latents import Encoder, LatentCache, Latents, default_folder
from dbae.support.distributed import World
from dbae.support.errors import UserError
from dbae.support.rowfile import SEAL

CPU = torch.device("cpu")


@pytest.fixture
def squares() -> Squares:
    return Squares()


def cache(tmp_path, **changes) -> LatentCache:
    return LatentCache(tmp_path / "latents", CPU, **({"batch_size": 16} | changes))


def encoder(model: TinyModel, key: str = "k") -> Encoder:
    return Encoder(model.posterior, key, model.name)


@pytest.mark.parametrize("stochastic", [True, False])
def test_latents_are_the_posterior_plain_and_mirrored(tmp_path, squares, stochastic):
    model = TinyModel(stochastic=stochastic)
    indices = np.array([3, 4, 50, 7])
    found = cache(tmp_path).get(encoder(model), squares, indices, mirrored=True)
    x = to_float(squares.batch(indices))
    assert found.array.shape == (4, 2, 2 if stochastic else 1, 4)
    assert found.stochastic == stochastic
    for view, images in enumerate((x, x.flip(3))):
        for statistic, expected in enumerate(model.posterior(images)[: found.array.shape[2]]):
            np.testing.assert_allclose(found.array[:, view, statistic], expected.detach().numpy(), atol=1e-6)


def test_the_second_time_no_encoder_and_no_image_is_touched(tmp_path, squares):
    model = TinyModel()
    indices = squares.splits["train"]
    first = cache(tmp_path).get(encoder(model), squares, indices)
    calls, reads, model.fails_at = model.calls, squares.reads, model.calls + 1
    again = cache(tmp_path, batch_size=7).get(encoder(model), squares, indices)
    assert (model.calls, squares.reads) == (calls, reads)
    np.testing.assert_array_equal(first.array, again.array)
    assert isinstance(again.array, np.memmap)


def test_batch_size_and_workers_change_nothing(tmp_path, squares):
    indices = squares.splits["train"]
    found = [
        cache(tmp_path / str(i), **changes).get(encoder(TinyModel()), squares, indices, mirrored=True).array
        for i, changes in enumerate([{"batch_size": 60}, {"batch_size": 7}, {"workers": 2}])
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-6)


def test_all_that_changes_the_content_changes_the_file(tmp_path, squares):
    model, indices = TinyModel(), squares.splits["test"]
    plain = cache(tmp_path)
    plain.get(encoder(model), squares, indices)
    plain.get(encoder(model, "other"), squares, indices)
    plain.get(encoder(model), Squares(101), indices)
    plain.get(encoder(model), squares, indices[:-1])
    plain.get(encoder(model), squares, indices, mirrored=True)
    cache(tmp_path, precision="bf16").get(encoder(model), squares, indices)
    assert len(list((tmp_path / "latents").glob("*.npy"))) == 6


def test_a_killed_run_continues_at_its_last_complete_batch(tmp_path, squares):
    model, indices = TinyModel(), squares.splits["train"]
    model.fails_at = 3
    with pytest.raises(RuntimeError, match="killed"):
        cache(tmp_path).get(encoder(model), squares, indices)
    assert not list((tmp_path / "latents").glob("*.npy"))
    (part,) = (tmp_path / "latents").glob("*.part")
    with open(part, "ab") as file:
        file.write(b"half a row")
    found = cache(tmp_path).get(encoder(model), squares, indices)
    assert model.calls == 5  # three before, and two for the 28 of 60 images that were left
    expected = cache(tmp_path / "fresh").get(encoder(TinyModel()), squares, indices)
    np.testing.assert_array_equal(found.array, expected.array)
    assert not list((tmp_path / "latents").glob("*.part"))


@pytest.mark.parametrize("left", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x76\x00{'descr'"])
def test_a_run_killed_in_the_header_starts_again(tmp_path, squares, left):
    model, indices = TinyModel(), squares.splits["test"]
    model.fails_at = 1
    with pytest.raises(RuntimeError):
        cache(tmp_path).get(encoder(model), squares, indices)
    (part,) = (tmp_path / "latents").glob("*.part")
    part.write_bytes(left)
    assert len(cache(tmp_path).get(encoder(model), squares, indices)) == len(indices)


def test_latents_that_are_not_finite_are_refused(tmp_path, squares):
    def posterior(x):
        mu = x.flatten(1)[:, :3].clone()
        mu[5, 1] = torch.nan
        return mu, None

    with pytest.raises(
        UserError, match=r"image 85 of squares is not finite in fp32\. The checkpoint itself has diverged"
    ):
        cache(tmp_path).get(Encoder(posterior, "k", "bad"), squares, squares.splits["test"])
    assert not list((tmp_path / "latents").glob("*.npy"))


def stacked(n: int = 40_000, d: int = 2) -> Latents:
    array = np.zeros((n, 2, 2, d), np.float32)
    array[:, 1, 0] = 10  # mu of the mirrored view
    array[:, :, 1] = 0.5
    return Latents(array)


def test_draws_have_the_posterior_distribution():
    z = stacked().draw(3, sample=True, flip=True)
    mirrored = z[:, 0] > 5
    assert float(mirrored.float().mean()) == pytest.approx(0.5, abs=0.02)
    noise = (z - 10 * mirrored[:, None]) / 0.5
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.02


def test_draws_depend_on_the_seed_and_on_nothing_else(monkeypatch):
    latents = stacked(20_000)
    z = latents.draw(3, sample=True, flip=True)
    monkeypatch.setattr("dbae.latents._CHUNK", 999)
    assert torch.equal(latents.draw(3, sample=True, flip=True), z)
    assert not torch.equal(latents.draw(4, sample=True, flip=True), z)
    assert torch.equal(latents.draw(3, sample=False, flip=False), latents.mean())
    first = latents.rows(np.arange(500)).draw(3, sample=True, flip=False)
    torch.testing.assert_close(first, latents.draw(3, sample=True, flip=False)[:500])


def test_deterministic_latents_have_nothing_to_draw():
    latents = Latents(np.ones((5, 1, 1, 3), np.float32))
    assert torch.equal(latents.draw(0, sample=True, flip=False), torch.ones(5, 3))
    with pytest.raises(ValueError, match="mirrored"):
        latents.draw(0, sample=False, flip=True)


def test_default_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "latents"
    monkeypatch.delenv("DBAE_CACHE")
    assert default_folder().parts[-3:] == (".cache", "dbae", "latents")


def spoilt(path: Path, how: str) -> None:
    """Damage of latents at `path`, or of what describes them."""
    about, whole, card = path.with_suffix(".json"), path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
    array = np.load(path)
    match how:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(whole + b"0000")
        case "flipped":
            path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        case "zeros":
            path.write_bytes(bytes(len(whole)))
        case "narrower":
            np.save(path, array[..., :-1])
        case "shorter":
            np.save(path, array[:-1])
        case "double":
            np.save(path, array.astype(np.float64))
        case "flat":
            np.save(path, array.reshape(len(array), -1))
        case "pickled":
            np.save(path, np.array([{}]), allow_pickle=True)
        case "no json":
            about.unlink()
        case "garbage json":
            about.write_bytes(b"\xff{")
        case "nested json":
            about.write_text("[" * 100_000)
        case "list json":
            about.write_text("[1]")
        case "json of others":
            about.write_text(json.dumps(card | {"data": "others", "pixels": "others"}))
        case "old":  # of before there were checksums
            about.write_text(json.dumps({key: value for key, value in card.items() if key not in SEAL}))


DAMAGE = ["cut", "empty", "longer", "flipped", "zeros", "narrower", "shorter", "double", "flat", "pickled", "no json"]
DAMAGE += ["garbage json", "nested json", "list json", "json of others"]


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_noticed_said_and_computed_again(tmp_path, squares, caplog, how):
    indices = squares.splits["test"]
    expected = np.array(cache(tmp_path).get(encoder(TinyModel()), squares, indices, mirrored=True).array)
    (path,) = (tmp_path / "latents").glob("*.npy")
    spoilt(path, how)
    model = TinyModel()
    found = cache(tmp_path).get(encoder(model), squares, indices, mirrored=True)
    assert model.calls
    np.testing.assert_array_equal(found.array, expected)
    (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith(f"{path}: cannot be used (")
    assert said.endswith("; encoding again")
    assert "\n" not in said
    model.fails_at = model.calls + 1
    assert len(cache(tmp_path).get(encoder(model), squares, indices, mirrored=True)) == len(indices)


def test_latents_of_before_checksums_are_used_and_sealed(tmp_path, squares):
    indices = squares.splits["test"]
    cache(tmp_path).get(encoder(TinyModel()), squares, indices)
    (path,) = (tmp_path / "latents").glob("*.npy")
    spoilt(path, "old")
    model = TinyModel()
    cache(tmp_path).get(encoder(model), squares, indices)
    assert model.calls == 0
    spoilt(path, "flipped")
    cache(tmp_path).get(encoder(model), squares, indices)
    assert model.calls > 0


def test_a_part_of_other_rows_is_not_continued(tmp_path, squares):
    model, indices = TinyModel(), squares.splits["train"]
    model.fails_at = 2
    with pytest.raises(RuntimeError, match="killed"):
        cache(tmp_path).get(encoder(model), squares, indices)
    (part,) = (tmp_path / "latents").glob("*.part")
    np.save(tmp_path / "other.npy", np.zeros((60, 1, 1, 4)))
    part.write_bytes((tmp_path / "other.npy").read_bytes())
    found = cache(tmp_path).get(encoder(TinyModel()), squares, indices)
    expected = cache(tmp_path / "fresh").get(encoder(TinyModel()), squares, indices)
    np.testing.assert_array_equal(found.array, expected.array)


def labelled(folder: Path, members: dict[str, bytes]) -> ImageDataset:
    folder.mkdir()
    return open_zip(write_zip(folder / "images.zip", members))


def test_an_edited_label_leaves_latents_as_they_are(tmp_path):
    members = celeba_members(6)
    relabelled = edited(members, "list_attr.txt", "000001.png -1", "000001.png  1")
    repainted = relabelled | {"img_align/000001.png": png(picture(99))}
    before, after, other = (labelled(tmp_path / str(i), m) for i, m in enumerate((members, relabelled, repainted)))
    assert before.fingerprint != after.fingerprint
    model, indices = TinyModel(size=16), np.array([0, 1, 4])
    first = np.array(cache(tmp_path).get(encoder(model), before, indices, mirrored=True).array)
    calls, model.fails_at = model.calls, model.calls + 1
    for data in (after, Subset(after, np.arange(6)), InMemory(after, progress=False)):
        np.testing.assert_array_equal(cache(tmp_path).get(encoder(model), data, indices, mirrored=True).array, first)
    assert len(list((tmp_path / "latents").glob("*.npy"))) == 2
    model.fails_at = None
    for changed in (
        {"dataset": other},
        {"indices": indices[::-1]},
        {"mirrored": False},
        {"encoder": encoder(model, "o")},
    ):
        wanted = {"encoder": encoder(model), "dataset": after, "indices": indices, "mirrored": True} | changed
        cache(tmp_path).get(**wanted)
        assert model.calls > calls
        calls = model.calls


def test_an_edited_label_leaves_latents_of_a_given_name(tmp_path):
    """Those of `dbae.train_prior`: the file has one name, whatever the data."""
    members, at = celeba_members(4), tmp_path / "latents.npy"
    before = labelled(tmp_path / "a", members)
    after = labelled(tmp_path / "b", edited(members, "list_attr.txt", "Young", "Old"))
    model, indices = TinyModel(size=16), np.arange(4)
    cache(tmp_path).get(encoder(model), before, indices, at=at)
    model.fails_at = model.calls + 1
    cache(tmp_path).get(encoder(model), after, indices, at=at)
    assert json.loads(at.with_suffix(".json").read_text())["data"] == after.fingerprint
    spoilt(at, "flipped")
    with pytest.raises(RuntimeError, match="killed"):  # damage is taken over from nowhere
        cache(tmp_path).get(encoder(model), before, indices, at=at)


@pytest.mark.parametrize("others", [False, True])
def test_latents_that_cannot_be_taken_over_are_encoded(tmp_path, monkeypatch, others):
    """A file system without hard links takes a copy; a folder that refuses both is left to who encodes."""

    def refuses(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    members = celeba_members(4)
    before, after = (
        labelled(tmp_path / text, edited(members, "list_attr.txt", "Young", text)) for text in ("Old", "Older")
    )
    model, indices = TinyModel(size=16), np.arange(4)
    first = np.array(cache(tmp_path).get(encoder(model), before, indices).array)
    monkeypatch.setattr("dbae.support.rowfile.os.link", refuses)
    if others:
        monkeypatch.setattr("dbae.support.rowfile.shutil.copyfile", refuses)
    calls = model.calls
    np.testing.assert_array_equal(cache(tmp_path).get(encoder(model), after, indices).array, first)
    assert model.calls == calls + others


# --- several processes; those of `tests/test_distributed.py` are real -------------------------------------------------


def as_process(monkeypatch, rank: int, size: int = 2) -> None:
    """From now on caches are those of process `rank`, which never waits for another."""
    fabric = SimpleNamespace(
        global_rank=rank, world_size=size, barrier=lambda: None, broadcast=lambda value, src: value
    )
    monkeypatch.setattr("dbae.latents.world", lambda device: World(fabric))


def test_two_processes_fill_one_file(tmp_path, squares, monkeypatch):
    models, indices = [TinyModel(), TinyModel()], squares.splits["train"]
    as_process(monkeypatch, 1)
    with pytest.raises(FileNotFoundError):  # what rank 0 has still to join
        cache(tmp_path).get(encoder(models[1]), squares, indices, mirrored=True)
    as_process(monkeypatch, 0)
    found = cache(tmp_path).get(encoder(models[0]), squares, indices, mirrored=True)
    assert [model.calls for model in models] == [4, 4]  # two batches of 16 plain and mirrored; 16 + 12
    as_process(monkeypatch, 0, size=1)
    whole = cache(tmp_path / "whole").get(encoder(TinyModel()), squares, indices, mirrored=True)
    np.testing.assert_array_equal(found.array, whole.array)
    assert len(list((tmp_path / "latents").iterdir())) == 2  # latents and their card


def test_shares_that_are_done_are_not_encoded_again(tmp_path, squares, monkeypatch):
    """Both shares are complete when rank 0 is killed in the middle of joining them."""
    indices = squares.splits["train"]
    for rank in (1, 0):
        as_process(monkeypatch, rank)
        with monkeypatch.context() as patch:
            patch.setattr("dbae.support.rowfile._CHUNK", None if rank == 0 else 8192)  # joining raises
            with pytest.raises((TypeError, FileNotFoundError)):
                cache(tmp_path).get(encoder(TinyModel()), squares, indices)
    again = TinyModel()
    found = cache(tmp_path).get(encoder(again), squares, indices)
    assert (again.calls, len(found)) == (0, 60)


def test_processes_that_do_not_see_the_same_folder_are_told(tmp_path, squares, monkeypatch):
    as_process(monkeypatch, 0)
    with pytest.raises(UserError, match=r"1of2\.npy: written by another process, but not seen here.*set DBAE_CACHE"):
        cache(tmp_path).get(encoder(TinyModel()), squares, squares.splits["train"])
