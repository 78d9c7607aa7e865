"""The blended endpoint: x_T is Dec(z) for some images and noise for the others."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_model import small_config, small_model
from torch import Tensor

from dbae.losses import bridge_loss
from dbae.model import DBAE
from dbae.noise import PerImageNoise, ReplayNoise
from dbae.samplers import SamplerConfig

N = 400
ONE_STEP = SamplerConfig("one_step", nfe=1)


def blended(blend: float) -> DBAE:
    config = dataclasses.replace(small_config(), endpoint_blend=blend)
    return DBAE.initialised(config, 0).eval()


def codes(n: int = N) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def draw(blend: float) -> tuple[Tensor, Tensor]:
    """x_T of N images, and which of them are decoded."""
    model = small_model().eval()
    with torch.no_grad():
        x_T = model.draw_endpoint(codes(), PerImageNoise(0, range(N)), blend=blend)
        return x_T, (x_T == model.endpoint(codes())).flatten(1).all(1)


def test_ends_are_dbae_and_diffae() -> None:
    assert draw(1.0)[1].all()
    x_T, decoded = draw(0.0)
    assert not decoded.any()
    assert abs(float(x_T.mean())) < 0.01
    assert abs(float(x_T.std()) - 1) < 0.01


def test_share_of_decoded_images_is_the_blend_and_larger_blends_contain_smaller_ones() -> None:
    few, many = draw(0.3)[1], draw(0.7)[1]
    for share, decoded in ((0.3, few), (0.7, many)):
        assert abs(float(decoded.float().mean()) - share) < 3 * (share * (1 - share) / N) ** 0.5
    assert many[few].all()
    noise = [draw(blend)[0][~many] for blend in (0.3, 0.7)]
    assert torch.equal(*noise)


def test_model_draws_by_its_own_blend_and_says_which_endpoints_it_knows() -> None:
    assert blended(0.0).endpoints == ("random",)
    assert blended(0.5).endpoints == ("decoded", "random")
    assert blended(1.0).endpoints == ("decoded",)
    z = codes(8)
    choice, eps = torch.linspace(-2, 2, 8)[:, None], torch.full((8, 3, 16, 16), 0.25)
    with torch.no_grad():
        x_T = blended(0.5).draw_endpoint(z, ReplayNoise([choice, eps]))
    assert (x_T == 0.25).flatten(1).all(1).tolist() == [False] * 4 + [True] * 4


def test_decoding_starts_at_the_decoded_endpoint_unless_it_was_never_trained() -> None:
    z = codes(3)
    for model in (blended(1.0), blended(0.5)):
        with torch.no_grad():
            x_T = model.endpoint(z)
        expected = model.decode(z, x_T=x_T, sampler=ONE_STEP).images
        assert torch.equal(model.decode(z, sampler=ONE_STEP).images, expected)
    diffae = blended(0.0)
    with pytest.raises(ValueError, match="starts at noise"):
        diffae.decode(z, sampler=ONE_STEP)
    with torch.no_grad():
        x_T = diffae.draw_endpoint(z, PerImageNoise(3, range(3)))
    expected = diffae.decode(z, x_T=x_T, sampler=ONE_STEP).images
    assert torch.equal(diffae.decode(z, sampler=ONE_STEP, noise=PerImageNoise(3, range(3))).images, expected)


def test_training_sees_the_blend() -> None:
    """With noise alone the endpoint decoder has no part in the loss."""
    x0 = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    norms = {}
    for blend in (0.0, 0.5, 1.0):
        model = blended(blend)
        bridge_loss(model, x0, torch.full((4,), 0.5), noise=PerImageNoise(2, range(4))).loss.mean().backward()
        norms[blend] = sum(float(p.grad.norm()) for p in model.decoder.parameters() if p.grad is not None)
    assert norms[0.0] == 0
    assert norms[0.5] > 0
    assert norms[1.0] > 0


@pytest.mark.parametrize("blend", [-0.1, 1.1])
def test_blend_is_a_share(blend: float) -> None:
    with pytest.raises(ValueError, match="endpoint_blend"):
        dataclasses.replace(small_config(), endpoint_blend=blend)
