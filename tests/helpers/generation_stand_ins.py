"""What the tests of generation measure: a small DBAE, a prior and an extractor that cost nothing.

As a program, `generation_stand_ins.py FOLDER`, it measures them in as many processes as torchrun starts.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent))
from small_model import Pixels, small_model

from baselines.interface import LoadedModel
from benchmarks.generation import command as generation
from benchmarks.generation.command import GenerationOptions, run


class StandardPrior:
    """z ~ N(0, I), at a cost of 3 evaluations."""

    latent_dim = 4

    def sample(self, noise, n):
        return types.SimpleNamespace(z=noise.normal((n, self.latent_dim)), nfe=3)


class Extractor:
    """Means of quarters of the image, and a classifier on them."""

    dim = 12
    fingerprint = "ab" * 32
    device = torch.device("cpu")

    def __init__(self, name: str = "quarters") -> None:
        self.name = name
        self.head = torch.eye(12) if name.startswith("inception") else None
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


def loaded_small() -> LoadedModel:
    """A DBAE with a prior, as `baselines.load.load` gives it."""
    model = small_model()
    with torch.no_grad():
        model.score.out[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    return LoadedModel(
        model=model,
        path=Path("small.pt"),
        name="small",
        method="DBAE",
        variant="stochastic",
        train_data="",
        weights="untrained",
        sha256="0" * 64,
        prior=StandardPrior(),
        untrained=lambda seed: small_model(seed=seed),
    )


def measure(options, loaded):
    return run(options, lambda source: loaded, lambda source, size: Pixels(40, size))


def values(rows):
    return {(r.model, r.protocol, r.z, r.x_T, r.sampler, r.nfe, r.metric): r.value for r in rows}


def options_of(folder: Path) -> GenerationOptions:
    """A run of 5 parts of 4 images."""
    return GenerationOptions(
        ckpt=("small",), data=("pixels",), out=folder / "generation.csv", nfe=(2,), n=18, batch_size=4, device="cpu"
    )


def main(folder: Path) -> None:
    """Measure in this process, one of several."""
    from benchmarks.generation import generated

    torch.set_num_threads(1)
    os.environ["DBAE_CACHE"] = str(folder / "cache")
    generated.PART = 4
    generation.load_prior = lambda source, of: StandardPrior()
    generation.load_extractors = lambda kinds, weights, **_: [Extractor()]
    measure(options_of(folder), loaded_small())
    written = [path.name for path in (folder / "cache" / "generated").rglob("*.npz")]
    assert len(written) == 2 * 5


if __name__ == "__main__":
    main(Path(sys.argv[1]))
