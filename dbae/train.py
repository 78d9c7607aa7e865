"""Train a Diffusion Bridge AutoEncoder on a folder or archive of images.

Examples:
  python -m dbae.train --preset faces32 --data faces --out runs/faces32
  python -m dbae.train --preset faces64 --data zip:photos.zip --out runs/photos --precision bf16
  python -m dbae.train --preset faces32 --data faces --out runs/faces32 --resume

Training options that are left out have the preset's values: the paper's, or for faces32 and faces64 those of a small
machine.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from dbae import model as presets
from dbae.checkpoint import Card
from dbae.cli import run
from dbae.data import ImageDataset, InMemory, TrainingStream, open_data
from dbae.data.source import parse_source
from dbae.errors import UserError
from dbae.fit import TrainConfig, fit
from dbae.images import contact_sheet, save_png, to_float, to_uint8
from dbae.losses import BridgeLoss, bridge_loss
from dbae.model import DBAE, DBAEConfig, parameter_counts
from dbae.noise import GeneratorNoise
from dbae.provenance import revision, versions
from dbae.runfolder import RunFolder
from dbae.samplers import SamplerConfig

__all__ = ["Args", "fit", "main", "train"]

Preset = Literal["faces32", "faces64", "celeba64", "ffhq128", "horse128", "bedroom128"]
log = logging.getLogger(__name__)

# What differs from TrainConfig's defaults, the paper's, for the models that train on small machines.
_SMALL = dict(batch_size=64, accumulate=1, lr=1e-3, ema_rate=0.999, ema_warmup=True, clip_grad=1.0)
DEFAULTS: dict[str, dict[str, float | bool]] = {
    "faces32": _SMALL | dict(images=600_000, save_every=50_000, preview_every=50_000, milestone_every=100_000),
    "faces64": _SMALL | dict(images=20_000_000, batch_size=128, lr=2e-4, save_every=500_000, preview_every=500_000),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Options of the command.

    Attributes:
        data: images, KIND:ROOT[?size=..&split=..&n=..&seed=..]; a split "train" is used where there is one.
        out: folder of the run: checkpoints, milestones, pictures, log.csv.
        preset: architecture.
        stochastic: z is sampled (DBAE); --no-stochastic gives DBAE-d.
        latent_dim: length of z; None keeps the preset's.
        name: name of the model in result rows; None is "dbae-PRESET".
        resume: go on from the newest checkpoint in --out, if there is one.
        in_memory: decode all images once into memory (3 size^2 bytes an image).
        train: options of the loop.
    """

    data: str
    out: Path
    preset: Preset = "faces32"
    stochastic: bool = True
    latent_dim: int | None = None
    name: str | None = None
    resume: bool = False
    in_memory: bool = True
    train: tyro.conf.OmitArgPrefixes[TrainConfig] = TrainConfig()

    def __post_init__(self) -> None:
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UserError(f"--latent-dim: expected 1 or more, found {self.latent_dim}; change --latent-dim.")


def train(args: Args) -> Path:
    """Run the command; returns the last checkpoint."""
    if not args.resume:
        RunFolder(args.out).require_new()  # before the images are read
    config: DBAEConfig = getattr(presets, args.preset)(stochastic=args.stochastic)
    if args.latent_dim is not None:
        config = dataclasses.replace(config, latent_dim=args.latent_dim)
    data = open_data(args.data, size=config.image_size)
    if args.in_memory:
        data = InMemory(data)
    split = "train" if "train" in data.splits else "all"
    if not len(data.split(split)):
        raise UserError(
            f"{args.data}: expected images to train on, found none in the split '{split}'. Take more images."
        )
    options = args.train
    stream = TrainingStream(
        data, data.split(split), options.batch_size, seed=options.seed, flip=options.flip, workers=options.workers
    )
    model = DBAE.initialised(config, options.seed, name=args.name or f"dbae-{args.preset}")
    log.info("%s parameters; %d training images of %s", parameter_counts(model), len(stream.indices), data.name)
    return fit(
        model,
        objective,
        stream,
        options,
        args.out,
        _card(args, model, data, split),
        preview=_Preview(data),
        resume=args.resume,
    )


def objective(model: DBAE, x0: Tensor, generator: torch.Generator) -> BridgeLoss:
    """Bridge score matching at times drawn uniformly (order of draws: t, encoder, bridge, then dropout)."""
    t = model.config.bridge.sample_times(len(x0), generator)
    return bridge_loss(model, x0, t, noise=GeneratorNoise(generator))


class _Preview:
    """Writes x0, x_T and a 10-step reconstruction of 16 held-out images, three rows of eight twice over."""

    def __init__(self, data: ImageDataset) -> None:
        held_out = next(data.splits[s] for s in ("val", "test", "all") if s in data.splits and len(data.splits[s]))
        self.images = data.batch(np.asarray(held_out[:16]))

    def __call__(self, model: DBAE, path: Path) -> None:
        x0 = to_float(self.images).to(model.device)
        with torch.no_grad():
            z = model.encode(x0)
            x_T = model.endpoint(z)
        x = model.decode(z, sampler=SamplerConfig("ddbm_euler", nfe=10)).images
        rows = [part[i : i + 8] for i in range(0, len(x0), 8) for part in (x0, x_T, x)]
        save_png(contact_sheet(to_uint8(torch.cat(rows)), columns=min(8, len(x0))), path)


def _card(args: Args, model: DBAE, data: ImageDataset, split: str) -> Card:
    return Card(
        method="dbae",
        name=model.name,
        config=dataclasses.asdict(model.config),
        train_data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "split": split,
            "size": data.size,
            "images": len(data.split(split)),
        },
        command=f"python -m dbae.train --preset {args.preset} --data '{parse_source(args.data).portable}'"
        + ("" if args.stochastic else " --no-stochastic")
        + ("" if args.latent_dim is None else f" --latent-dim {args.latent_dim}")
        + f" --images {args.train.images} --seed {args.train.seed}",
        versions=versions() | {"revision": revision()},
    )


def _options(argv: list[str]) -> type[Args]:
    """`Args` whose loop options default to those of the preset named on the command line, as --help shows."""
    train = ("train", tyro.conf.OmitArgPrefixes[TrainConfig], _preset_defaults(argv))
    return dataclasses.make_dataclass("Args", [train], bases=(Args,), frozen=True)


def _preset_defaults(argv: list[str]) -> TrainConfig:
    named = [b for a, b in itertools.pairwise(argv) if a == "--preset"]
    named += [a.split("=", 1)[1] for a in argv if a.startswith("--preset=")]
    preset = named[-1] if named else "faces32"
    return TrainConfig(**DEFAULTS.get(preset, {}))  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m dbae.train`; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run(train, _options(arguments), module="dbae.train", description=__doc__, arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
