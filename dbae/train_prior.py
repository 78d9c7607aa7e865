"""Train the latent prior of a DBAE: a diffusion model over its z, to generate images from nothing.

A small one for the built-in model, in about ten minutes of one core, and the paper's for a published checkpoint; other
autoencoders have `python -m baselines.train_prior`:

  python -m dbae.train_prior --data "faces:?n=20000" --out runs/prior --preset small
  python -m dbae.train_prior --ckpt ema_0.9999_1020000.pt --data ffhq --out runs/ffhq-prior
  python -m dbae.train_prior --ckpt ema_0.9999_1020000.pt --data ffhq --out runs/ffhq-prior --resume

Images are encoded once, into OUT/latents.npy. The newest file in OUT/checkpoints is what `python -m dbae.sample` and
the generation benchmark take as --prior. It names the checkpoint it was trained on and serves no other.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from dbae import latent_data
from dbae.checkpoints.own import Card
from dbae.data import ImageDataset, open_data, parse_source, require_apart
from dbae.interface import Loaded
from dbae.latents import Encoder, LatentCache
from dbae.networks.latent_mlp import LatentMLPConfig
from dbae.noise import GeneratorNoise, mixed_seed
from dbae.pretrained import load
from dbae.prior import METHOD, LatentLoss, LatentPrior, LossKind, T
from dbae.support import cli
from dbae.support.distributed import world
from dbae.support.errors import UserError
from dbae.support.precision import Precision
from dbae.support.provenance import of_training
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.loop import fit

Latent = Literal["drawn", "mean"]
log = logging.getLogger(__name__)

_LEAST = {"hidden": 1, "layers": 2, "codes": 1, "encode_batch_size": 1, "workers": 0}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": dict(hidden=2048, layers=10, codes=600_000_000, batch_size=256, lr=1e-4, ema_rate=0.9999),
    "small": dict(hidden=256, layers=5, codes=4_000_000, batch_size=256, lr=1e-3, ema_rate=0.999, ema_warmup=True),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Options of the command.

    Attributes:
        data: images whose latents are modelled, KIND:ROOT[?size=..&split=..&n=..&seed=..]; a split "train" is used
            where there is one.
        out: folder of the run: latents.npy, checkpoints, log.csv.
        ckpt: the autoencoder: a checkpoint file, or builtin:dbae.
        preset: "paper" (Table 7, FFHQ; for CelebA it has --batch-size 512) or "small"; gives the options that are None.
        hidden: width of the network.
        layers: its linear layers.
        loss: of the predicted noise; Table 7 lists both.
        latent: "drawn" models the aggregated posterior, by a new z ~ q(z | x) whenever an image comes up; "mean" models
            the means. They are the same for a deterministic encoder.
        codes: how many latents to train on, repetitions counted.
        batch_size: latents an optimiser step.
        lr: learning rate of AdamW.
        weight_decay: of AdamW.
        clip_grad: largest gradient norm.
        ema_rate: of the moving average of the weights (with a warm-up where the preset is small).
        seed: of initial weights, order and noise.
        log_every: steps between rows of the log.
        save_every: latents between checkpoints; None saves ten times a run.
        encode_batch_size: images encoded at a time.
        workers: processes that read images.
        precision: of the encoder; the prior trains in float32.
        device: where both run.
        resume: go on from the newest checkpoint in --out, if there is one.
        allow_processes: resume with another number of processes, whose noise is other noise.
    """

    data: str
    out: Path
    ckpt: str = "builtin:dbae"
    preset: Literal["paper", "small"] = "paper"
    hidden: int | None = None
    layers: int | None = None
    loss: LossKind = "l1"
    latent: Latent = "drawn"
    codes: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float = 0.01
    clip_grad: float = 1.0
    ema_rate: float | None = None
    seed: int = 0
    log_every: int = 500
    save_every: int | None = None
    encode_batch_size: int = 128
    workers: int = 0
    precision: Precision = "fp32"
    device: str = "auto"
    resume: bool = False
    allow_processes: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {least} or more, found {value}; change --{option}.")
        self.training()  # raises for the others

    @property
    def chosen(self) -> dict[str, Any]:
        """The options that a preset gives, each as it was given or else the preset's."""
        given = {name: getattr(self, name) for name in PRESETS["paper"]}
        return PRESETS[self.preset] | {name: value for name, value in given.items() if value is not None}

    def network(self, latent_dim: int) -> LatentMLPConfig:
        """The network's shape, for z of so many numbers."""
        return LatentMLPConfig(latent_dim, self.chosen["hidden"], self.chosen["layers"])

    def training(self) -> TrainConfig:
        """Of the loop, in whose words a latent is an image."""
        options = {name: value for name, value in self.chosen.items() if name not in ("hidden", "layers")}
        codes = options.pop("codes")
        return TrainConfig(
            **options,
            images=codes,
            accumulate=1,
            optimizer="adamw",
            weight_decay=self.weight_decay,
            clip_grad=self.clip_grad,
            flip=False,
            seed=self.seed,
            log_every=self.log_every,
            save_every=max(1, codes // 10) if self.save_every is None else self.save_every,
            milestone_every=max(1, 10 * codes),  # none
            channels_last=False,
            device=self.device,
            allow_processes=self.allow_processes,
        )


def train(args: Args, load: Callable[[str], Loaded] = load, module: str = "dbae.train_prior") -> Path:
    """Run the command; returns the last checkpoint.

    Args:
        load: opens --ckpt.
        module: name of the command.

    Raises:
        UserError: see `dbae.training.loop.fit`, `dbae.pretrained.load` and `dbae.latents.LatentCache`; and a model
            whose z is noise already, or that decodes nothing.
    """
    require_apart([args.data], args.out)
    folder, config = RunFolder(args.out), args.training()
    folder.require_usable(resume=args.resume)  # before the images are read
    loaded = load(args.ckpt)
    if loaded.model.encode_nfe:
        raise UserError(
            f"{args.ckpt}: expected an encoder, found a model whose z is the noise that it makes an image of. That is "
            "N(0, I) without a prior: leave out --prior."
        )
    if not loaded.model.endpoints:
        raise UserError(f"{args.ckpt}: expected a model that decodes z, found one that does not: a prior is of no use.")
    data = open_data(args.data, size=loaded.model.image_size)
    split = "train" if "train" in data.splits else "all"
    prior = initialised(args.network(loaded.model.latent_dim), args.seed, name=f"{loaded.model.name}-prior")
    card = _card(args, prior, loaded, data, split, module)
    processes = world(cli.device(args.device)).size
    folder.require_resumable(dataclasses.replace(card, training=dataclasses.asdict(config), processes=processes))
    array = _encoded(args, loaded, data, split)  # which writes it anew for another model or other images
    mean, std = latent_data.moments(array if args.latent == "drawn" else array[:, :1])
    prior.mean.copy_(mean)
    prior.std.copy_(std)
    count = sum(p.numel() for p in prior.parameters())
    log.info("%d parameters; %d latents of %s", count, len(array), loaded.model.name)
    return fit(
        prior,
        functools.partial(objective, kind=args.loss, drawn=args.latent == "drawn"),
        latent_data.LatentStream(array, config.batch_size, seed=config.seed),
        config,
        args.out,
        card,
        prepare=_as_it_is,
        resume=args.resume,
    )


def initialised(config: LatentMLPConfig, seed: int, *, name: str = METHOD) -> LatentPrior:
    """A prior with fresh weights that are a function of `seed`; global random state stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(mixed_seed(seed, "weights"))
        return LatentPrior(config, name=name)


def objective(
    prior: LatentPrior, posterior: Tensor, generator: torch.Generator, *, kind: LossKind, drawn: bool
) -> LatentLoss:
    """The prior's loss at uniform times, for rows (b, s, l) of posteriors (order of draws: t, z, noise)."""
    t = torch.randint(T, (len(posterior),), generator=generator, device=generator.device)
    noise = GeneratorNoise(generator)
    w = prior.standardise(latent_data.draw(posterior, noise) if drawn else posterior[:, 0])
    return prior.loss(w, t, noise.normal(w.shape), kind)


def _as_it_is(posterior: Tensor) -> Tensor:
    return posterior


def _encoded(args: Args, loaded: Loaded, data: ImageDataset, split: str) -> Float32[np.ndarray, "n s l"]:
    """The posteriors of the training images, a memory map."""
    device = cli.device(args.device)
    cache = LatentCache(args.out, device, args.encode_batch_size, args.workers, args.precision, progress=True)
    if isinstance(loaded.model, torch.nn.Module):
        loaded.model.to(device)
    encoder = Encoder(loaded.model.posterior, f"checkpoint {loaded.sha256}", loaded.model.name)
    return cache.get(encoder, data, data.split(split), at=args.out / "latents.npy").array[:, 0]


def _card(args: Args, prior: LatentPrior, loaded: Loaded, data: ImageDataset, split: str, module: str) -> Card:
    options = "".join(
        f" --{name.replace('_', '-')} {value}" for name, value in args.chosen.items() if name != "ema_warmup"
    )
    return Card(
        method=METHOD,
        name=prior.name,
        config=dataclasses.asdict(prior.config),
        train_data={
            "autoencoder": loaded.model.name,
            "autoencoder_sha256": loaded.sha256,
            "name": data.name,
            "fingerprint": data.fingerprint,
            "split": split,
            "size": data.size,
            "images": len(data.split(split)),
            "encoder_precision": args.precision,
        },
        objective={"loss": args.loss, "latent": args.latent},
        command=f"python -m {module} --ckpt {Path(args.ckpt).name} --data '{parse_source(args.data).portable}'"
        f" --preset {args.preset}{options} --loss {args.loss} --latent {args.latent} --seed {args.seed}",
        versions=of_training(cli.device(args.device)),
    )


if __name__ == "__main__":
    raise SystemExit(cli.run(train, Args, module="dbae.train_prior", description=__doc__))
