"""Interpolation and manipulation against the reference's numbers, and what a model does with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusion_networks import small_diffae
from golden_fill import GOLDEN, seeded
from small_model import small_model

from baselines.editing import interpolate_images, lerp, manipulate, manipulate_images, slerp
from dbae.samplers import SamplerConfig

GOLD = np.load(GOLDEN / "diffae" / "interp_manip.npz")


@pytest.mark.golden
def test_interpolation():
    z, x_T = seeded(401, 2, 64), seeded(402, 2, 3, 16, 16)
    shares = GOLD["alpha"].tolist()
    torch.testing.assert_close(lerp(z[0], z[1], shares), torch.from_numpy(GOLD["lerp"]), rtol=0, atol=1e-6)
    torch.testing.assert_close(slerp(x_T[0], x_T[1], shares), torch.from_numpy(GOLD["slerp"]), rtol=0, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("row", [9, 31])
@pytest.mark.parametrize("strength", [0.3, -0.3])
def test_manipulation(strength, row):
    z, weight = seeded(403, 3, 512), seeded(404, 40, 512)
    mean, std = 0.1 * seeded(303, 512), 0.5 + 0.1 * seeded(304, 512).abs()
    found = manipulate(z, weight[row], strength, mean=mean, std=std)
    torch.testing.assert_close(found, torch.from_numpy(GOLD[f"manip/amp{strength}_cls{row}"]), rtol=0, atol=1e-6)


def test_slerp_keeps_the_length_of_noise():
    """Two independent x_T are nearly perpendicular; half way between them lerp is shorter by sqrt(2)."""
    a, b = seeded(1, 3, 32, 32), seeded(2, 3, 32, 32)
    assert slerp(a, b, [0.5])[0].norm() == pytest.approx(a.norm().item(), rel=0.05)
    assert lerp(a, b, [0.5])[0].norm() == pytest.approx(a.norm().item() / math.sqrt(2), rel=0.05)


def test_slerp_between_parallel_tensors():
    a = seeded(1, 3, 4, 4)
    torch.testing.assert_close(slerp(a, a, [0.0, 0.3, 1.0]), torch.stack([a, a, a]))


def test_interpolated_images_begin_and_end_with_reconstructions():
    model, x = small_diffae(), seeded(1, 2, 3, 16, 16).clamp(-1, 1)
    three = SamplerConfig("ddim", 3)  # a few steps: more of them amplify what processors round otherwise
    found = interpolate_images(model, x[0], x[1], [0.0, 0.5, 1.0], encode_steps=10, sampler=three)
    assert (found.nfe, found.encode_nfe, found.images.shape) == (3, 10, (3, 3, 16, 16))
    z = model.encode(x)
    ends = model.decode(z, x_T=model.infer_endpoint(x, z, steps=10)[0], sampler=three).images
    torch.testing.assert_close(found.images[::2], ends, rtol=0, atol=1e-4)


def test_manipulation_keeps_the_endpoint_of_the_original():
    model, x = small_diffae(), seeded(1, 2, 3, 16, 16).clamp(-1, 1)
    w, mean, std = seeded(5, 4), torch.zeros(4), torch.ones(4)
    ten = SamplerConfig("ddim", 10)
    none, some = (
        manipulate_images(model, x, w, s, mean=mean, std=std, encode_steps=5, sampler=ten).images for s in (0.0, 3.0)
    )
    z = model.encode(x)
    x_T, _ = model.infer_endpoint(x, z, steps=5)
    torch.testing.assert_close(none, model.decode(z, x_T=x_T, sampler=ten).images)
    moved = z + 3 * 2 * w / w.norm()
    torch.testing.assert_close(some, model.decode(moved, x_T=x_T, sampler=ten).images)
    assert (none - some).abs().max() > 1e-4


def test_a_model_that_decodes_its_endpoint_needs_none():
    model = small_model().eval()
    x = seeded(1, 2, 3, 16, 16).clamp(-1, 1)
    found = interpolate_images(model, x[0], x[1], [0.0, 1.0], sampler=SamplerConfig("one_step", 1))
    expected = model.decode(model.encode(x), sampler=SamplerConfig("one_step", 1))
    assert (found.nfe, found.encode_nfe) == (1, 0)
    torch.testing.assert_close(found.images, expected.images)
