"""Training of the latent prior: encoding once, resuming, and what the result says of itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import Pixels, small_card, small_model

from dbae import latent_data, latents, train_prior
from dbae.checkpoints import own as checkpoint
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.noise import GeneratorNoise, PerImageNoise
from dbae.prior import LatentSampling, load
from dbae.support.errors import UserError
from dbae.train_prior import Args, initialised, train

CODES = {"preset": "small", "hidden": 16, "layers": 3, "codes": 640, "batch_size": 32, "log_every": 5}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, model = tmp_path_factory.mktemp("dbae") / "small.safetensors", small_model()
    checkpoint.save(path, small_card(model, images_seen=1), raw=model.state_dict())
    return path


@pytest.fixture
def args(autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Args:
    monkeypatch.setattr(train_prior, "open_data", lambda source, size: Pixels(40, size))
    return Args(data="faces:", out=tmp_path / "run", ckpt=str(autoencoder), **CODES)


def with_options(args: Args, **options: object) -> Args:
    return Args(**(vars(args) | options))


def same(a: Path, b: Path) -> bool:
    (card_a, states_a), (card_b, states_b) = checkpoint.read(a), checkpoint.read(b)
    assert card_a.config == card_b.config
    return all(torch.equal(states_a[kind][key], states_b[kind][key]) for kind in states_a for key in states_a[kind])


def test_result_is_a_prior_of_this_autoencoder(args: Args, autoencoder: Path) -> None:
    sha256 = train_prior.load(autoencoder).sha256
    prior, card = load(train(args), autoencoder_sha256=sha256)
    assert (card.method, card.name, card.images_seen) == ("latent prior", "small-prior", 640)
    assert card.train_data["autoencoder_sha256"] == sha256
    assert card.objective == {"loss": "l1", "latent": "drawn"}
    assert card.command.startswith("python -m dbae.train_prior --ckpt small.safetensors")
    mean, std = latent_data.moments(np.load(args.out / "latents.npy")[:, 0])
    assert torch.equal(prior.mean, mean)
    assert torch.equal(prior.std, std)
    prior.sampling = LatentSampling(10)
    drawn = prior.sample(PerImageNoise(0, range(5)), 5)
    assert drawn.z.shape == (5, 4)
    assert drawn.nfe == 10


def test_prior_of_another_autoencoder_is_refused(args: Args) -> None:
    path = train(with_options(args, codes=32))
    with pytest.raises(UserError, match=r"prior of another autoencoder \(small, .*train_prior"):
        load(path, autoencoder_sha256="0" * 64)


def test_a_model_of_another_method_is_no_prior(autoencoder: Path) -> None:
    with pytest.raises(UserError, match="expected a checkpoint of method 'latent prior', found one of method 'dbae'"):
        load(autoencoder)


def test_resumed_run_is_the_same_run(args: Args, tmp_path: Path) -> None:
    whole = train(args)
    train(with_options(args, out=tmp_path / "parts", codes=320))
    resumed = train(with_options(args, out=tmp_path / "parts", resume=True))
    assert same(whole, resumed)
    with pytest.raises(UserError, match="another objective"):
        train(with_options(args, out=tmp_path / "parts", resume=True, loss="l2", codes=960))
    with pytest.raises(UserError, match="holds a run already"):
        train(with_options(args, out=tmp_path / "parts"))


def test_what_a_run_learns_from_stays_where_it_cannot_be_resumed(args: Args, tmp_path: Path) -> None:
    train(with_options(args, codes=32))
    before, other = (args.out / "latents.npy").read_bytes(), tmp_path / "other.safetensors"
    checkpoint.save(other, small_card(small_model(seed=1), images_seen=1), raw=small_model(seed=1).state_dict())
    for changes in ({"ckpt": str(other)}, {"precision": "bf16"}, {"ckpt": str(other), "seed": 1}):
        with pytest.raises(UserError, match=r"cannot be resumed with these options: .*other training data"):
            train(with_options(args, codes=64, resume=True, **changes))
    assert (args.out / "latents.npy").read_bytes() == before


def test_images_are_encoded_once(args: Args, monkeypatch: pytest.MonkeyPatch) -> None:
    train(with_options(args, codes=32))
    before = (args.out / "latents.npy").stat().st_mtime_ns
    monkeypatch.setattr(latents, "iterate", None)  # any reading would fail
    train(with_options(args, codes=64, resume=True))
    assert (args.out / "latents.npy").stat().st_mtime_ns == before


def encoded(args: Args, data: Pixels, indices: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """What the command has its prior learn from, of these images."""
    data.splits = {"train": indices}
    args = with_options(args, encode_batch_size=batch_size)
    return train_prior._encoded(args, train_prior.load(args.ckpt), data, "train")


def test_latents_of_other_images_are_not_used(args: Args) -> None:
    first = np.array(encoded(args, Pixels(8), np.arange(8)))
    other = encoded(args, Pixels(8), np.arange(7, -1, -1))
    np.testing.assert_allclose(other[::-1], first, rtol=1e-5, atol=1e-5)
    assert len(encoded(args, Pixels(9), np.arange(9))) == 9


def test_posteriors_are_the_models_own_whatever_the_batch_size(args: Args) -> None:
    loaded, data = train_prior.load(args.ckpt), Pixels(8)
    array = encoded(args, data, np.arange(8), batch_size=3)
    with torch.no_grad():
        mean, sigma = loaded.model.posterior(data.batch(range(8)).float() / 127.5 - 1)
    assert sigma is not None
    np.testing.assert_allclose(array[:, 0], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array[:, 1], sigma, rtol=1e-4, atol=1e-5)


def test_moments_are_those_of_drawn_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    posterior = torch.stack([torch.randn(20_000, 3, generator=generator) * 2 + 1, torch.full((20_000, 3), 0.5)], 1)
    mean, std = latent_data.moments(posterior.numpy())
    z = latent_data.draw(posterior, GeneratorNoise(generator))
    torch.testing.assert_close(mean, z.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(std, z.std(0), rtol=0.02, atol=0)
    only_means = posterior[:, :1]
    torch.testing.assert_close(latent_data.moments(only_means.numpy())[1], only_means[:, 0].std(0))
    assert torch.equal(latent_data.draw(only_means, GeneratorNoise(generator)), only_means[:, 0])


def test_a_dimension_that_never_changes_has_deviation_one() -> None:
    array = np.zeros((5, 1, 2), np.float32)
    array[:, 0, 1] = range(5)
    assert latent_data.moments(array)[1][0] == 1
    with pytest.raises(UserError, match="2 images or more, found 1"):
        latent_data.moments(array[:1])


def test_processes_share_batches() -> None:
    array = np.random.default_rng(0).standard_normal((50, 2, 3)).astype(np.float32)
    whole, first, second = (
        next(latent_data.LatentStream(array, 8, seed=1).batches(3, rank=rank, size=size))
        for rank, size in ((0, 1), (0, 2), (1, 2))
    )
    assert torch.equal(whole[1], torch.cat([first[1], second[1]]))
    assert not np.array_equal(whole[0], next(latent_data.LatentStream(array, 8, seed=1).batches(4))[0])


def test_a_trained_prior_draws_what_it_was_shown() -> None:
    """Two clusters: of a Gaussian of the same moments, 56 % would lie farther than 1 from both centres."""
    generator, centre = torch.Generator().manual_seed(0), torch.tensor([2.0, -1.0])
    sign = torch.randint(0, 2, (4096, 1), generator=generator) * 2 - 1
    array = (sign * centre + 0.2 * torch.randn(4096, 2, generator=generator))[:, None].numpy()
    prior = initialised(LatentMLPConfig(2, 32, 3), 0)
    mean, std = latent_data.moments(array)
    prior.mean.copy_(mean)
    prior.std.copy_(std)
    optimizer, stream = torch.optim.Adam(prior.parameters(), 5e-3), latent_data.LatentStream(array, 256, seed=0)
    for _, (_, rows) in zip(range(400), stream.batches(), strict=False):
        loss = train_prior.objective(prior, rows, generator, kind="l2", drawn=True).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prior.sampling = LatentSampling(50)
    z = prior.sample(PerImageNoise(0, range(300)), 300).z
    assert abs(float((z[:, 0] > 0).float().mean()) - 0.5) < 0.09
    distance = torch.minimum((z - centre).norm(dim=1), (z + centre).norm(dim=1))
    assert float(distance.median()) < 0.5
    assert float((distance > 1).float().mean()) < 0.2


@pytest.mark.parametrize(
    "option", [{"layers": 1}, {"codes": 0}, {"save_every": 0}, {"batch_size": 0}, {"lr": -1.0}, {"workers": -1}]
)
def test_options_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(option)).replace("_", "-")):
        Args(data="faces:", out=Path("x"), **option)


def test_command_line(tmp_path: Path, autoencoder: Path) -> None:
    command = [sys.executable, "-m", "dbae.train_prior", "--data", "faces:?n=12", "--ckpt", str(autoencoder)]
    command += ["--out", str(tmp_path / "run"), "--preset", "small", "--hidden", "8", "--codes", "512"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in sorted((tmp_path / "run" / "checkpoints").glob("*[0-9].safetensors"))][-1:] == [
        "images-000000512.safetensors"
    ]
    assert json.loads((tmp_path / "run" / "latents.json").read_text())["precision"] == "fp32"
