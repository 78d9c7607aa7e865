"""What commands that train on images share: options, training images, card and pictures.

The options of the loop default to those of the preset named on the same command line, so that --help shows them.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from dbae.checkpoints.own import Card
from dbae.data import ImageDataset, InMemory, TrainingStream, open_data, parse_source
from dbae.images import NotFiniteError, contact_sheet, save_png, to_float, to_uint8
from dbae.model import parameter_counts
from dbae.support.cli import device
from dbae.support.errors import UserError
from dbae.support.provenance import of_training
from dbae.training.config import FIXED, TrainConfig

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ImageTraining:
    """Options of every such command.

    Attributes:
        data: images, KIND:ROOT[?size=..&split=..&n=..&seed=..]; a split "train" is used where there is one.
        out: folder of the run: checkpoints, milestones, pictures, log.csv.
        name: name of the model in result rows; None is "METHOD-PRESET".
        resume: go on from the newest checkpoint in --out, if there is one.
        in_memory: decode all images once into memory (3 size^2 bytes an image).
        train: options of the training loop.
    """

    data: str
    out: Path
    name: str | None = None
    resume: bool = False
    in_memory: bool = True
    train: tyro.conf.OmitArgPrefixes[TrainConfig] = TrainConfig()


@dataclasses.dataclass(frozen=True)
class TrainingImages:
    """A data set, the split of it to train on, and batches of that."""

    data: ImageDataset
    split: str
    stream: TrainingStream


def training_images(options: ImageTraining, size: int) -> TrainingImages:
    """The images of a run, of `size` pixels.

    Raises:
        UserError: the data cannot be opened, or there are none to train on.
    """
    data = open_data(options.data, size=size)
    if options.in_memory:
        data = InMemory(data)
    split = "train" if "train" in data.splits else "all"
    indices = data.split(split)
    if not len(indices):
        raise UserError(
            f"{options.data}: expected images to train on, found none in the split '{split}'. Take more images."
        )
    loop = options.train
    stream = TrainingStream(data, indices, loop.batch_size, seed=loop.seed, flip=loop.flip, workers=loop.workers)
    return TrainingImages(data, split, stream)


def card(method: str, model: Any, images: TrainingImages, options: ImageTraining, *, module: str, flags: str) -> Card:
    """The card of a run.

    Args:
        method: what checkpoints call the model's class.
        model: has `name` and `config`, a dataclass.
        module: of the command, after `python -m`; flags: its options that decide the weights, before those of the loop.
    """
    data, loop = images.data, options.train
    return Card(
        method=method,
        name=model.name,
        config=dataclasses.asdict(model.config),
        train_data={
            "name": data.name,
            "fingerprint": data.fingerprint,
            "split": images.split,
            "size": data.size,
            "images": len(images.stream.indices),
        },
        command=f"python -m {module} {flags} --data '{parse_source(options.data).portable}'"
        f" --images {loop.images}{_recipe(options)} --seed {loop.seed}",
        versions=of_training(device(loop.device)),
    )


def _recipe(options: ImageTraining) -> str:
    """What decides the weights, beside the seed, and is not what a command without it would have, as flags."""
    field = next(field for field in dataclasses.fields(options) if field.name == "train")
    usual = TrainConfig() if field.default is dataclasses.MISSING else field.default
    names = [
        option.name for option in dataclasses.fields(TrainConfig) if option.name in FIXED and option.name != "seed"
    ]
    flags = []
    for name in names:
        value, flag = getattr(options.train, name), name.replace("_", "-")
        if value != getattr(usual, name):
            flags.append(f" --{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f" --{flag} {value}")
    return "".join(flags)


def parameters_in_words(model: nn.Module) -> str:
    """How many parameters a model has, and its parts: "1,105,091 parameters (network 554,979, encoder 550,112)"."""
    counts = parameter_counts(model)
    total = f"{counts.pop('total'):,} parameters"
    parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
    return f"{total} ({parts})" if len(counts) > 1 else total


class Preview:
    """Writes what a model makes of 16 held-out images: rows of eight, twice over.

    Args:
        pictures: model, x0 (b, 3, s, s) -> x0 and what else to show of each image, as many (b, 3, s, s) tensors.
    """

    def __init__(self, data: ImageDataset, pictures: Callable[[Any, Tensor], Sequence[Tensor]]) -> None:
        held_out = next(data.splits[s] for s in ("val", "test", "all") if s in data.splits and len(data.splits[s]))
        self.images, self.pictures = data.batch(np.asarray(held_out[:16])), pictures

    @torch.no_grad()
    def __call__(self, model: Any, path: Path) -> None:
        x0 = to_float(self.images).to(model.device)
        try:
            parts = self.pictures(model, x0)
            rows = [part[i : i + 8] for i in range(0, len(x0), 8) for part in parts]
            save_png(contact_sheet(to_uint8(torch.cat(rows)), columns=min(8, len(x0))), path)
        except NotFiniteError as error:  # a picture is no reason to end a run whose loss is finite
            log.warning("%s: not drawn, %s", path, error)


def require_dropout(value: float | None) -> None:
    """Raise UserError unless it is a value of --dropout."""
    if value is not None and not 0 <= value < 1:
        raise UserError(f"--dropout: expected a number from 0 to less than 1, found {value}; change --dropout.")


def with_defaults(options: type, loop: TrainConfig) -> type:
    """`options`, a dataclass derived from `ImageTraining`, with other defaults for the loop."""
    train = ("train", tyro.conf.OmitArgPrefixes[TrainConfig], loop)
    return dataclasses.make_dataclass(options.__name__, [train], bases=(options,), frozen=True)


def named(option: str, arguments: Sequence[str]) -> str | None:
    """The value of --option in a command line, in either spelling; None if it is not there."""
    values = [b for a, b in itertools.pairwise(arguments) if a == f"--{option}"]
    values += [a.split("=", 1)[1] for a in arguments if a.startswith(f"--{option}=")]
    return values[-1] if values else None
