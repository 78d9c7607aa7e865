"""What a file is, told by its names: the authors' whole key sets, without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from official_files import State, manifest, meta_state

from baselines.methods import ddim, diffae, pdae
from baselines.recognise import Found, recognise
from dbae.checkpoints import official
from dbae.model import DBAE, celeba64, ffhq128
from dbae.support.errors import UserError


def lightning(ema: State, **root: torch.Tensor) -> dict[str, Any]:
    state = dict(root) | {f"model.{k}": v for k, v in ema.items()} | {f"ema_model.{k}": v for k, v in ema.items()}
    return {"epoch": 1, "state_dict": state, "hyper_parameters": {"img_size": 128}}


def model_keys(name: str) -> State:
    return meta_state(manifest(f"diffae/manifest_{name}")["model_keys"])


def fits(module: Any, config: Any, state: Any) -> bool:
    """Whether the model of `config` has exactly the keys and shapes of `state`."""
    own = module.METHOD.blank(config, "x").state_dict()
    theirs = module.from_official(state)
    return own.keys() == theirs.keys() and all(own[key].shape == theirs[key].shape for key in own)


DIFFAE = {"celeba64d2c": diffae.celeba64(), "ffhq128": diffae.ffhq128(), "ffhq256": diffae.ffhq256()}


@pytest.mark.parametrize("name", DIFFAE)
def test_diffae_autoencoder(name):
    size = DIFFAE[name].image_size
    found = recognise(lightning(model_keys(f"{name}_autoenc"), x_T=torch.empty(32, 3, size, size)), "last.ckpt")
    assert (found.kind, found.weights_used, found.image_size) == ("DiffAE", "EMA", size)
    assert found.hyper_parameters == {"img_size": 128}
    assert found.statistics is None
    config = diffae.detect(found.parts["model"])
    assert config == DIFFAE[name]
    assert fits(diffae, config, found.parts["model"])


@pytest.mark.parametrize(("name", "layers"), [("ffhq128", 10), ("horse128", 20)])
def test_diffae_with_latent_dpm(name, layers):
    latent = meta_state(manifest(f"diffae/manifest_{name}_autoenc_latent")["latent_keys"])
    mean, std = torch.zeros(1, 512), torch.ones(1, 512)
    content = lightning(model_keys("ffhq128_autoenc") | latent, conds_mean=mean, conds_std=std)
    found = recognise(content, "last.ckpt")
    assert (found.kind, found.weights_used) == ("DiffAE", "EMA")
    assert diffae.detect(found.parts["model"]) == diffae.ffhq128()
    assert {key.split(".")[1] for key in found.parts["latent"] if key.startswith("layers.")} == set(
        map(str, range(layers))
    )
    assert found.statistics is not None
    assert found.statistics.mean.shape == found.statistics.std.shape == (512,)


@pytest.mark.parametrize("name", ["ffhq128_ddim", "celeba64_ddim_as_intended"])
def test_plain_diffusion_model(name):
    state = model_keys(name)
    found = recognise(lightning(state), "last.ckpt")
    assert (found.kind, found.weights_used) == ("DDIM", "EMA")
    config = ddim.detect(found.parts["model"])
    assert config == (ddim.ffhq128() if name.startswith("ffhq") else ddim.celeba64())
    assert fits(ddim, config, state)


@pytest.mark.parametrize("name", ["ffhq128", "celeba64"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module."])
def test_pdae(name, prefix):
    keys = manifest(f"pdae/manifest_{name}")
    parts = {part: meta_state(keys[f"{name}/{part}"]) for part in ("encoder", "decoder")}
    content = {f"ema_{part}": {prefix + k: v for k, v in state.items()} for part, state in parts.items()}
    found = recognise(content, "checkpoint.pt")
    assert (found.kind, found.weights_used, found.parts) == ("PDAE", "EMA", parts)
    config = pdae.detect(found.parts)
    assert config == getattr(pdae, name)()
    assert fits(pdae, config, found.parts)


def test_raw_weights_are_taken_where_there_are_no_others():
    state = {"a": torch.zeros(1)}
    for content in ({"encoder": state, "decoder": state}, {"ema_encoder": state, "decoder": state}):
        assert recognise(content, "x").weights_used == "raw"
    assert recognise({"state_dict": {"model.a": torch.zeros(1)}}, "x") == Found("DDIM", {"model": state}, "raw")


def test_pdae_pretrained_and_latent():
    network = meta_state({k: manifest("pdae/manifest_ffhq128")["ffhq128/decoder"][k] for k in frozen("ffhq128")})
    found = recognise({"ema_denoise_fn": network, "denoise_fn": network, "step": 5}, "checkpoint.pt")
    assert (found.kind, found.weights_used) == ("DDIM", "EMA")
    assert fits(ddim, ddim.detect(found.parts["model"]), network)
    latent = meta_state(manifest("pdae/manifest_latent_mlp")["latent_mlp10"])
    alone = recognise({"ema_latent_denoise_fn": latent}, "x")
    assert (alone.kind, alone.parts) == ("latent DPM", {"latent": latent})
    state = {"a": torch.zeros(1)}
    whole = recognise({"ema_latent_denoise_fn": latent, "encoder": state, "decoder": state}, "x")
    assert (whole.kind, whole.parts) == ("PDAE", {"encoder": state, "decoder": state, "latent": latent})


def frozen(name: str) -> list[str]:
    return manifest(f"pdae/manifest_{name}")[f"{name}/frozen_decoder_keys"]


def test_diti_is_told_by_what_only_its_trainer_writes():
    state = {"a": torch.zeros(1)}
    content = {"ema_encoder": state, "ema_decoder": state}
    assert recognise(content, "x").kind == "PDAE"
    assert recognise(content | {"ssl_model": state}, "x").kind == "DiTi"
    assert recognise(content | {"sgd_optimizer": {}}, "x").kind == "DiTi"


@pytest.mark.parametrize(("name", "used"), [("ema_0.9999_1.pt", "EMA"), ("model_1.pt", "raw"), ("x.pt", "not told")])
def test_dbae(name, used):
    for config in (celeba64(32), ffhq128(stochastic=False)):
        with torch.device("meta"):
            state = {official.official_key(k): v for k, v in DBAE(config).state_dict().items()}
        found = recognise(state, name)
        assert (found.kind, found.weights_used, found.parts["model"].keys()) == ("DBAE", used, state.keys())


def test_bare_unet():
    state = model_keys("ffhq128_ddim")
    assert recognise(state, "lsun.pt") == Found("U-Net", {"model": state}, "not told")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            {"state_dict": {k: torch.zeros(s) for k, s in manifest("diffae/manifest_classifier")["state_dict"]}},
            "classifier",
        ),
        ({"ema_classifier": {"weight": torch.zeros(40, 512), "bias": torch.zeros(40)}, "step": 1}, "classifier"),
        ({"weight": torch.zeros(40, 512), "bias": torch.zeros(40)}, "classifier"),
        ({"conds": torch.zeros(9, 4), "conds_mean": torch.zeros(4), "conds_std": torch.ones(4)}, "statistics"),
        ({"mean": torch.zeros(4), "std": torch.ones(4)}, "statistics"),
        ({"state": {}, "param_groups": []}, "optimiser"),
    ],
)
def test_files_that_are_no_models(content, kind):
    found = recognise(content, "x")
    assert found.kind == kind
    assert (found.statistics is not None) == (kind == "statistics" or "conds_mean" in content.get("state_dict", {}))


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 1}, {"state_dict": {"w": torch.zeros(1)}}, {"encoder": {}}, [], {1: 2}]
)
def test_anything_else(content):
    with pytest.raises(UserError, match=r"^x\.pt: expected a checkpoint of DBAE, .* found a file of .*baselines\.list"):
        recognise(content, "x.pt")
