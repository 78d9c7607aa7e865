"""Files in the formats of other authors open without a flag, and give the weights that are in them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from official_files import (
    State,
    save_lightning,
    save_pdae,
    small_ddim,
    small_diffae,
    small_latent_net,
    small_pdae,
)

from baselines.interface import Prior, RepresentationModel
from baselines.load import load, load_classifier, load_prior, no_model
from baselines.methods import ddim, diffae, pdae
from dbae.noise import GeneratorNoise
from dbae.prior import LatentPrior, LatentSampling
from dbae.support.errors import UserError
from dbae.support.files import sha256

MEAN, STD = torch.linspace(-1, 1, 64), torch.linspace(0.5, 2, 64)
PDAE, PLAIN = "?heads=1&schedule=linear", "?heads=1&image_size=32&schedule=linear"
"""What files of no published configuration do not tell."""
LATENT_DIM = {"diffae": 64, "pdae": 32}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind."""
    root = tmp_path_factory.mktemp("drive")
    folders = {
        name: root / name
        for name in ("diffae", "latent", "ddim", "pdae", "pdae-latent", "dpm", "diti", "adm", "classifier")
    }
    for folder in folders.values():
        folder.mkdir()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        latent = {f"latent_net.{key}": value for key, value in small_latent_net(64).items()}
        pdae_latent = small_latent_net(32)
    whole = small_diffae() | latent
    save_lightning(folders["diffae"] / "last.ckpt", small_diffae())
    save_lightning(folders["latent"] / "last.ckpt", whole, raw=whole, conds_mean=MEAN[None], conds_std=STD[None])
    save_lightning(folders["ddim"] / "last.ckpt", small_ddim())
    save_pdae(folders["pdae"] / "checkpoint.pt", small_pdae())
    save_pdae(folders["pdae-latent"] / "checkpoint.pt", small_pdae() | {"latent_denoise_fn": pdae_latent}, raw=False)
    save_pdae(folders["dpm"] / "checkpoint.pt", {"denoise_fn": small_ddim()})
    save_pdae(folders["diti"] / "latest.pt", small_pdae(), compiled=True, ssl_model={}, sgd_optimizer={})
    torch.save(small_ddim(), folders["adm"] / "lsun.pt")
    save_pdae(
        folders["classifier"] / "checkpoint.pt", {"classifier": {"weight": torch.zeros(40, 8), "bias": torch.zeros(40)}}
    )
    return {name: next(folder.iterdir()) for name, folder in folders.items()}


def holds(model: Any, official: State, module: Any) -> bool:
    """Whether the model has the official tensors, and no other."""
    expected, found = module.from_official(official), model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def test_diffae(files):
    found = load(files["diffae"])
    assert isinstance(found.model, RepresentationModel)
    assert (found.method, found.variant, found.name, found.weights_used) == ("DiffAE", "", "diffae", "EMA")
    assert (found.weights, found.train_data, found.prior, found.notes) == ("trained", "ffhqlmdb256", None, ())
    assert (found.model.image_size, found.model.latent_dim) == (32, 64)
    assert (found.path, found.sha256) == (files["diffae"], sha256(files["diffae"]))
    assert holds(found.model, small_diffae(), diffae)
    assert not found.model.training


def test_moments_of_an_optimiser_are_passed_over(tmp_path):
    path = save_lightning(tmp_path / "last.ckpt", small_ddim(), optimiser=True)
    assert holds(load(path).model, small_ddim(), ddim)


@pytest.mark.golden
def test_diffae_computes_what_the_reference_does(files):

    golden = np.load(GOLDEN / "diffae" / "small.npz")
    with torch.no_grad():
        z = load(files["diffae"]).model.encode(seeded(101, 2, 3, 32, 32).clamp(-1, 1))
    np.testing.assert_allclose(z, golden["z"], rtol=0, atol=2e-5)


def test_diffae_with_its_prior(files):
    found = load(files["latent"])
    assert holds(found.model, small_diffae(), diffae)
    assert isinstance(found.prior, Prior)
    assert isinstance(found.prior, LatentPrior)
    assert (found.prior.latent_dim, found.prior.sampling) == (64, LatentSampling(1000))
    assert torch.equal(found.prior.mean, MEAN)
    assert torch.equal(found.prior.std, STD)
    apart = load_prior(files["latent"], of=load(files["diffae"]))
    assert all(torch.equal(v, found.prior.state_dict()[k]) for k, v in apart.state_dict().items())


def test_latent_statistics_beside_the_file(files, tmp_path):
    shutil.copy(files["pdae-latent"], tmp_path / "checkpoint.pt")
    found = load(f"{tmp_path / 'checkpoint.pt'}{PDAE}")
    assert found.prior is None
    assert len(found.notes) == 1
    assert found.notes[0].startswith("its latent DPM draws standardised latents; expected their mean and deviation")
    with pytest.raises(UserError, match=r"checkpoint\.pt: its latent DPM .*/latents\.pt, found no such file"):
        load_prior(tmp_path / "checkpoint.pt")
    for name, content in (
        ("latents.pt", {"mean": MEAN[:32], "std": STD[:32]}),
        ("latent.pkl", {"conds": torch.zeros(5, 32), "conds_mean": MEAN[:32], "conds_std": STD[:32]}),
    ):
        torch.save(content, tmp_path / name)
        prior = load(f"{tmp_path / 'checkpoint.pt'}{PDAE}").prior
        assert isinstance(prior, LatentPrior)
        assert torch.equal(prior.mean, MEAN[:32])
        assert prior.sampling == pdae.LATENT_SAMPLING
        (tmp_path / name).unlink()


def test_latent_statistics_in_the_authors_folders(files, tmp_path):
    checkpoint = tmp_path / "trained-models" / "latent_denoise_fn" / "ffhq128" / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(files["pdae-latent"], checkpoint)
    (tmp_path / "trained-models" / "latents").mkdir()
    torch.save({"mean": MEAN[:32], "std": STD[:32]}, tmp_path / "trained-models" / "latents" / "ffhq.pt")
    found = load(f"{checkpoint}{PDAE}")
    assert isinstance(found.prior, LatentPrior)
    assert found.name == "ffhq128"


@pytest.mark.parametrize("kind", ["ddim", "dpm"])
def test_plain_diffusion_model(files, kind):
    found = load(f"{files[kind]}{PLAIN * (kind == 'dpm')}")
    assert (found.method, found.weights_used, found.model.latent_dim) == ("DDIM", "EMA", 3 * 32 * 32)
    assert holds(found.model, small_ddim(), ddim)
    drawn = found.prior.sample(GeneratorNoise(torch.Generator().manual_seed(0)), 2)
    assert (drawn.z.shape, drawn.nfe) == ((2, 3072), 0)


def test_pdae_and_diti(files):
    for kind, method in (("pdae", "PDAE"), ("diti", "DiTi")):
        found = load(f"{files[kind]}{PDAE}")
        assert (found.method, found.weights_used, found.variant) == (method, "EMA", "heads=1, schedule=linear")
        assert (found.model.image_size, found.model.latent_dim) == (64, 32)
        assert holds(found.model, small_pdae(), pdae)
    assert load(f"{files['pdae']}?method=diti&heads=1&schedule=linear").method == "DiTi"


def test_untrained_control_of_every_method(files):
    for kind in ("diffae", "ddim", "pdae", "diti"):
        found = load(f"{files[kind]}{PDAE * (kind in ('pdae', 'diti'))}")
        first, again, other = (found.untrained(seed).state_dict() for seed in (1, 1, 2))
        changed = [key for key, value in other.items() if not torch.equal(value, first[key])]
        assert all(torch.equal(value, first[key]) for key, value in again.items())
        assert len(changed) > len(first) / 10
        assert type(found.untrained(1)) is type(found.model)


def test_nothing_of_the_file_stays_mapped(files, tmp_path):
    """The model does not change or end when its file does."""
    path = Path(shutil.copy(files["diffae"], tmp_path / "last.ckpt"))
    found = load(path)
    if Path("/proc/self/maps").exists():
        assert str(path) not in Path("/proc/self/maps").read_text()
    path.write_bytes(b"")
    assert holds(found.model, small_diffae(), diffae)


def test_raw_weights_where_there_are_no_others(tmp_path):
    state = {f"model.{key}": value for key, value in small_ddim().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "last.ckpt")
    found = load(f"{tmp_path / 'last.ckpt'}{PLAIN}")
    assert found.weights_used == "raw"
    assert found.notes == ("the file holds no averaged weights; these are the raw ones.",)


def test_classifiers(files, tmp_path):
    weight, bias = torch.randn(40, 64), torch.randn(40)
    ema = {"ema_classifier.weight": weight * 0, "ema_classifier.bias": bias * 0}
    state = {"conds_mean": MEAN[None], "conds_std": STD[None], "classifier.weight": weight, "classifier.bias": bias}
    torch.save({"state_dict": state | ema}, tmp_path / "last.ckpt")
    found = load_classifier(tmp_path / "last.ckpt")
    assert torch.equal(found.weight, weight), "training weights, as in the authors' notebook"
    assert found.statistics is not None
    assert torch.equal(found.statistics.std, STD)
    torch.save({"weight": weight, "bias": bias}, tmp_path / "best.pt")
    assert torch.equal(load_classifier(tmp_path / "best.pt").bias, bias)
    assert load_classifier(files["classifier"]).weight.shape == (40, 8)
    with pytest.raises(UserError, match=r"expected a linear classifier \(weight, bias\), found none"):
        load_classifier(files["diffae"])


def test_statistics_of_latents(files, tmp_path):
    assert load(files["diffae"]).statistics is None
    assert torch.equal(load(files["latent"]).statistics.mean, MEAN)
    shutil.copy(files["diffae"], tmp_path / "last.ckpt")
    torch.save({"conds": torch.zeros(5, 64), "conds_mean": MEAN, "conds_std": STD}, tmp_path / "latent.ckpt")
    assert torch.equal(load(tmp_path / "last.ckpt").statistics.std, STD)
    torch.save({"conds": torch.zeros(5, 8), "conds_mean": MEAN[:8], "conds_std": STD[:8]}, tmp_path / "latent.ckpt")
    with pytest.raises(UserError, match="expected statistics of 64 latents, found 8"):
        load(tmp_path / "last.ckpt")


# --- bare U-Nets ------------------------------------------------------------------------------------------------------


def test_bare_unet_asks_for_what_it_does_not_tell(files):
    with pytest.raises(UserError) as caught:
        load(files["adm"])
    for word in (
        "attention_order and heads and image_size and schedule",
        "legacy or new",
        "linear or cosine",
        "?image",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("image_size=32&heads=1", "says nothing of schedule"),
        ("image_size=32&heads=2&schedule=linear", "says nothing of attention_order"),
        (
            "image_size=32&heads=1&head_channels=8&schedule=linear",
            "has no use for heads",
        ),
        ("image_size=32&heads=1&schedule=linear&speed=9", "has no use for speed"),
        ("image_size=32&heads=1&schedule=const0.008", "expected linear or cosine"),
        ("image_size=32&heads=2&attention_order=old&schedule=linear", "expected legacy or new"),
        ("image_size=30&heads=1&schedule=linear", "an image_size that 4 divides"),
        ("image_size=32&heads=3&attention_order=new&schedule=linear", r"attention of \[64\] channels"),
        ("image_size=0&heads=1&schedule=linear", "image_size=0: expected a positive number"),
        ("image_size=big&heads=1&schedule=linear", "image_size=big: expected a positive number"),
    ],
)
def test_bare_unet_with_options_that_do_not_do(files, options, reason):
    with pytest.raises(UserError, match=reason):
        load(f"{files['adm']}?{options}")


def test_bare_unet(files):
    found = load(f"{files['adm']}?heads=1&image_size=32&schedule=linear")
    assert (found.method, found.name, found.weights_used) == ("DDIM", "lsun", "not told")
    assert found.variant == "heads=1, image_size=32, schedule=linear"
    assert holds(found.model, small_ddim(), ddim)
    other = load(f"{files['adm']}?head_channels=16&image_size=64&schedule=cosine&attention_order=new").model.config
    assert (other.image_size, other.schedule, other.unet.head_channels) == (64, "cosine", 16)
    assert (other.unet.attention_order, other.unet.attention_sizes) == ("new", (32,))


def test_bare_unet_with_a_card_beside_it(tmp_path):
    torch.save(small_ddim(), tmp_path / "lsun.pt")
    card = tmp_path / "lsun.pt.yaml"
    card.write_text("name: LSUN\ntrain_data: LSUN Horse\noptions: {heads: 1, image_size: 32, schedule: cosine}\n")
    found = load(tmp_path / "lsun.pt")
    assert (found.name, found.train_data, found.model.config.schedule) == ("LSUN", "LSUN Horse", "cosine")
    assert load(f"{tmp_path / 'lsun.pt'}?schedule=linear").model.config.schedule == "linear"
    for text in ("heads: 1\n", "- 1\n", "a: b: c\n", ""):
        card.write_text(text)
        with pytest.raises(UserError, match=r"lsun\.pt\.yaml: expected a card, for example 'options: \{heads"):
            load(tmp_path / "lsun.pt")


def test_bare_unet_with_labels_or_a_variance(tmp_path):
    state = small_ddim()
    torch.save(state | {"label_emb.weight": torch.zeros(1000, 128)}, tmp_path / "classes.pt")
    with pytest.raises(UserError, match=r"classes\.pt: a class-conditional U-Net"):
        load(f"{tmp_path / 'classes.pt'}?heads=1&image_size=32&schedule=linear")
    sigma = {key: torch.cat([state[key]] * 2) for key in ("out.2.weight", "out.2.bias")}
    torch.save(state | sigma, tmp_path / "sigma.pt")
    assert load(f"{tmp_path / 'sigma.pt'}?heads=1&image_size=32&schedule=linear").model.config.learn_sigma


# --- what shapes do not tell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pdae", "diti", "dpm"])
def test_files_of_no_published_configuration_are_asked(files, kind):
    with pytest.raises(UserError) as caught:
        load(files[kind])
    text = str(caught.value)
    assert "of no published configuration, which says nothing of attention_order and heads" in text
    assert f"'{files[kind]}?" in text
    assert "heads or head_channels, a number; attention_order legacy or new, unless heads=1" in text


def test_heads_change_what_a_pdae_computes(files):
    """And the answer stands in `variant`."""
    x, z = torch.ones(1, 3, 64, 64), torch.ones(1, 32)
    seen = {}
    legacy, new = "attention_order=legacy", "attention_order=new"
    for options in ("heads=1", f"{legacy}&heads=2", f"{new}&heads=2", f"{legacy}&head_channels=32"):
        found = load(f"{files['pdae']}?{options}&schedule=linear")
        with torch.no_grad():
            seen[options] = found.model.decoder(x, torch.tensor([500]), z)[0]
        assert found.variant == f"{options.replace('&', ', ')}, schedule=linear"
    one, two, other_order, by_width = seen.values()
    assert torch.equal(two, by_width)  # of 64 channels
    assert not torch.allclose(one, two)
    assert not torch.allclose(two, other_order)


def test_a_file_of_diffae_says_its_heads_itself(tmp_path):
    told = {"net_beatgans_attn_head": 2, "beta_scheduler": "cosine"}
    path = save_lightning(tmp_path / "last.ckpt", small_diffae(), hyper=told)
    config = load(path).model.config
    assert (config.unet.heads, config.encoder.heads, config.unet.attention_order) == (2, 2, "legacy")
    assert config.schedule == load(path).model.schedule == "cosine"
    assert load(save_lightning(tmp_path / "ddim.ckpt", small_ddim(), hyper=told)).model.config.unet.heads == 2
    with pytest.raises(UserError, match="expected heads=2, as the file says itself, found 4"):
        load(f"{path}?heads=4")
    path = save_lightning(tmp_path / "last.ckpt", small_diffae(), hyper=told | {"beta_scheduler": "const0.01"})
    with pytest.raises(UserError, match=r"schedule=const0\.01: expected linear or cosine"):
        load(path)


def test_the_heads_of_the_encoder_count(tmp_path):
    x = seeded(101, 2, 3, 32, 32).clamp(-1, 1)
    one = load(save_lightning(tmp_path / "1.ckpt", small_diffae())).model.encode(x)
    two = load(save_lightning(tmp_path / "2.ckpt", small_diffae(), hyper={"net_beatgans_attn_head": 2})).model.encode(x)
    assert not torch.allclose(one, two)


def test_a_file_without_hyper_parameters_is_asked(tmp_path):
    state = {f"ema_model.{key}": value for key, value in small_diffae().items()}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="says nothing of attention_order and heads and image_size and schedule"):
        load(tmp_path / "last.ckpt")
    found = load(f"{tmp_path / 'last.ckpt'}?heads=2&attention_order=legacy&image_size=32&schedule=linear")
    assert (found.model.config.unet.heads, found.model.config.encoder.heads) == (2, 2)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models_say_what_they_are(files):
    with pytest.raises(UserError, match=r"checkpoint\.pt: a linear classifier of attributes over z"):
        load(files["classifier"])
    other = no_model(files["classifier"])
    assert other is not None
    assert other.path == files["classifier"]
    assert other.what.startswith("a linear classifier")
    assert no_model(files["pdae"]) is None
    with pytest.raises(UserError, match="expected a latent prior, found none"):
        load_prior(files["diffae"])


def test_prior_of_another_size(files):
    with pytest.raises(UserError, match=r"expected a prior over the 32 numbers of z of pdae, found one over 64"):
        load_prior(files["latent"], of=load(f"{files['pdae']}{PDAE}"))


@pytest.mark.parametrize("method", ["diffae", "ddim", "pdae"])
@pytest.mark.parametrize("change", ["missing", "extra", "shape", "dtype", "nan"])
def test_tensors_that_do_not_fit(tmp_path, method, change):
    parts = small_pdae() if method == "pdae" else {"model": small_diffae() if method == "diffae" else small_ddim()}
    state = parts["decoder" if method == "pdae" else "model"]
    key = "middle_block.0.in_layers.2.bias"
    reasons = {
        "missing": "missing",
        "extra": "unexpected",
        "shape": "has shape",
        "dtype": "is torch.int64",
        "nan": "NaN",
    }
    match change:
        case "missing":
            del state[key]
        case "extra":
            state["middle_block.9.bias"] = torch.zeros(1)
        case "shape":
            state[key] = torch.zeros(3)
        case "dtype":
            state[key] = state[key].long()
        case "nan":
            state[key] = state[key] * torch.nan
    path = tmp_path / "last.ckpt"
    save_pdae(path, parts, raw=False) if method == "pdae" else save_lightning(path, state, raw={})
    with pytest.raises(UserError, match=rf"last\.ckpt: its tensors do not fit the architecture: .*{reasons[change]}"):
        load(f"{path}{PDAE * (method == 'pdae')}")


def test_shapes_of_another_network(tmp_path):
    state = small_diffae()
    del state["input_blocks.0.0.weight"]
    save_lightning(tmp_path / "last.ckpt", state)
    with pytest.raises(UserError, match="has the names of a DiffAE checkpoint, but shapes that fit no such network"):
        load(tmp_path / "last.ckpt")
    save_lightning(tmp_path / "last.ckpt", small_diffae(), size=64)
    config = load(tmp_path / "last.ckpt").model.config
    assert (config.image_size, config.unet.attention_sizes, config.encoder.attention_sizes) == (64, (32,), (32,))


def test_tied_tensors_that_differ(tmp_path):
    latent = {f"latent_net.{key}": value for key, value in small_latent_net(64).items()}
    latent["latent_net.layers.0.cond_layers.1.bias"] = latent["latent_net.layers.0.cond_layers.1.bias"] + 1
    whole = small_diffae() | latent
    save_lightning(tmp_path / "last.ckpt", whole, raw={}, conds_mean=MEAN[None], conds_std=STD[None])
    with pytest.raises(UserError, match="one tensor under two keys"):
        load(tmp_path / "last.ckpt")


def test_encoder_and_decoder_of_different_z(tmp_path):
    parts = small_pdae()
    parts["decoder"] = parts["decoder"] | {"label_emb.weight": torch.zeros(128, 7)}
    save_pdae(tmp_path / "checkpoint.pt", parts)
    with pytest.raises(UserError, match=r"label_emb\.weight has shape \(128, 7\), expected \(128, 32\)"):
        load(f"{tmp_path / 'checkpoint.pt'}{PDAE}")
