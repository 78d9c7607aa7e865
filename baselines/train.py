r"""Train one of the models that DBAE is compared with: the same images, loop and trunk.

Examples:
  python -m baselines.train --method diffae --preset faces32 --data faces --out runs/diffae
  python -m baselines.train --method ddim --preset faces32 --data zip:photos.zip --out runs/ddim
  python -m baselines.train --method pdae --preset faces32 --data zip:photos.zip --out runs/pdae \
    --pretrained runs/ddim/checkpoints/images-000600000.safetensors

PDAE, DiTi and DisDiff learn a representation for a diffusion model that is there already, the ddim of `--pretrained`.
Training options that are left out have the preset's values: those of the method's authors, or for faces32,
faces64s and faces64 those that dbae.train uses for the same preset. An option of some methods says which; its default
of None keeps the value of the preset.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro
from torch import Tensor

from baselines.interface import InfersEndpoint, RepresentationModel, ShowsMore
from baselines.load import load
from baselines.method import Built, Load, TrainingOptions
from baselines.methods import METHODS
from dbae.checkpoints.own import Card
from dbae.data import require_apart
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
from dbae.training.config import TrainConfig
from dbae.training.folder import RunFolder
from dbae.training.loop import fit

log = logging.getLogger(__name__)

TRAINED = {key: method for key, method in METHODS.items() if method.options is not None}
"""Methods that this command trains."""


@dataclasses.dataclass(frozen=True)
class Args(ImageTraining):
    """Options of the command that every method has; `options_of` adds those of the methods.

    Attributes:
        method: the method to train.
        preset: architecture, and the training options that go with it: faces32, faces64s or faces64, with the trunk
            that dbae.train has under the same name, or a published one of the method (a name that it lacks is answered
            by those that it has).
        dropout: probability of dropout in the blocks of the U-Net; None keeps the preset's, or that of --pretrained.
    """

    method: Literal[tuple(TRAINED)] = "diffae"  # type: ignore[valid-type]
    preset: str = "faces32"
    dropout: float | None = None

    def __post_init__(self) -> None:
        require_dropout(self.dropout)
        TRAINED[self.method].preset(self.preset)
        own = {field.name for field in dataclasses.fields(self.own)}  # whose values are checked here
        for name, (default, having) in _options_of_methods().items():
            if name not in own and getattr(self, name, default) != default:
                raise UserError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}: only for {', '.join(having)}; leave it out for "
                    f"{self.method}."
                )

    @property
    def own(self) -> TrainingOptions:
        """The options of the method itself."""
        kind = TRAINED[self.method].options
        assert kind is not None
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: getattr(self, name) for name in names if hasattr(self, name)})


def _options_of_methods() -> dict[str, tuple[Any, list[str]]]:
    """Every option of a method's own: its default, and the methods that have it."""
    found: dict[str, tuple[Any, list[str]]] = {}
    for key, method in TRAINED.items():
        for field in dataclasses.fields(method.options or TrainingOptions):
            found.setdefault(field.name, (field.default, []))[1].append(key)
    return found


def options_of(method: str) -> type[Any]:
    """`Args` with the options of all methods, each with the help of the methods that have it.

    Where two disagree on a type or a default, `method` has its own.
    """
    first = sorted(TRAINED, key=lambda key: key != method)
    fields = []
    for name, (_, having) in _options_of_methods().items():
        kind = next(kind for key in first if key in having and (kind := TRAINED[key].options))
        hint: Any = Annotated[get_type_hints(kind)[name], tyro.conf.arg(help=_help(name, having))]
        fields.append((name, hint, next(field.default for field in dataclasses.fields(kind) if field.name == name)))
    return dataclasses.make_dataclass("Args", fields, bases=(Args,), frozen=True)


def _help(name: str, having: list[str]) -> str:
    """What an option means, "METHOD, METHOD: meaning." for every meaning that it has."""
    meanings: dict[str, list[str]] = {}
    for key in having:
        meanings.setdefault(_documented(TRAINED[key].options, name), []).append(key)
    others = ", ".join(key for key in TRAINED if key not in having)
    if len(meanings) == 1 and len(having) > len(TRAINED) / 2:
        return f"all methods but {others}: {next(iter(meanings))}"
    return " ".join(f"{', '.join(keys)}: {text}" for text, keys in meanings.items())


def _documented(kind: Any, name: str) -> str:
    """What the docstring of an options class, or of the class that it has the option from, says under Attributes."""
    for one in kind.__mro__:
        about = dict(re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", inspect.cleandoc(one.__doc__ or ""), re.MULTILINE))
        if name in about:
            return " ".join(about[name].split())
    raise TypeError(f"{kind.__name__}: its docstring has to say under Attributes what {name} is")


def train(args: Args) -> Path:
    """Run the command; returns the last checkpoint."""
    require_apart([args.data], args.out)
    RunFolder(args.out).require_usable(resume=args.resume)  # before the images are read
    fresh = built(args, load)
    model: Any = fresh.model
    _require_batch(args, model.config)
    images = training_images(args, model.config.image_size)
    count = len(images.stream.indices)
    log.info("%s; %d training images of %s", parameters_in_words(fresh.model), count, images.data.name)
    return fit(
        fresh.model,
        TRAINED[args.method].loss,
        images.stream,
        args.train,
        args.out,
        _card(args, fresh, images),
        preview=Preview(images.data, pictures),
        resume=args.resume,
    )


def _require_batch(args: Args, config: Any) -> None:
    """Raises UserError where the loss sees fewer images at once than it compares with each other."""
    least, found = TRAINED[args.method].least(config), args.train.micro_batch(distributed.processes())
    if found < least:
        raise UserError(
            f"--batch-size {args.train.batch_size}: expected a micro-batch of {least} images or more, which the loss "
            f"of {args.method} compares with each other, found {found}. Raise --batch-size, or lower --accumulate."
        )


def built(args: Args, load: Load) -> Built:
    """The model with its initial weights. `load` opens the checkpoint that it builds on, if it does."""
    method = TRAINED[args.method]
    config = _with_dropout(args, args.own.configured(method.preset(args.preset).config()))
    fresh = args.own.built(method, config, args.train.seed, args.name or f"{args.method}-{args.preset}", load)
    model: Any = fresh.model
    if args.dropout is not None and model.config.unet.dropout != args.dropout:
        found = model.config.unet.dropout
        raise UserError(f"--dropout {args.dropout}: the U-Net is that of --pretrained, with {found}; leave it out.")
    return fresh


def _with_dropout(args: Args, config: Any) -> Any:
    if args.dropout is None:
        return config
    if not hasattr(config, "unet"):
        raise UserError(f"--dropout {args.dropout}: {args.method} has no U-Net; leave it out.")
    return dataclasses.replace(config, unet=dataclasses.replace(config.unet, dropout=args.dropout))


def _card(args: Args, built: Built, images: TrainingImages) -> Card:
    flags = "".join(f" --{name} {value}".rstrip() for name, value in args.own.shown().items())
    flags += "" if args.dropout is None else f" --dropout {args.dropout}"
    flags = f"--method {args.method} --preset {args.preset}{flags}"
    found = card(args.method, built.model, images, args, module="baselines.train", flags=flags)
    return dataclasses.replace(found, objective=built.objective)


def pictures(model: RepresentationModel, x0: Tensor) -> list[Tensor]:
    """x0 and what the model makes of it in 20 steps: from inferred x_T, and from random x_T under the same z.

    A model without a code of its own takes x_T for z: its last pictures are new images. One that infers no x_T gives
    one picture, by its own default, and one that decodes nothing none. What else a model has to show follows x0.
    """
    shown = [x0, *(model.pictures(x0) if isinstance(model, ShowsMore) else [])]
    if not model.endpoints:
        return shown
    random = PerImageNoise(0, range(len(x0)), stream="preview", device=x0.device)
    if not isinstance(model, InfersEndpoint):
        return [*shown, model.decode(model.encode(x0), noise=random).images]
    sampler = SamplerConfig("ddim", nfe=20)
    x_T = random.normal(x0.shape)
    # Where z is x_T or a part of it, the x_T given is what decodes.
    z = model.encode(x0) if "random" in model.endpoints else x_T.flatten(1)[:, : model.latent_dim]
    inferred, _ = model.infer_endpoint(x0, z, steps=sampler.nfe)
    return [*shown, *(model.decode(z, x_T=start, sampler=sampler).images for start in (inferred, x_T))]


def _preset_defaults(arguments: list[str]) -> TrainConfig:
    method, preset = named("method", arguments) or "diffae", named("preset", arguments) or "faces32"
    presets = TRAINED[method].presets if method in TRAINED else {}
    return TrainConfig(**(presets[preset].training if preset in presets else {}))


def options(arguments: list[str]) -> type[Any]:
    """The options that a command line with these arguments has: defaults are those of its method and preset."""
    return with_defaults(options_of(named("method", arguments) or "diffae"), _preset_defaults(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m baselines.train`; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run(train, options(arguments), module="baselines.train", description=__doc__, arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
