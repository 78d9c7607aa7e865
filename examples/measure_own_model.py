"""Measure a model of your own, here a thumbnail: z is the image at 4 x 4 pixels, and x is z enlarged.

    python examples/measure_own_model.py runs/thumbnail

A benchmark asks for the attributes and methods below and for nothing else (`baselines.interface`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import benchmarks.downstream
import benchmarks.reconstruction
from dbae.support.cli import script


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Images in [-1, 1], and the network evaluations that each of them took."""

    images: Tensor
    nfe: int = 1


class Thumbnail:
    """An encoder that averages pixels, and a decoder that enlarges."""

    name, image_size, latent_dim = "thumbnail", 32, 48
    samplers, endpoints, encode_nfe = ("one_step",), ("decoded",), 0

    def posterior(self, x: Tensor) -> tuple[Tensor, None]:
        """z of images (b, 3, 32, 32), and no deviation."""
        return F.adaptive_avg_pool2d(x, 4).flatten(1), None

    @torch.no_grad()
    def encode(self, x: Tensor, *, noise: Any = None) -> Tensor:
        """z (b, 48)."""
        return self.posterior(x)[0]

    @torch.no_grad()
    def decode(self, z: Tensor, *, x_T: Any = None, sampler: Any = None, noise: Any = None) -> Decoded:
        """Images of z."""
        small = z.unflatten(1, (3, 4, 4))
        return Decoded(F.interpolate(small, size=self.image_size, mode="bilinear").clamp(-1, 1))


def main(out: str, data: str = "faces:?n=1000") -> None:
    """Write and print what a linear map reads from z, and how well images come back."""
    probes = benchmarks.downstream.measure(Thumbnail(), data=data, out=Path(out) / "downstream.csv")
    means = probes[(probes.attribute == "mean") & (probes.split == "test") & probes.metric.isin(["AP", "Pearson_r"])]
    print(means[["model", "protocol", "seed", "metric", "value"]].to_string(index=False))
    images = benchmarks.reconstruction.measure(Thumbnail(), data=data, out=Path(out) / "reconstruction.csv", limit=100)
    print(images[["model", "metric", "value"]].to_string(index=False))


if __name__ == "__main__":
    raise SystemExit(script(main))
