"""Ways to run the same score U-Net, from plain eager float32 on, each adding to the one before:

plain           contiguous float32, softmax(q k^T / sqrt(d)) v written out
SDPA            torch's fused attention (what the network always uses)
channels_last   memory layout of weights and maps (what training and inference use)
buffer          maps are written into the concatenation that reads them later; inference alone, a prototype
compile         torch.compile
bf16            autocast; eager
compile + bf16  both

What `buffer` gains on CPUs is page faults of freshly mapped memory, not the copy: with glibc told to keep its memory
(MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456), channels_last is
faster and `buffer` gains less than 1 % more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from unittest import mock

import torch
import torch.nn.functional as F
from golden_fill import fill
from torch import Tensor, nn

from dbae.model import DBAEConfig
from dbae.networks.blocks import ResBlock, _resize
from dbae.networks.unet import UNet
from dbae.support.precision import Precision, autocast

Network = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Variant:
    """See the module docstring."""

    name: str
    sdpa: bool = True
    channels_last: bool = True
    buffer: bool = False
    compiled: bool = False
    precision: Precision = "fp32"


PLAIN = Variant("plain", sdpa=False, channels_last=False)
VARIANTS = (
    Variant("SDPA", channels_last=False),
    Variant("channels_last"),
    Variant("buffer", buffer=True),
    Variant("compile", compiled=True),
    Variant("bf16", precision="bf16"),
    Variant("compile + bf16", compiled=True, precision="bf16"),
)


def attention_written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with all weights in memory."""
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v


class Runner:
    """A U-Net run in one of the ways, on fixed inputs.

    Args:
        config: of the model; its U-Net gets filled weights (fresh ones end in zeros) and no dropout, whose masks
            would differ between the ways.
        variant: how it is run.
        batch: images.
        device: where.
    """

    def __init__(self, config: DBAEConfig, variant: Variant, batch: int, device: torch.device) -> None:
        score = dataclasses.replace(config.score, dropout=0.0)
        self.variant, self.device = variant, device
        layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        self.net = UNet(score, image_size=config.image_size, latent_dim=config.latent_dim)
        self.net.load_state_dict(fill(self.net.state_dict()))
        self.net.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.run: Network = self.net
        if variant.compiled:
            self.run = torch.compile(self.net)
        if variant.buffer:
            self.run = Buffered(self.net)
        generator = torch.Generator().manual_seed(0)
        shape = (batch, 3, config.image_size, config.image_size)
        x, x_T = (torch.randn(shape, generator=generator).to(device, memory_format=layout) for _ in range(2))
        z = torch.randn(batch, config.latent_dim, generator=generator).to(device)
        self.inputs = x, torch.full((batch,), -100.0, device=device), x_T, z
        self.optimizer = torch.optim.RAdam(self.net.parameters(), lr=0.0, foreach=True)

    @torch.no_grad()
    def forward(self) -> Tensor:
        with self._mode():
            return self.run(*self.inputs).float()

    def training_step(self) -> None:
        """Forward, backward, RAdam (of step length 0, so that every step is the same)."""
        self.optimizer.zero_grad(set_to_none=True)
        self._backward()
        self.optimizer.step()

    def gradient(self) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        self._backward()
        return torch.cat([p.grad.flatten() for p in self.net.parameters() if p.grad is not None])

    def _backward(self) -> None:
        with self._mode():
            out = self.run(*self.inputs)
        (out.float() - self.inputs[0]).square().mean().backward()

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        name = "scaled_dot_product_attention"
        with autocast(self.device, self.variant.precision), contextlib.ExitStack() as stack:
            if not self.variant.sdpa:
                stack.enter_context(mock.patch.object(F, name, attention_written_out))
            yield


class Buffered:
    """The U-Net without `torch.cat` on the way up: the last sum of every block goes where it is read later."""

    def __init__(self, net: UNet) -> None:
        self.net = net
        self.buffers: list[Tensor] = []
        self.widths: list[int] = []

    def __call__(self, x: Tensor, c_noise: Tensor, x_T: Tensor, z: Tensor) -> Tensor:
        if not self.buffers:
            return self._allocate(x, c_noise, x_T, z)
        net, last = self.net, len(self.buffers) - 1
        e = net.embed(c_noise) + net.label_emb(z)
        h = torch.cat([x, x_T], dim=1)
        for i, block in enumerate(net.input_blocks):
            h = run_into(block, h, e, self.buffers[last - i][:, self.widths[last - i] :])
        h = run_into(net.middle_block, h, e, self.buffers[0][:, : self.widths[0]])
        for i, block in enumerate(net.output_blocks):
            out = self.buffers[i + 1][:, : self.widths[i + 1]] if i < last else None
            h = run_into(block, self.buffers[i], e, out)
        return net.out(h)

    def _allocate(self, *inputs: Tensor) -> Tensor:
        """A run with `torch.cat` that keeps its results as buffers."""
        cat = torch.cat

        def keep(tensors: list[Tensor], dim: int) -> Tensor:
            whole = cat(tensors, dim=dim)
            if tensors[0].shape[1] > 3 and whole.ndim == 4:
                self.buffers.append(whole)
                self.widths.append(tensors[0].shape[1])
            return whole

        with mock.patch.object(torch, "cat", keep):
            return self.net(*inputs)


def run_into(block: nn.Sequential, x: Tensor, e: Tensor, out: Tensor | None) -> Tensor:
    """A block of layers whose result is written to `out`, if given.

    The sum that ends a residual block is formed there; smaller maps, which end in attention, are copied.
    """
    if out is None:
        return block(x, e)
    *layers, last = block
    for layer in layers:
        x = layer(x, e) if isinstance(layer, ResBlock) else layer(x)
    if isinstance(last, ResBlock):
        return torch.add(last.skip_connection(_resize(x, last.resize)), residual(last, x, e), out=out)
    return out.copy_(last(x))


def residual(block: ResBlock, x: Tensor, e: Tensor) -> Tensor:
    """What a conditional residual block adds to its shortcut."""
    norm, act, conv = block.in_layers
    h = conv(_resize(act(norm(x)), block.resize))
    scale, shift = block.emb_layers(e)[:, :, None, None].chunk(2, dim=1)
    norm, *rest = block.out_layers
    h = norm(h) * (1 + scale) + shift
    for layer in rest:
        h = layer(h)
    return h
