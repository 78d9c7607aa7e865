"""What every trainable system has to show: its loss falls, and its decoder listens to z."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from baselines.method import Preset
from baselines.methods import METHODS
from baselines.methods.diffae import DiffAEConfig
from baselines.methods.pdae.networks import PDAEEncoderConfig
from dbae.networks.encoder import EncoderConfig
from dbae.networks.endpoint_decoder import EndpointDecoderConfig
from dbae.networks.trunk import UNetConfig

_M = TypeVar("_M", bound=nn.Module)


def tiny() -> DiffAEConfig:
    """Shapes of a model of a few thousand parameters, for images of 8 px and z of 4 numbers."""
    unet = UNetConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(4,), head_channels=4, groups=2)
    return DiffAEConfig(
        8, 4, unet, EncoderConfig(base=4, channel_mult=(1, 2), res_blocks=1, attention_sizes=(4,), groups=2)
    )


def tiny_config(method: str) -> Any:
    """The preset faces32 of a method in the shapes of `tiny`, z of 4 numbers or 2 a part; 16 px if it decodes x_T."""
    config = METHODS[method].presets["faces32"].config()
    parts = (tiny().unet, tiny().encoder, PDAEEncoderConfig((4, 8), 4, 1, 2), EndpointDecoderConfig(width=1))
    small = {type(part): part for part in parts}
    found = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed: dict[str, Any] = {name: small[type(value)] for name, value in found.items() if type(value) in small}
    changed["image_size"] = 16 if "decoder" in found else 8
    latent_dim = {"latent_dim": 2 * found.get("parts", 2)} if "latent_dim" in found else {}
    return dataclasses.replace(config, **changed | latent_dim)


def tiny_preset(method: str, **training: Any) -> Preset:
    """A preset of `tiny_config`."""
    config = tiny_config(method)
    return Preset(lambda: config, training)


def fresh(model: Callable[..., _M], config: Any, seed: int = 0) -> _M:
    """A model named "small" with initial weights that are a function of the seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return model(config, name="small")


def stirred(model: _M) -> _M:
    """The model, in evaluation mode, with values in the layers that start at zero: its output depends on its inputs."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return model.eval()


def plain_images(n: int = 64, size: int = 8) -> Tensor:
    """Images of one colour each that fades to the right, (n, 3, size, size) in [-1, 1]: z need hold three numbers."""
    colours = torch.tensor(np.random.RandomState(0).uniform(-1, 1, (n, 3)), dtype=torch.float32)
    fade = torch.linspace(1, 0.5, size)
    return colours[:, :, None, None] * fade.expand(size, size)


def losses_of_training(
    model: nn.Module, loss: Callable[..., Any], *, steps: int, lr: float = 1e-2, attribute: str = "loss"
) -> list[float]:
    """Mean loss, or its `mse`, of each step of training on the same 64 images with the same noise at every step."""
    x0 = plain_images()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    found = []
    model.train()
    for _ in range(steps):
        torch.manual_seed(0)
        result = loss(model, x0, torch.Generator().manual_seed(0))
        result.loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(getattr(result, attribute).detach().mean()))
    model.eval()
    return found


def equal_losses(a: Any, b: Any) -> bool:
    """Whether two results are the same bit for bit."""
    return torch.equal(a.loss, b.loss) and torch.equal(a.mse, b.mse)


def gradients(model: nn.Module, loss: Callable[..., Any], x0: Tensor) -> dict[str, Tensor]:
    """Gradients of the mean loss of a batch in training mode, by parameter, of those that have any."""
    model.train().zero_grad()
    torch.manual_seed(1)
    loss(model, x0, torch.Generator().manual_seed(1)).loss.mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
