"""Train a Diffusion Bridge AutoEncoder on a folder or archive of images.

Examples:
  python -m dbae.train --preset faces32 --data faces --out runs/faces32
  python -m dbae.train --preset faces64 --data zip:photos.zip --out runs/photos --precision bf16
  python -m dbae.train --preset faces32 --data faces --out runs/faces32 --resume

Training options that are left out have the preset's values: the paper's, or for faces32, faces64s and
faces64 those of a small machine.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import sys
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from dbae import model as presets
from dbae.checkpoints.own import Card
from dbae.data import require_apart
from dbae.losses import TCEstimator, TotalCorrelation, objective
from dbae.model import DBAE, DBAEConfig
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support import distributed
from dbae.support.cli import run
from dbae.support.errors import UserError
from dbae.training.command import (
    ImageTraining,
    Preview,
    TrainingImages,
    card,
    named,
    parameters_in_words,
    require_dropout,
    training_images,
    with_defaults,
)
from dbae.training.config import SMALL_PRESETS, TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.loop import fit
from dbae.training.objective import Objective

__all__ = ["Args", "fit", "main", "objective", "train"]

Preset = Literal["faces32", "faces64s", "faces64", "celeba64", "ffhq128", "horse128", "bedroom128"]
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Args(ImageTraining):
    """Options of the command.

    Attributes:
        preset: architecture, and the training options that go with it.
        stochastic: z is sampled (DBAE); --no-stochastic gives DBAE-d.
        initial_sigma: standard deviation of z given an image before training, from 0.02 to 100; None leaves it to the
            initial weights, as the authors do, which give about 1: more than means differ by at first, so that z says
            little for long.
        latent_dim: length of z; None keeps the preset's.
        tc_weight: weight of the total correlation of z in the loss; 0 leaves it out.
        tc_estimator: how the total correlation is estimated from a micro-batch (`dbae.losses`); give it many images:
            --accumulate 1.
        endpoint_blend: share of images whose x_T is decoded from z; that of the others is noise.
        dropout: probability in the blocks of the score network; None keeps the preset's.
    """

    preset: Preset = "faces32"
    stochastic: bool = True
    initial_sigma: float | None = None
    latent_dim: int | None = None
    tc_weight: float = 0.0
    tc_estimator: TCEstimator = "weighted"
    endpoint_blend: float = 1.0
    dropout: float | None = None

    def __post_init__(self) -> None:
        require_dropout(self.dropout)
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UserError(f"--latent-dim: expected 1 or more, found {self.latent_dim}; change --latent-dim.")
        if not 0 <= self.endpoint_blend <= 1:
            raise UserError(f"--endpoint-blend: expected a number from 0 to 1, found {self.endpoint_blend}.")
        if not 0 <= self.tc_weight < math.inf:
            raise UserError(f"--tc-weight: expected 0 or more, found {self.tc_weight}.")
        if self.initial_sigma is not None and not (self.stochastic and 0.02 <= self.initial_sigma <= 100):
            raise UserError(
                f"--initial-sigma: expected 0.02 to 100, with a stochastic encoder; found "
                f"{self.initial_sigma}{'' if self.stochastic else ' with --no-stochastic'}."
            )
        if self.tc_weight and not self.stochastic:
            raise UserError("--tc-weight: needs a stochastic encoder. Leave out --no-stochastic.")
        codes = self.train.micro_batch(distributed.processes()) if self.tc_weight else 2
        if codes < 2:
            raise UserError(f"--tc-weight: expected 2 images a micro-batch or more, found {codes}. Use --accumulate 1.")


def train(args: Args) -> Path:
    """Run the command; returns the last checkpoint."""
    require_apart([args.data], args.out)
    RunFolder(args.out).require_usable(resume=args.resume)  # before the images are read
    config = _config(args)
    images = training_images(args, config.image_size)
    model, objective = built(args, len(images.stream.indices))
    count = len(images.stream.indices)
    log.info("%s; %d training images of %s", parameters_in_words(model), count, images.data.name)
    return fit(
        model,
        objective,
        images.stream,
        args.train,
        args.out,
        _card(args, model, images),
        preview=Preview(images.data, pictures),
        resume=args.resume,
    )


def built(args: Args, images: int) -> tuple[DBAE, Objective]:
    """The model with its initial weights, and what is minimised on so many training images."""
    model = DBAE.initialised(_config(args), args.train.seed, name=args.name or f"dbae-{args.preset}")
    if args.initial_sigma is not None:
        model.set_sigma(args.initial_sigma)
    return model, _objective(args, images)


def _config(args: Args) -> DBAEConfig:
    config: DBAEConfig = getattr(presets, args.preset)(stochastic=args.stochastic)
    latent_dim = config.latent_dim if args.latent_dim is None else args.latent_dim
    dropout = config.score.dropout if args.dropout is None else args.dropout
    score = dataclasses.replace(config.score, dropout=dropout)
    return dataclasses.replace(config, latent_dim=latent_dim, score=score, endpoint_blend=args.endpoint_blend)


def _objective(args: Args, images: int) -> Objective:
    if not args.tc_weight:
        return objective
    codes = args.train.batch_size // args.train.accumulate
    if images < codes:
        raise UserError(f"--tc-weight: expected {codes} training images (a micro-batch) or more, found {images}.")
    return functools.partial(objective, tc=TotalCorrelation(args.tc_weight, images, args.tc_estimator))


def pictures(model: DBAE, x0: Tensor) -> list[Tensor]:
    """x0, x_T and a 10-step reconstruction."""
    z = model.encode(x0)
    x_T = model.draw_endpoint(z, PerImageNoise(0, range(len(x0)), stream="preview"))
    return [x0, x_T, model.decode(z, x_T=x_T, sampler=SamplerConfig("ddbm_euler", nfe=10)).images]


def _card(args: Args, model: DBAE, images: TrainingImages) -> Card:
    flags = (
        f"--preset {args.preset}"
        + ("" if args.stochastic else " --no-stochastic")
        + ("" if args.initial_sigma is None else f" --initial-sigma {args.initial_sigma}")
        + ("" if args.latent_dim is None else f" --latent-dim {args.latent_dim}")
        + (f" --tc-weight {args.tc_weight} --tc-estimator {args.tc_estimator}" if args.tc_weight else "")
        + ("" if args.endpoint_blend == 1 else f" --endpoint-blend {args.endpoint_blend}")
        + ("" if args.dropout is None else f" --dropout {args.dropout}")
    )
    objective = {"tc_weight": args.tc_weight, "tc_estimator": args.tc_estimator} if args.tc_weight else {}
    return dataclasses.replace(card("dbae", model, images, args, module="dbae.train", flags=flags), objective=objective)


def _preset_defaults(arguments: list[str]) -> TrainConfig:
    return TrainConfig(**SMALL_PRESETS.get(named("preset", arguments) or "faces32", {}))


def options(arguments: list[str]) -> type[Any]:
    """The options that a command line with these arguments has: the loop's defaults are those of its preset."""
    return with_defaults(Args, _preset_defaults(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m dbae.train`; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run(train, options(arguments), module="dbae.train", description=__doc__, arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
