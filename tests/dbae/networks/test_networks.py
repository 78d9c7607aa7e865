"""Networks against the reference: key sets, parameter counts, outputs, activations."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, filled_dbae, relative_l2, seeded

from dbae.checkpoints.official import official_key
from dbae.model import DBAE, celeba64, faces32, faces64, ffhq128, parameter_counts
from dbae.networks.endpoint_decoder import GatedUnit
from dbae.noise import ReplayNoise

SMALL = ["small64_L32_det", "small64_L32_sto"]
FULL = ["celeba64_L512_sto", "ffhq128_L512_sto", "ffhq128_L512_det"]


def on_meta(config):
    with torch.device("meta"):
        return DBAE(config)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("manifest", "config"), [("celeba64_L512_sto", celeba64(512)), ("ffhq128_L512_sto", ffhq128())]
)
def test_state_dict_is_the_published_one(manifest, config):
    expected = json.loads((GOLDEN / f"dbae/manifest_{manifest}.json").read_text())
    model = on_meta(config)
    ours = {
        official_key(k): [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in model.state_dict().items()
    }
    assert ours == {key: [shape, dtype] for key, shape, dtype, _ in expected["keys"]}
    buffers = {official_key(k) for k, _ in model.named_buffers()}
    assert buffers == {key for key, _, _, kind in expected["keys"] if kind == "buffer"}


@pytest.mark.parametrize(
    ("config", "score", "encoder", "decoder"),
    [
        (ffhq128(), 105_461_251, 24_936_192, 32_293_440),
        (ffhq128(stochastic=False), 105_461_251, 24_673_536, 32_293_440),
        (celeba64(512), 69_680_835, 19_583_168, 31_617_536),
        (celeba64(512, stochastic=False), 69_680_835, 19_320_512, 31_617_536),
        (celeba64(256), 69_615_299, 19_320_512, 23_228_928),
        (celeba64(256, stochastic=False), 69_615_299, 19_189_184, 23_228_928),
        (celeba64(32), 69_557_955, 19_090_688, 15_888_896),
        (celeba64(32, stochastic=False), 69_557_955, 19_074_272, 15_888_896),
    ],
)
def test_parameter_counts_are_the_references(config, score, encoder, decoder):
    total = score + encoder + decoder
    counts = {"score": score, "encoder": encoder, "decoder": decoder, "total": total}
    assert parameter_counts(on_meta(config)) == counts


@pytest.mark.parametrize(("config", "megabytes"), [(faces32(), 3), (faces64(), 48)])
def test_small_models_are_small_in_fp16(config, megabytes):
    state = on_meta(config).state_dict()
    assert sum(v.numel() * (2 if v.is_floating_point() else 8) for v in state.values()) < megabytes * 1e6


@pytest.mark.parametrize("config", [faces32(), faces32(stochastic=False)])
def test_small_model_computes_images_of_its_size(config):
    model = DBAE(config).eval()
    x = torch.zeros(2, 3, config.image_size, config.image_size)
    z = model.encode(x)
    assert z.numpy().shape == (2, config.latent_dim)  # without gradient
    assert model.denoise(x, torch.full((2,), 0.5), model.endpoint(z), z).shape == x.shape


@pytest.mark.parametrize("training", [False, True])
def test_spectral_norm_is_float32_under_autocast(training):
    model = DBAE.initialised(faces32(), 0)
    layer = model.decoder.get_submodule("feat_8")[1].train(training)
    exact = copy.deepcopy(layer).weight()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight(), exact)


@pytest.mark.golden
@pytest.mark.parametrize("tag", SMALL + [pytest.param(tag, marks=pytest.mark.slow) for tag in FULL])
def test_networks_compute_the_references_numbers(tag):
    golden = np.load(GOLDEN / "dbae/networks.npz")
    info = json.loads((GOLDEN / "dbae/networks.json").read_text())[tag]
    b, size, latent = info["batch"], info["config"]["size"], info["config"]["latent"]
    model = filled_dbae(tag)
    x0, x, x_T = (seeded(s, b, 3, size, size, image=s == 101) for s in (101, 102, 103))
    y, t = seeded(104, b, latent), torch.tensor(info["t"][:b])
    eps = seeded(105, b, latent)
    with torch.no_grad():
        found = {"encoder_raw": model.encoder(x0), "decoder": model.endpoint(y)[..., ::4, ::4]}
        found["score"] = model.score(x, 250 * torch.log(t), x_T, y)[..., ::4, ::4]
        found["denoised"] = model.denoise(x, t, x_T, y)[..., ::4, ::4]
        if model.config.stochastic:
            found["mu"], sigma = model.posterior(x0)
            found["log_sig"] = (sigma - 0.01).log()
            found["z_sample"] = model.encode(x0, noise=ReplayNoise([eps]))
    expected = {k.removeprefix(f"{tag}."): golden[k] for k in golden.files if k.startswith(f"{tag}.")}
    assert found.keys() == expected.keys()
    errors = {name: relative_l2(value, expected[name]) for name, value in found.items()}
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.golden
@pytest.mark.parametrize("tag", SMALL)
def test_every_block_computes_the_references_activations(tag):
    info = json.loads((GOLDEN / "dbae/networks.json").read_text())[tag]
    b, latent = info["batch"], info["config"]["latent"]
    model = filled_dbae(tag)
    seen = {}
    modules = {official_key(name): module for name, module in model.named_modules()}
    handles = [
        modules[name].register_forward_hook(lambda m, i, out, name=name: seen.__setitem__(name, out))
        for name in info["activations"]
        if name in modules
    ]
    with torch.no_grad():
        model.encoder(seeded(101, b, 3, 64, 64, image=True))
        y = seeded(104, b, latent)
        model.endpoint(y)
        model.denoise(seeded(102, b, 3, 64, 64), torch.tensor(info["t"]), seeded(103, b, 3, 64, 64), y)
    for handle in handles:
        handle.remove()
    assert seen.keys() == info["activations"].keys() - {"denoise(out)"}
    for name in seen:
        stats = info["activations"][name]
        assert list(seen[name].shape) == stats["shape"], name
        assert float(seen[name].double().norm()) == pytest.approx(stats["l2"], rel=1e-5), name
        assert float(seen[name].double().std(correction=0)) == pytest.approx(stats["std"], rel=1e-5), name


def test_gated_unit_is_pytorchs():
    x = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    results = []
    for unit in (GatedUnit(), torch.nn.GLU(dim=1)):
        leaf = x.clone().requires_grad_()
        result = unit(leaf)
        result.square().sum().backward()
        results.append((result.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)
