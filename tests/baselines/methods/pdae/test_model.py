"""PDAE as a model: its objective against the reference, the interface, official files, its frozen part."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from latent_networks import filled_mlp
from pdae_models import (
    CONFIGS,
    filled_pdae,
    official_key,
    on_meta,
    small_config,
    small_config_b,
    tiny_config,
    tiny_ddim,
)
from small_model import Pixels
from training_runs import CONFIG, rows

from baselines.diffusion.process import Process
from baselines.editing import manipulate
from baselines.interface import InfersEndpoint, RepresentationModel
from baselines.methods.pdae import (
    GENERATION,
    LATENT_SAMPLING,
    METHOD,
    PDAE,
    detect,
    faces32,
    faces64,
    from_official,
    loss,
    shift_loss,
)
from baselines.methods.pdae.networks import FROZEN
from baselines.methods.pdae.sampling import shift_coefficients
from dbae.checkpoints import own as checkpoint
from dbae.data import TrainingStream
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.noise import PerImageNoise, ReplayNoise
from dbae.prior import LatentPrior
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError
from dbae.training.loop import fit

SMALL = np.load(GOLDEN / "pdae/small.npz")


@pytest.mark.golden
def test_loss_and_its_gradients():
    model = copy.deepcopy(filled_pdae(small_config(64)))
    x0 = seeded(24, 3, 3, 64, 64).clamp(-1, 1)
    t = torch.tensor([3, 400, 950])
    found = shift_loss(model.decoder, x0, t, model.posterior(x0)[0], seeded(25, 3, 3, 64, 64)).loss.mean()
    assert float(found.detach()) == pytest.approx(float(SMALL["train/loss"]), rel=1e-5)
    found.backward()
    norms = {official_key(k): None if p.grad is None else float(p.grad.norm()) for k, p in model.named_parameters()}
    expected = json.loads((GOLDEN / "pdae/small.json").read_text())["train_grad_norm"]
    assert norms.keys() == {tuple(key.split(".", 1)) for key in expected}
    for key, norm in expected.items():
        part, name = key.split(".", 1)
        assert norms[part, name] == (norm if norm is None else pytest.approx(norm, rel=1e-4, abs=1e-7)), key


@pytest.mark.golden
def test_weights_of_the_loss():
    """Undoing w_t gives the plain error, at every time of the golden table."""
    decoder, t = filled_pdae(small_config()).decoder, torch.tensor([0, 100, 475, 999])
    with torch.no_grad():
        found = shift_loss(decoder, seeded(1, 4, 3, 16, 16), t, seeded(2, 4, 32), seeded(3, 4, 3, 16, 16))
    expected = np.load(GOLDEN / "pdae/schedule.npz")["linear/weight"][t]
    np.testing.assert_allclose(found.loss / found.mse, expected, rtol=2e-6)


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("ffhq128", 0), ("celeba64", 5)])
def test_full_size_model(name, steps):
    golden, model = np.load(GOLDEN / "pdae/full.npz"), filled_pdae(CONFIGS[name])
    size = model.image_size
    x = seeded(41, 2, 3, size, size)[:1].clamp(-1, 1)
    with torch.no_grad():
        z = model.encode(x)
        eps, G = model.decoder(seeded(42, 2, 3, size, size)[:1], torch.tensor([10]), z)
    np.testing.assert_allclose(z, golden[f"{name}/z"][:1], atol=1e-4)
    np.testing.assert_allclose(eps[..., ::4, ::4], golden[f"{name}/eps"][:1], atol=1e-4)
    np.testing.assert_allclose(G[..., ::4, ::4], golden[f"{name}/grad"][:1], atol=1e-4)
    if steps:
        sampler = SamplerConfig("ddim", nfe=steps)
        decoded = model.decode(z, x_T=seeded(43, 1, 3, size, size), sampler=sampler)
        np.testing.assert_allclose(decoded.raw[..., ::4, ::4], golden[f"{name}/sample{steps}"], atol=1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("name", CONFIGS)
def test_published_files_are_recognised_and_fit(name):
    manifest = json.loads((GOLDEN / f"pdae/manifest_{name}.json").read_text())
    parts = {
        part: {key: torch.empty(v["shape"], device="meta") for key, v in manifest[f"{name}/{part}"].items()}
        for part in ("encoder", "decoder")
    }
    assert detect(parts) == CONFIGS[name]
    model = METHOD.blank(CONFIGS[name], name)
    ours = {key: value.shape for key, value in from_official(parts).items()}
    assert ours == {key: value.shape for key, value in model.state_dict().items()}


def official_parts(model: PDAE) -> dict[str, dict[str, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {"encoder": {}, "decoder": {}}
    for key, value in model.state_dict().items():
        part, name = official_key(key)
        parts[part][name] = value
    return parts


def test_a_file_gives_the_model_back():
    model = filled_pdae(small_config(64))
    parts = official_parts(model)
    config = detect(parts)
    assert config == model.config
    other = METHOD.blank(config, "other")
    checkpoint.load_strictly(other, from_official(parts), "file")
    x = seeded(1, 1, 3, 64, 64)
    assert torch.equal(other.eval().encode(x), model.encode(x))


def test_variance_is_recognised():
    """Heads and their order leave no trace in shapes."""
    config = small_config_b()
    unet = dataclasses.replace(config.unet, heads=1, attention_order="legacy", dropout=0.1)
    assert detect(official_parts(on_meta(config))) == dataclasses.replace(config, unet=unet)


@pytest.mark.parametrize("missing", ["encoder", "decoder"])
def test_other_files_are_none(missing):
    parts = official_parts(on_meta(small_config()))
    assert detect(parts | {missing: {}}) is None
    assert detect({"model": parts["decoder"]}) is None
    assert detect(parts | {missing: {"encoder.0.weight": torch.zeros(3), "x": torch.zeros(1)}}) is None


def test_it_is_a_representation_model():
    model = filled_pdae(small_config())
    assert isinstance(model, RepresentationModel)
    assert isinstance(model, InfersEndpoint)
    assert (model.samplers, model.endpoints, model.encode_nfe) == (("ddim", "ddpm"), ("random", "inferred"), 0)
    x = seeded(1, 2, 3, 16, 16).clamp(-1, 1)
    z, sigma = model.posterior(x)
    assert sigma is None
    assert torch.equal(z, model.encode(x, noise=PerImageNoise(0, range(2))))


@pytest.mark.parametrize("sampler", [SamplerConfig("ddim", nfe=3), SamplerConfig("ddpm", nfe=3)])
def test_images_do_not_depend_on_their_batch(sampler):
    model, z = filled_pdae(small_config()), seeded(2, 3, 32)
    together = model.decode(z, sampler=sampler, noise=PerImageNoise(7, [5, 6, 9]))
    assert together.nfe == 3
    for row, index in enumerate([5, 6, 9]):
        alone = model.decode(z[row : row + 1], sampler=sampler, noise=PerImageNoise(7, [index]))
        torch.testing.assert_close(alone.images, together.images[row : row + 1], atol=1e-4, rtol=0)


def test_an_endpoint_is_needed_or_drawn():
    with pytest.raises(ValueError, match="x_T"):
        filled_pdae(small_config()).decode(seeded(2, 1, 32))


def test_inferred_endpoint_counts_its_evaluations():
    model, x = filled_pdae(small_config()), seeded(1, 1, 3, 16, 16).clamp(-1, 1)
    shifted, nfe = model.infer_endpoint(x, model.encode(x), steps=4)
    plain, _ = model.infer_endpoint(x, None, steps=4)
    assert nfe == 4
    assert shifted.shape == x.shape
    assert (shifted - plain).abs().max() > 1e-3


@pytest.mark.golden
def test_drawn_latents_and_their_images():
    prior = LatentPrior(LatentMLPConfig(32, 64, 4, time_dim=16))
    prior.network = filled_mlp(prior.config, hashed="cond_layers.1")
    prior.sampling = dataclasses.replace(LATENT_SAMPLING, steps=10)
    prior.mean, prior.std = torch.from_numpy(SMALL["latent/mean"]), torch.from_numpy(SMALL["latent/std"])
    z = prior.sample(ReplayNoise([seeded(21, 2, 32)]), 2).z
    sampler = dataclasses.replace(GENERATION, nfe=5)
    images = filled_pdae(small_config()).decode(z, x_T=seeded(22, 2, 3, 16, 16), sampler=sampler)
    np.testing.assert_allclose(images.raw, SMALL["latent/image"], atol=2e-4)


@pytest.mark.golden
def test_manipulation():
    mean, std = torch.from_numpy(SMALL["latent/mean"]), torch.from_numpy(SMALL["latent/std"])
    strength = 0.3 * (512 / 32) ** 0.5  # the reference writes sqrt(512) for the root of the length of z
    z = manipulate(seeded(16, 1, 32), torch.from_numpy(SMALL["manip/W"])[31], strength, mean=mean, std=std)
    np.testing.assert_allclose(z, SMALL["manip/z"], atol=1e-5)
    sampler = SamplerConfig("ddim", nfe=5)
    images = filled_pdae(small_config()).decode(z, x_T=seeded(17, 1, 3, 16, 16), sampler=sampler)
    np.testing.assert_allclose(images.raw, SMALL["manip/image"], atol=2e-4)


def test_the_frozen_part_is_the_pretrained_model():
    pretrained = tiny_ddim()
    model = PDAE.on_pretrained(pretrained, tiny_config(), 0, name="small")
    x, t = seeded(1, 2, 3, 16, 16), torch.tensor([3, 700])
    with torch.no_grad():
        eps, G = model.decoder(x, t, seeded(2, 2, 4))
        assert torch.equal(eps, pretrained.network(x, t))
    assert not G.any()


def test_a_pretrained_model_of_another_size_is_refused():
    with pytest.raises(UserError, match="64 px"):
        PDAE.on_pretrained(tiny_ddim(), faces64(), 0, name="small")


def test_training_moves_the_shift_alone(tmp_path):
    """Through the loop that all methods share, resumed once: frozen weights and their averages stay bit-equal."""
    model = PDAE.on_pretrained(tiny_ddim(), tiny_config(), 0, name="small")
    start = {key: value.clone() for key, value in model.state_dict().items()}
    card = checkpoint.Card(method="pdae", name="pdae", config=dataclasses.asdict(model.config))
    images = Pixels()

    def run(upto: int, resume: bool) -> PDAE:
        fresh = PDAE.on_pretrained(tiny_ddim(), tiny_config(), 0, name="small")
        config = dataclasses.replace(CONFIG, images=upto, clip_grad=1.0)
        stream = TrainingStream(images, np.arange(24), config.batch_size, seed=config.seed, flip=config.flip)
        fit(fresh, loss, stream, config, tmp_path, card, resume=resume)
        return fresh

    run(32, False)
    model = run(64, True)
    _, states = checkpoint.read(sorted((tmp_path / "checkpoints").glob("images-*64.safetensors"))[-1])
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, start[key])}
    assert not {key for key in moved if key.split(".")[1] in FROZEN and key.startswith("decoder.")}
    assert {key.split(".")[0] for key in moved} == {"encoder", "decoder"}
    for key, value in start.items():
        if key.startswith("decoder.") and key.split(".")[1] in FROZEN:
            assert torch.equal(states["ema"][key], value)
            assert torch.equal(states["raw"][key], value)
    assert all(np.isfinite(float(row["loss"])) and float(row["grad_norm"]) > 0 for row in rows(tmp_path))


def test_training_learns():
    """A fixed batch at fixed noise: the loss falls below what the frozen model leaves."""
    model = PDAE.on_pretrained(tiny_ddim(), tiny_config(), 0, name="small").train()
    x0 = seeded(3, 4, 3, 16, 16).clamp(-1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        found = loss(model, x0, torch.Generator().manual_seed(0))
        found.loss.mean().backward()
        optimizer.step()
        losses.append(float(found.mse.mean()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("preset", [faces32, faces64])
def test_small_presets_compute(preset):
    config = preset()
    model = PDAE.initialised(config, 0, name="small").eval()
    x = torch.zeros(1, 3, config.image_size, config.image_size)
    z = model.encode(x)
    assert z.shape == (1, config.latent_dim)
    assert model.decode(z, x_T=x, sampler=SamplerConfig("ddim", nfe=1)).images.shape == x.shape


def test_our_checkpoint_opens(tmp_path):
    model = PDAE.on_pretrained(tiny_ddim(), tiny_config(), 0, name="small")
    card = checkpoint.Card(method="pdae", name="mine", config=dataclasses.asdict(model.config))
    checkpoint.save(tmp_path / "mine.safetensors", card, ema=model.state_dict())

    def from_card(config, name):
        return METHOD.blank(checkpoint.from_json(type(model.config), config), name)

    loaded, _ = checkpoint.load_as("pdae", from_card, tmp_path / "mine.safetensors", weights=None)
    assert loaded.config == model.config
    assert not any(p.requires_grad for name in FROZEN for p in loaded.decoder.get_submodule(name).parameters())


def test_g_gets_no_training_signal_at_time_0():
    assert shift_coefficients(Process("linear", tuple(range(1000))))[0] == 0
