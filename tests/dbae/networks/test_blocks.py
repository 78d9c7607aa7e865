"""The options of guided-diffusion's blocks against their formulas, written out with plain functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dbae.networks.blocks import Downsample, ResBlock, Upsample


@torch.no_grad()
@pytest.mark.parametrize("additive", [False, True])
def test_the_time_scales_and_shifts_or_is_added(additive: bool) -> None:
    torch.manual_seed(0)
    block = ResBlock(8, 8, groups=4, embedding=6, additive=additive).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x, e = torch.randn(2, 8, 4, 4), torch.randn(2, 6)
    w = block.state_dict()
    h = F.silu(F.group_norm(x, 4, w["in_layers.0.weight"], w["in_layers.0.bias"]))
    h = F.conv2d(h, w["in_layers.2.weight"], w["in_layers.2.bias"], padding=1)
    told = F.linear(F.silu(e), w["emb_layers.1.weight"], w["emb_layers.1.bias"])[:, :, None, None]
    norm = w["out_layers.0.weight"], w["out_layers.0.bias"]
    if additive:
        assert told.shape[1] == 8
        h = F.group_norm(h + told, 4, *norm)
    else:
        assert told.shape[1] == 16
        h = F.group_norm(h, 4, *norm) * (1 + told[:, :8]) + told[:, 8:]
    h = F.conv2d(F.silu(h), w["out_layers.3.weight"], w["out_layers.3.bias"], padding=1)
    torch.testing.assert_close(block(x, e), x + h)


@torch.no_grad()
def test_maps_are_halved_and_doubled_by_convolutions() -> None:
    x = torch.randn(2, 3, 6, 6)
    down, up = Downsample(3), Upsample(3)
    everywhere = F.conv2d(x, down.op.weight, down.op.bias, padding=1)
    torch.testing.assert_close(down(x), everywhere[:, :, ::2, ::2])
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up(x), F.conv2d(doubled, up.conv.weight, up.conv.bias, padding=1))
    assert {*down.state_dict(), *up.state_dict()} == {"op.weight", "op.bias", "conv.weight", "conv.bias"}
