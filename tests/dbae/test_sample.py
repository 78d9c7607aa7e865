"""`python -m dbae.sample`: images that depend on (seed, index) alone, in a folder that can be continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_networks import small_prior
from PIL import Image
from small_model import small_card, small_config

from dbae import sample
from dbae.checkpoints import own as checkpoint
from dbae.model import DBAE
from dbae.noise import PerImageNoise
from dbae.prior import METHOD, LatentSampling
from dbae.sample import Options, draw, main, run
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.support.files import sha256

FAST = SamplerConfig("dbim2", nfe=3)


def small_dbae(blend: float = 1.0) -> DBAE:
    return DBAE.initialised(dataclasses.replace(small_config(), endpoint_blend=blend), 0, name="small").eval()


@pytest.fixture
def options(tmp_path: Path) -> Options:
    model, prior = small_dbae(), small_prior()
    ckpt, prior_file = tmp_path / "dbae.safetensors", tmp_path / "prior.safetensors"
    checkpoint.save(ckpt, small_card(model, images_seen=1), ema=model.state_dict())
    trained_on = {"autoencoder": "small", "autoencoder_sha256": sha256(ckpt)}
    card = checkpoint.Card(METHOD, "small-prior", dataclasses.asdict(prior.config), trained_on)
    checkpoint.save(prior_file, card, ema=prior.state_dict())
    return Options(
        out=tmp_path / "out", n=5, ckpt=str(ckpt), prior=str(prior_file), prior_nfe=10, batch_size=2, sampler=FAST
    )


def images(options: Options) -> np.ndarray:
    files = sorted((options.out / "images").iterdir())
    return np.stack([np.array(Image.open(file)) for file in files])


def test_images_grid_and_npz(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    main(dataclasses.replace(options, npz=True))
    assert capsys.readouterr().out.strip() == str(options.out)
    pixels = images(options)
    assert pixels.shape == (5, 16, 16, 3)
    assert np.array_equal(np.load(options.out / "samples.npz")["arr_0"], pixels)
    assert Image.open(options.out / "grids" / "000000.png").size == (5 * 18 + 2, 20)
    prior = small_prior()
    prior.sampling = LatentSampling(10)
    expected = draw(small_dbae(), prior, np.arange(5), sampler=FAST).permute(0, 2, 3, 1)
    assert np.abs(pixels - (expected.numpy() + 1) * 127.5).max() <= 1.5


def test_an_image_is_a_function_of_seed_and_index() -> None:
    model, prior = small_dbae(0.5), small_prior()
    four = draw(model, prior, np.arange(4), sampler=FAST)
    torch.testing.assert_close(draw(model, prior, np.array([3, 1]), sampler=FAST), four[[3, 1]], rtol=0, atol=1e-3)
    assert (draw(model, prior, np.arange(4), sampler=FAST, seed=1) - four).abs().amax((1, 2, 3)).min() > 0.01


def test_batch_size_changes_nothing_and_a_larger_n_adds(options: Options) -> None:
    run(options)
    first = images(options)
    stamps = [f.stat().st_mtime_ns for f in sorted((options.out / "images").iterdir())]
    run(dataclasses.replace(options, n=7, batch_size=3))
    assert [f.stat().st_mtime_ns for f in sorted((options.out / "images").iterdir())][:5] == stamps
    other = dataclasses.replace(options, out=options.out.parent / "other", n=7, batch_size=7)
    run(other)
    assert np.array_equal(images(options)[:5], first)
    assert np.abs(images(options).astype(int) - images(other)).max() <= 1


def test_what_a_killed_run_left_is_continued(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[np.ndarray] = []

    def dies(model: object, prior: object, indices: np.ndarray, **rest: object) -> torch.Tensor:
        calls.append(indices)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(model, prior, indices, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sample, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        run(options)
    run(options)
    assert [c.tolist() for c in calls] == [[0, 1], [2, 3], [2, 3], [4]]
    assert len(images(options)) == 5


@pytest.mark.parametrize(("change", "named"), [({"seed": 3}, "seed was 0, is 3"), ({"prior_nfe": 20}, "prior_nfe")])
def test_folder_of_another_run_is_refused(options: Options, change: dict[str, int], named: str) -> None:
    run(options)
    with pytest.raises(UserError, match=f"holds images of another run .*{named}"):
        run(dataclasses.replace(options, **change))


def test_folder_of_something_else_is_refused(options: Options) -> None:
    (options.out / "images").mkdir(parents=True)
    with pytest.raises(UserError, match="empty or new folder"):
        run(options)


def test_endpoint_blend_chooses_where_images_start() -> None:
    model, prior = small_dbae(), small_prior()
    decoded, noise = (
        draw(model, prior, np.arange(8), sampler=FAST, endpoint_blend=blend).flatten(1) for blend in (1.0, 0.0)
    )
    mixed = draw(model, prior, np.arange(8), sampler=FAST, endpoint_blend=0.5).flatten(1)
    from_decoded = torch.isclose(mixed, decoded, atol=1e-3).all(1)
    from_noise = torch.isclose(mixed, noise, atol=1e-3).all(1)
    assert (from_decoded ^ from_noise).all()
    assert 0 < from_decoded.sum() < 8


def test_a_models_own_blend_is_the_default(options: Options) -> None:
    model = small_dbae(0.0)
    with torch.no_grad():
        z = small_prior().sample(PerImageNoise(0, range(2), stream="prior"), 2).z
        x_T = model.draw_endpoint(z, PerImageNoise(0, range(2), stream="x_T"))
    expected = model.decode(z, x_T=x_T, sampler=FAST, noise=PerImageNoise(0, range(2), stream="sample")).images
    torch.testing.assert_close(draw(model, small_prior(), np.arange(2), sampler=FAST), expected, rtol=0, atol=1e-3)


def test_without_a_prior_the_message_says_how_to_train_one(options: Options) -> None:
    with pytest.raises(UserError, match=r"python -m dbae\.train_prior --ckpt .*dbae\.safetensors --data"):
        run(dataclasses.replace(options, prior=None))


def test_prior_of_another_checkpoint_is_refused(options: Options, tmp_path: Path) -> None:
    other = DBAE.initialised(small_config(), 1, name="other")
    checkpoint.save(tmp_path / "other.safetensors", small_card(other, images_seen=1), ema=other.state_dict())
    with pytest.raises(UserError, match="prior of another autoencoder"):
        run(dataclasses.replace(options, ckpt=str(tmp_path / "other.safetensors")))


def test_sampler_of_other_models_is_refused(options: Options) -> None:
    with pytest.raises(UserError, match="--method ddim: expected one of ddbm_euler"):
        run(dataclasses.replace(options, sampler=SamplerConfig("ddim", nfe=10)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n": 0}, "--n: expected 1"),
        ({"n": 10**13}, "--n: expected 10000000"),
        ({"batch_size": 0}, "--batch-size"),
        ({"endpoint_blend": 1.5}, "--endpoint-blend"),
    ],
)
def test_options_out_of_range(option: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Options(out=Path("x"), **option)  # type: ignore[arg-type]


def test_built_in_model_brings_its_prior(tmp_path: Path) -> None:
    fast = SamplerConfig("one_step", nfe=1)
    run(Options(out=tmp_path, n=2, prior_nfe=10, sampler=fast))
    assert len(list((tmp_path / "images").iterdir())) == 2
