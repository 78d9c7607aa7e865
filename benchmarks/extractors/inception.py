r"""Inception v3 as FID knows it: the TensorFlow network of 2015-12-05, 1008 outputs, in plain PyTorch.

It has torchvision's parameter names (566 tensors) and differs from torchvision's blocks in two places:

    every 3 x 3 average pool of a block   divides by the pixels inside the image, not by 9
    the pool of the last block            is a maximum

Stock blocks with the same weights are off by 18 %. Three programs feed it in three ways, from uint8 pixels p:

    clean           antialiased bicubic (Pillow's), clipped to [0, 255], no rounding;   (p - 128) / 128
    legacy_pytorch  bilinear with half-pixel centres;                                   p / 127.5 - 1
    tf1             bilinear with source coordinate i * (in / 299), no antialiasing;    (p - 128) / 128

clean is clean-fid's default, legacy_pytorch is pytorch-fid, tf1 is the original program and guided-diffusion's.
Sources: toshas/torch-fidelity, mseitzer/pytorch-fid, GaParmar/clean-fid, openai/guided-diffusion (evaluations).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from benchmarks.extractors.torchvision_shim import import_torchvision
from dbae.support.errors import UserError

Variant = Literal["clean", "legacy_pytorch", "tf1"]
Pool = Literal["average", "max", "reduce"]

SIZE = 299
POOL_DIM = 2048
CLASSES = 1008


class Step(NamedTuple):
    """One convolution of a branch: its name in the weight file, output channels, kernel (h, w), stride."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = Sequence[Step | tuple[Step, Step]]


class InceptionOutput(NamedTuple):
    """What metrics read.

    Attributes:
        pool: the features of FID, precision and recall, KID.
        spatial: the features of sFID: 7 channels of 17 x 17, flattened in the order h, w, c.
        logits: bias-free, the input of the Inception Score.
    """

    pool: Float[Tensor, "b 2048"]
    spatial: Float[Tensor, "b 2023"]
    logits: Float[Tensor, "b 1008"]


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation with eps 1e-3, ReLU."""

    def __init__(self, inputs: int, step: Step, *, padded: bool) -> None:
        super().__init__()
        padding = (step.kernel[0] // 2, step.kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, step.channels, step.kernel, step.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(step.channels, eps=1e-3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Convolution, batch norm and ReLU."""
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, then a pool, concatenated. A pair of steps ends a branch in two halves.

    Args:
        inputs: channels.
        branches: convolutions, padded unless they have a stride.
        pool: "reduce" is a 3 x 3 maximum of stride 2; the others keep the size and end in a convolution, `branch_pool`.
        pooled: channels of `branch_pool`.
    """

    def __init__(self, inputs: int, branches: Sequence[Branch], pool: Pool, pooled: int = 0) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        for branch in branches:
            channels = inputs
            for step in branch:
                for half in (step,) if isinstance(step, Step) else step:
                    self.add_module(half.name, Convolution(channels, half, padded=half.stride == 1))
                    width = half.channels
                channels = width
        if pool != "reduce":
            self.branch_pool = Convolution(inputs, Step("branch_pool", pooled), padded=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """The branches' maps side by side, those of the pooling branch last."""
        results = []
        for branch in self.branches:
            y = x
            for step in branch:
                halves = (step,) if isinstance(step, Step) else step
                y = torch.cat([self.get_submodule(half.name)(y) for half in halves], dim=1)
            results.append(y)
        if self.pool == "reduce":
            return torch.cat([*results, F.max_pool2d(x, 3, 2)], dim=1)
        y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) if self.pool == "average" else F.max_pool2d(x, 3, 1, 1)
        return torch.cat([*results, self.branch_pool(y)], dim=1)


class Inception(nn.Module):
    """The network, of images that are already 299 x 299 and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, Step("", 32, (3, 3), 2), padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, Step("", 32, (3, 3)), padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, Step("", 64, (3, 3)), padded=True)
        self.Conv2d_3b_1x1 = Convolution(64, Step("", 80), padded=False)
        self.Conv2d_4a_3x3 = Convolution(80, Step("", 192, (3, 3)), padded=False)
        self.Mixed_5b = _block_35(192, 32)
        self.Mixed_5c = _block_35(256, 64)
        self.Mixed_5d = _block_35(288, 64)
        self.Mixed_6a = _reduction_17()
        self.Mixed_6b = _block_17(128)
        self.Mixed_6c = _block_17(160)
        self.Mixed_6d = _block_17(160)
        self.Mixed_6e = _block_17(192)
        self.Mixed_7a = _reduction_8()
        self.Mixed_7b = _block_8(1280, "average")
        self.Mixed_7c = _block_8(2048, "max")
        self.fc = nn.Linear(POOL_DIM, CLASSES)

    def forward(self, x: Float[Tensor, "b 3 299 299"]) -> InceptionOutput:
        """Pooled features, 7 channels of the 17 x 17 maps (sFID), and logits without the bias (Inception Score)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        spatial = x[:, :7].permute(0, 2, 3, 1).flatten(1)  # the first channels are those of branch1x1
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        pool = x.mean(dim=(2, 3))
        return InceptionOutput(pool, spatial, F.linear(pool, self.fc.weight))


def resize(images: UInt8[Tensor, "b 3 h w"], variant: Variant) -> Float[Tensor, "b 3 299 299"]:
    """To 299 x 299 in pixel units [0, 255], float32, on the device of the images."""
    if variant == "clean":
        # float64, because Pillow accumulates in it; float32 would round differently on every device.
        big = F.interpolate(images.double(), (SIZE, SIZE), mode="bicubic", antialias=True)
        return big.clamp_(0, 255).float()
    if variant == "legacy_pytorch":
        return F.interpolate(images.float(), (SIZE, SIZE), mode="bilinear", align_corners=False)
    x = images.float()
    return _stretch(_stretch(x, 3), 2)  # along a row first: the order is part of the definition


@functools.cache
def require_clean_fid_agrees() -> None:
    """Have clean-fid itself resize an image, smaller and larger ones, since features and metrics bear its name.

    All images are resized by `resize`, as batches on their device; the package takes one after another, on the CPU.

    Raises:
        UserError: the package that is installed resizes otherwise.
    """
    import_torchvision()
    from cleanfid.resize import build_resizer

    for side in (64, 320):
        grid = torch.arange(3 * side**2).view(3, side, side)
        image = (grid.square() % 251).to(torch.uint8)
        expected = torch.from_numpy(build_resizer("clean")(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)
        if float((resize(image[None], "clean")[0] - expected).abs().max()) > 1e-3:
            raise UserError(
                f"inception-clean: expected an image of {side} pixels to be resized as by clean-fid, found other "
                "pixels. Install the versions of clean-fid and pillow that constraints.txt names."
            )


def network_input(images: UInt8[Tensor, "b 3 h w"], variant: Variant) -> Float[Tensor, "b 3 299 299"]:
    """Resized and normalised as the variant's program does it."""
    x = resize(images, variant)
    return 2 * (x / 255) - 1 if variant == "legacy_pytorch" else (x - 128) / 128


def _stretch(x: Float[Tensor, "b 3 h w"], axis: int) -> Float[Tensor, "b 3 h2 w2"]:
    size = x.shape[axis]
    scale = torch.tensor(size, dtype=torch.float32) / SIZE
    source = torch.arange(SIZE, dtype=torch.float32) * scale
    low = source.floor().long()
    weight = (source - low).to(x.device)
    low, high = low.to(x.device), (low + 1).clamp(max=size - 1).to(x.device)
    a, b = x.index_select(axis, low), x.index_select(axis, high)
    return a + (b - a) * weight.view(-1, *[1] * (3 - axis))


def _block_35(inputs: int, pooled: int) -> Block:
    double = [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, (3, 3)), Step("branch3x3dbl_3", 96, (3, 3))]
    five = [Step("branch5x5_1", 48), Step("branch5x5_2", 64, (5, 5))]
    return Block(inputs, [[Step("branch1x1", 64)], five, double], "average", pooled)


def _reduction_17() -> Block:
    double = [Step("branch3x3dbl_1", 64), Step("branch3x3dbl_2", 96, (3, 3)), Step("branch3x3dbl_3", 96, (3, 3), 2)]
    return Block(288, [[Step("branch3x3", 384, (3, 3), 2)], double], "reduce")


def _block_17(c: int) -> Block:
    seven = [Step("branch7x7_1", c), Step("branch7x7_2", c, (1, 7)), Step("branch7x7_3", 192, (7, 1))]
    double = [Step("branch7x7dbl_1", c), Step("branch7x7dbl_2", c, (7, 1)), Step("branch7x7dbl_3", c, (1, 7))]
    double += [Step("branch7x7dbl_4", c, (7, 1)), Step("branch7x7dbl_5", 192, (1, 7))]
    return Block(768, [[Step("branch1x1", 192)], seven, double], "average", 192)


def _reduction_8() -> Block:
    three = [Step("branch3x3_1", 192), Step("branch3x3_2", 320, (3, 3), 2)]
    seven = [Step("branch7x7x3_1", 192), Step("branch7x7x3_2", 192, (1, 7)), Step("branch7x7x3_3", 192, (7, 1))]
    return Block(768, [three, [*seven, Step("branch7x7x3_4", 192, (3, 3), 2)]], "reduce")


def _block_8(inputs: int, pool: Pool) -> Block:
    three: Branch = [Step("branch3x3_1", 384), _halves("branch3x3_2")]
    double: Branch = [Step("branch3x3dbl_1", 448), Step("branch3x3dbl_2", 384, (3, 3)), _halves("branch3x3dbl_3")]
    return Block(inputs, [[Step("branch1x1", 320)], three, double], pool, 192)


def _halves(name: str) -> tuple[Step, Step]:
    return Step(f"{name}a", 384, (1, 3)), Step(f"{name}b", 384, (3, 1))
