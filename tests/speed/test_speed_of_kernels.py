"""Pieces of a training step against PyTorch's usual ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dbae.networks.endpoint_decoder import GatedUnit


def weights() -> list[Tensor]:
    """2 million numbers in layers of two sizes."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(30) for shape in ((256, 256), (256,))]


@pytest.mark.parametrize(("name", "goal"), [("Adam", 2.0), ("AdamW", 2.0)])
def test_optimiser_step(against, name, goal):
    """The fused one that training takes."""

    def stepping(**options: bool):
        parameters = [nn.Parameter(w) for w in weights()]
        for parameter, gradient in zip(parameters, weights(), strict=True):
            parameter.grad = gradient
        optimizer = getattr(torch.optim, name)(parameters, lr=1e-3, **options)

        def step() -> Tensor:
            optimizer.step()
            return parameters[0].detach().clone()

        return step

    found, expected = against(f"{name} step, 2 M weights", "PyTorch's default", goal, stepping(fused=True), stepping())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_gated_unit(against):
    x = torch.randn(16, 128, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()

    def gradient(unit: nn.Module) -> Tensor:
        (result,) = torch.autograd.grad(unit(x).square().sum(), x)
        return result

    found, expected = against(
        "gated unit and its gradient", "nn.GLU", 1.5, lambda: gradient(GatedUnit()), lambda: gradient(nn.GLU(dim=1))
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
