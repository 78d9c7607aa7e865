"""FDAE: its two regularisers are the published ones, masks share each pixel, and each half of z has its part."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from golden_fill import GOLDEN
from systems import fresh, gradients, losses_of_training, plain_images, stirred, tiny

from baselines.conformance import check
from baselines.diffusion import noise_loss
from baselines.methods import fdae
from baselines.methods.fdae import FDAE, METHOD, FDAEConfig, MaskDecoder, content_decorrelation, mask_entropy
from baselines.train import pictures
from dbae.noise import GeneratorNoise
from dbae.samplers import SamplerConfig
from dbae.support.errors import UserError

X = plain_images(4)
NOISE = X.flip(0)
LOSSES = json.loads((GOLDEN / "systems" / "losses.json").read_text())


def config(**options: object) -> FDAEConfig:
    """Two parts by default: of the four numbers of z, one for each content and mask."""
    shape = {field.name: getattr(tiny(), field.name) for field in dataclasses.fields(tiny())}
    return FDAEConfig(**shape | {"parts": 2} | options)  # type: ignore[arg-type]


def small(**options: object) -> FDAE:
    return stirred(fresh(FDAE, config(**options)))


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.tensor(np.random.RandomState(seed).standard_normal(shape), dtype=torch.float32)


@pytest.mark.golden
def test_regularisers_are_the_published_ones():
    found = content_decorrelation(random(7, 12, 30).unflatten(1, (6, 5)))
    assert float(found) == pytest.approx(LOSSES["fdae_content_decorrelation"]["value"], rel=1e-5)
    entropy = mask_entropy(random(8, 4, 6, 8, 8).softmax(1))
    assert entropy.shape == (4,)
    assert float(entropy.mean()) == pytest.approx(LOSSES["fdae_mask_entropy"]["value"], rel=1e-5)


def test_regularisers_at_their_ends():
    """Contents of parts that vary alike, masks that say one part alone, and gradients that are finite there."""
    alike = random(1, 5, 1, 3).expand(-1, 4, -1)
    torch.testing.assert_close(content_decorrelation(alike), torch.tensor(5 / 16))  # b codes of length 1 / N
    apart = torch.zeros(4, 2, 4)
    apart[:, 0, :2], apart[:, 1, 2:] = random(2, 4, 2), random(3, 4, 2)
    assert content_decorrelation(apart) == 0
    logits = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    sure = mask_entropy(logits.softmax(1))
    sure.sum().backward()
    assert sure.abs() < 1e-6
    assert torch.isfinite(logits.grad).all()


def test_loss_has_its_terms():
    model = small(decorrelation=0.5, entropy=2.0)
    z = model.encode(X)
    masks = model.masks_of(z)
    generator = torch.Generator().manual_seed(1)
    t = torch.randint(1000, (4,), generator=generator)
    scene = model.scene(z, masks)
    mse = noise_loss(lambda x, t: model.network(x, t, scene), "linear", X, t, noise=GeneratorNoise(generator)).loss
    result = fdae.loss(model, X, torch.Generator().manual_seed(1))
    expected = mse + 0.5 * content_decorrelation(z[:, :2, None]) + 2 * mask_entropy(masks)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.mse, mse.detach())


@torch.no_grad()
def test_scene_is_the_contents_where_their_masks_are():
    model = small()
    z = model.encode(X)
    masks = model.masks_of(z)
    torch.testing.assert_close(masks.sum(1), torch.ones(4, 8, 8))
    weights, biases = model.contents.weight.view(2, 4, 1), model.contents.bias.view(2, 4)
    expected = sum(masks[:, n, None] * (z[:, n : n + 1] @ weights[n].T + biases[n])[:, :, None, None] for n in range(2))
    torch.testing.assert_close(model.scene(z, masks), expected)


@torch.no_grad()
def test_masks_are_of_the_second_half_of_z_and_a_part_of_its_own_code():
    model = small()
    z = model.encode(X)
    other = torch.cat([z.flip(0)[:, :2], z[:, 2:]], 1)
    assert torch.equal(model.masks_of(z), model.masks_of(other))
    assert not torch.equal(model.masks_of(z), model.masks_of(z.flip(0)))
    swapped = z[:, [0, 1, 3, 2]]
    torch.testing.assert_close(model.masks_of(swapped), model.masks_of(z).flip(1))


def test_loss_falls_and_both_halves_of_z_are_used():
    model = fresh(FDAE, config())
    losses = losses_of_training(model, fdae.loss, steps=15)
    assert losses[-1] < losses[0] - 0.1
    stirred(model)
    z, other = model.encode(X), model.encode(X.flip(0))
    contents, masks = torch.cat([other[:, :2], z[:, 2:]], 1), torch.cat([z[:, :2], other[:, 2:]], 1)
    sampler = SamplerConfig("ddim", nfe=4)
    first, *others = (model.decode(code, x_T=NOISE, sampler=sampler).images for code in (z, contents, masks, other))
    assert all((image - first).abs().max() > 1e-4 for image in others)


def test_all_of_it_learns():
    model = small()
    found = gradients(model, fdae.loss, X)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all(grad.any() for name, grad in found.items() if name.split(".")[0] in ("contents", "encoder"))


@pytest.mark.parametrize(("size", "side", "widths"), [(8, 4, [16]), (32, 4, [16, 16, 16]), (48, 3, []), (3, 3, [])])
def test_masks_have_the_size_of_the_image(size, side, widths):
    decoder = MaskDecoder(2, size, base=4, groups=2)
    assert decoder.side == side
    assert decoder(torch.zeros(1, 2)).shape == (1, 1, size, size)


def test_widths_of_the_mask_decoder_are_the_published_ones_at_64_px():
    decoder = MaskDecoder(80, 64, base=64, groups=32)
    convolutions = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [384, 256, 128, 64, 1]
    assert decoder.start.out_features == 384 * 4 * 4


def test_it_keeps_the_protocol_and_shows_its_masks():
    model = small()
    check(model)
    masks = pictures(model, X)[1]
    assert masks.shape == X.shape
    assert masks.abs().max() <= 1 + 1e-6
    assert not torch.equal(masks[0], masks[1])


def test_what_tables_call_it_and_what_is_refused():
    assert METHOD.variant(config(parts=4, latent_dim=8)) == ""
    assert METHOD.variant(config(entropy=0.0)) == "parts=2, entropy=0.0"
    with pytest.raises(UserError, match=r"--latent-dim: expected a multiple of 6, as z is .* 3 parts, found 4; change"):
        config(parts=3)
    with pytest.raises(UserError, match="--parts: expected 2 or more, found 1"):
        config(parts=1)
