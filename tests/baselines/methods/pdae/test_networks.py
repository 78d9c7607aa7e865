"""PDAE's networks against the reference: key sets, parameter counts, outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN, seeded
from pdae_models import CONFIGS, filled_pdae, official_key, on_meta, small_config, small_config_b

from baselines.methods.pdae import PDAE
from baselines.methods.pdae.networks import FROZEN, PDAEEncoder
from dbae.networks.blocks import sinusoidal_embedding

SMALL = np.load(GOLDEN / "pdae/small.npz")


@pytest.mark.golden
@pytest.mark.parametrize("name", CONFIGS)
def test_state_dict_is_the_published_one(name):
    manifest = json.loads((GOLDEN / f"pdae/manifest_{name}.json").read_text())
    model = on_meta(CONFIGS[name])
    ours = {official_key(key): list(value.shape) for key, value in model.state_dict().items()}
    parts = ("encoder", "decoder")
    assert ours == {(part, k): v["shape"] for part in parts for k, v in manifest[f"{name}/{part}"].items()}
    frozen = {official_key(key)[1] for key, p in model.named_parameters() if not p.requires_grad}
    assert frozen == set(manifest[f"{name}/frozen_decoder_keys"])


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "frozen", "shift", "encoder", "twice"),
    [
        ("ffhq128", 98_618_499, 78_522_371, 3_914_240, 279_673_609),
        ("celeba64", 63_958_019, 52_007_811, 1_487_104, 181_410_953),
    ],
)
def test_parameter_counts_and_the_280_million_of_papers(name, frozen, shift, encoder, twice):
    """The DBAE paper's Table 8 has 280 M for ffhq128: that counts the frozen U-Net inside the decoder and once more."""
    model = on_meta(CONFIGS[name])
    counts = {"frozen": 0, "shift": 0, "encoder": 0}
    for key, parameter in model.named_parameters():
        part = "encoder" if key.startswith("encoder.") else "shift" if parameter.requires_grad else "frozen"
        counts[part] += parameter.numel()
    assert counts == {"frozen": frozen, "shift": shift, "encoder": encoder}
    assert sum(counts.values()) + frozen == twice


@pytest.mark.golden
@pytest.mark.parametrize(("tag", "config", "seed"), [("A", small_config(), 11), ("B", small_config_b(), 13)])
def test_both_heads_of_the_small_network(tag, config, seed):
    decoder = filled_pdae(config).decoder
    with torch.no_grad():
        eps, G = decoder(seeded(seed, 2, 3, 16, 16), torch.tensor([7, 731]), seeded(12, 2, 32))
    np.testing.assert_allclose(eps, SMALL[f"{tag}/eps"], atol=2e-5)
    np.testing.assert_allclose(G, SMALL[f"{tag}/grad"], atol=2e-5)


@pytest.mark.golden
def test_activations_of_the_small_network():
    decoder, t = filled_pdae(small_config()).decoder, torch.tensor([7, 731])
    with torch.no_grad():
        e, z = decoder.embed(t.float()), decoder.label_emb(seeded(12, 2, 32))
        maps = decoder.down(seeded(11, 2, 3, 16, 16), e)
        found = {"time_embed": e, "label_emb": z, "mid": decoder.middle_block(maps[-1], e)}
        found["shift_mid"] = decoder.shift_middle_block(maps[-1], e, z)
    found["temb"] = sinusoidal_embedding(torch.tensor([0.0, 1, 7, 731, 999]), 32)
    for name, value in found.items():
        np.testing.assert_allclose(value, SMALL[f"A/{name}"], atol=2e-5, err_msg=name)
    for i, value in enumerate(maps):
        x = value.double()
        stats = [float(x.mean()), float(x.std(correction=0)), float(x.norm())]
        np.testing.assert_allclose(stats, SMALL[f"A/h_in{i}_stats"], rtol=1e-5, atol=1e-6)


@pytest.mark.golden
def test_encoder():
    with torch.no_grad():
        z = filled_pdae(small_config(64)).encoder(seeded(14, 2, 3, 64, 64).clamp(-1, 1))
    np.testing.assert_allclose(z, SMALL["enc64_l32/z"], atol=2e-5)


def test_eps_does_not_depend_on_z_and_needs_none():
    decoder = filled_pdae(small_config()).decoder
    x, t = seeded(1, 2, 3, 16, 16), torch.tensor([3, 400])
    with torch.no_grad():
        eps, G = decoder(x, t, seeded(2, 2, 32))
        other, other_G = decoder(x, t, seeded(3, 2, 32))
        bare, none = decoder(x, t)
    assert torch.equal(eps, other)
    assert torch.equal(eps, bare)
    assert none is None
    assert (G - other_G).abs().max() > 1e-2


def test_a_fresh_network_shifts_nothing_and_only_its_own_parts_train():
    model = PDAE.initialised(small_config(), 0, name="fresh")
    _, G = model.decoder(seeded(1, 1, 3, 16, 16), torch.tensor([0]), seeded(2, 1, 32))
    assert not G.any()
    training = {name for name, module in model.decoder.named_modules() if module.training and name}
    assert {name.split(".")[0] for name in training} == {
        "label_emb",
        "shift_middle_block",
        "shift_output_blocks",
        "shift_out",
    }
    assert training == {name for name, module in model.train().decoder.named_modules() if module.training and name}
    assert not any(p.requires_grad for name in FROZEN for p in model.decoder.get_submodule(name).parameters())


def test_encoder_refuses_another_image_size():
    encoder: PDAEEncoder = filled_pdae(small_config(64)).encoder
    with pytest.raises(ValueError, match="64 px, found 128 px"):
        encoder(torch.zeros(1, 3, 128, 128))
