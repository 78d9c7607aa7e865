from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from image_samples import celeba_members, edited, write_zip
from stand_ins import FakeLoaded, Squares, TinyModel

from baselines.interface import LoadedModel, weights_digest
from benchmarks.subjects import controls
from benchmarks.subjects.controls import _blocks, fit_pca, pca_encoder, random_latents
from benchmarks.subjects.subject import encoder_of, subjects_of
from dbae.data.files import open_zip
from dbae.latents import LatentCache

CPU = torch.device("cpu")


def test_random_latents_are_a_function_of_seed_and_image():
    indices = np.array([5, 900, 1023, 1024, 3000, 7])
    found = random_latents(indices, 3, seed=1).array
    assert found.shape == (6, 2, 1, 3)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_array_equal(random_latents(indices[[3, 0]], 3, seed=1).array, found[[3, 0]])
    assert not np.allclose(random_latents(indices, 3, seed=2).array, found)
    many = random_latents(np.arange(20_000), 4, seed=0).array[:, 0, 0]
    assert np.abs(many.mean(axis=0)).max() < 0.03
    np.testing.assert_allclose(np.cov(many.T), np.eye(4), atol=0.04)


def test_incremental_pca_spans_the_principal_components():
    rng = np.random.default_rng(0)
    x = torch.from_numpy((rng.standard_normal((600, 12)) * [9, 6, 3, *[0.1] * 9]).astype(np.float32)).view(600, 3, 2, 2)
    pca = fit_pca(iter(x.split(70)), 3)
    torch.testing.assert_close(pca.components @ pca.components.T, torch.eye(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(pca.mean, x.flatten(1).mean(0), rtol=0, atol=1e-4)
    z, sigma = pca.posterior(x)
    assert sigma is None
    _, singular, _ = torch.linalg.svd(x.flatten(1) - x.flatten(1).mean(0), full_matrices=False)
    torch.testing.assert_close(z.std(0) * 599**0.5, singular[:3], rtol=1e-3, atol=0)
    left = x.flatten(1) - pca.mean - z @ pca.components
    assert float(left.square().sum()) == pytest.approx(float(singular[3:].square().sum()), rel=1e-2)


def test_pca_has_no_more_components_than_images_or_pixels():
    x = torch.randn(5, 3, 4, 4)
    found = fit_pca(iter([x]), 100)
    assert found.components.shape == (4, 48)  # five images vary in four directions
    assert float(found.posterior(torch.randn(200, 3, 4, 4))[0].abs().max()) < 10
    assert fit_pca(iter([torch.ones(6, 3, 4, 4)]), 3).components.shape == (1, 48)
    with pytest.raises(ValueError, match="no images"):
        fit_pca(iter([]), 2)


@pytest.mark.parametrize("sizes", [[3] * 10, [10, 1], [1], [7, 7, 2], [40]])
def test_blocks_are_as_large_as_asked_for_and_lose_nothing(sizes):
    rows = np.arange(sum(sizes))[:, None]
    blocks = list(_blocks(iter(np.split(rows, np.cumsum(sizes)[:-1])), 6))
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    assert all(len(block) >= 6 for block in blocks) or len(blocks) == 1


def test_pca_is_fitted_once(tmp_path, squares):
    train = squares.splits["train"]
    first = pca_encoder(squares, train, 3, folder=tmp_path)
    reads = squares.reads
    again = pca_encoder(squares, train, 3, folder=tmp_path)
    assert squares.reads == reads
    assert first.key == again.key != pca_encoder(squares, train[:-1], 3, folder=tmp_path).key
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(first.posterior(x)[0], again.posterior(x)[0])


def test_pca_of_few_images_is_kept_with_what_was_found(tmp_path, squares, caplog):
    few = np.arange(4)
    first = pca_encoder(squares, few, 6, folder=tmp_path)
    again = pca_encoder(squares, few, 6, folder=tmp_path)
    x = torch.rand(2, 3, squares.size, squares.size)
    torch.testing.assert_close(first.posterior(x)[0], again.posterior(x)[0], rtol=0, atol=0)
    assert first.posterior(x)[0].shape[1] < 4
    assert "damaged" not in caplog.text


def test_an_edited_label_leaves_the_pca_and_its_key(tmp_path, monkeypatch):
    members, train = celeba_members(6), np.arange(5)
    before = open_zip(write_zip(tmp_path / "a.zip", members))
    after = open_zip(write_zip(tmp_path / "b.zip", edited(members, "list_attr.txt", "Young", "Old")))
    first = pca_encoder(before, train, 2, folder=tmp_path)
    monkeypatch.setattr(controls, "fit_pca", lambda *_: pytest.fail("fitted again"))
    assert pca_encoder(after, train, 2, folder=tmp_path).key == first.key
    older = tmp_path / f"{first.key}.npz"  # of a version that named it after labels too
    key = hashlib.sha256(f"pca 2 {after.fingerprint} {hashlib.sha256(train.tobytes()).hexdigest()}".encode())
    older.rename(tmp_path / f"pca-{key.hexdigest()[:32]}.npz")
    assert pca_encoder(after, train, 2, folder=tmp_path).key == f"pca-{key.hexdigest()[:32]}"


def test_subjects_are_the_model_and_its_controls(tmp_path):
    squares, loaded = Squares(), FakeLoaded(TinyModel())
    found = subjects_of(loaded, squares, squares.splits["train"], LatentCache(tmp_path, CPU))
    assert [s.model for s in found] == ["tiny", "untrained", "pca", "random"]
    assert [s.weights for s in found] == ["trained", "control", "control", "control"]
    assert [s.method for s in found] == ["Tiny", "Tiny", "", ""]
    assert found[0].checkpoint_sha256 == loaded.sha256
    assert {s.latent_dim for s in found} == {4}
    test = squares.splits["test"]
    latents = [s.latents(test, 0, False).array for s in found]
    assert [a.shape for a in latents] == [(20, 1, 2, 4), (20, 1, 2, 4), (20, 1, 1, 4), (20, 2, 1, 4)]
    for i, subject in enumerate(found):
        same = np.array_equal(subject.latents(test, 1, False).array, latents[i])
        assert same == (subject.model != "random")
    assert not np.allclose(latents[0], latents[1])


def test_an_object_without_an_untrained_twin_lacks_that_control(tmp_path):
    squares, cache = Squares(), LatentCache(tmp_path, CPU)
    found = subjects_of(LoadedModel.of(TinyModel()), squares, squares.splits["train"], cache)
    assert [s.model for s in found] == ["tiny", "pca", "random"]


def test_latents_of_an_object_are_kept_by_what_it_computes():
    class Doubled(TinyModel):
        def posterior(self, x):
            return super().posterior(2 * x)[0] ** 2, None

    keys = [
        encoder_of(loaded.model, loaded.name, loaded, CPU).key
        for loaded in (LoadedModel.of(TinyModel()), LoadedModel.of(Doubled()), LoadedModel.of(TinyModel()))
    ]
    assert keys[0] == keys[2] != keys[1]


def test_untrained_encoder_is_one_control_for_all_checkpoints(tmp_path):
    squares = Squares()
    cache = LatentCache(tmp_path, CPU)
    one, two = (
        subjects_of(FakeLoaded(TinyModel(seed), sha256=str(seed)), squares, squares.splits["train"], cache)[1]
        for seed in (1, 2)
    )
    assert one.cells == two.cells
    (other,) = subjects_of(FakeLoaded(TinyModel(latent_dim=5)), squares, squares.splits["train"], cache)[1:2]
    assert other.checkpoint_sha256 != one.checkpoint_sha256


def test_weights_digest_sees_every_weight():
    model = TinyModel()
    before = weights_digest(model)
    assert weights_digest(TinyModel()) == before
    with torch.no_grad():
        model.weight[0, 0] += 1e-6
    assert weights_digest(model) != before
    with pytest.raises(TypeError, match="torch module"):
        weights_digest("model")


@pytest.mark.parametrize("how", ["cut", "flipped", "narrower"])
def test_a_damaged_pca_is_fitted_again(tmp_path, squares, caplog, how):
    train = squares.splits["train"]
    pca_encoder(squares, train, 3, folder=tmp_path)
    (path,) = tmp_path.glob("pca-*.npz")
    whole = path.read_bytes()
    if how == "narrower":
        with np.load(path) as arrays:
            np.savez(path, mean=arrays["mean"], components=arrays["components"][:-1])
    else:
        half = len(whole) // 2
        path.write_bytes(whole[:half] + (bytes([whole[half] ^ 1]) + whole[half + 1 :] if how == "flipped" else b""))
    pca_encoder(squares, train, 3, folder=tmp_path)
    assert path.read_bytes() == whole
    assert any(said.startswith(f"{path}: damaged (") for said in caplog.messages)
