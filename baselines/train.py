"""Train one of the models that DBAE is compared with: the same images, loop and trunk.

Examples:
  python -m baselines.train --method diffae --preset faces32 --data faces --out runs/diffae
  python -m baselines.train --method ddim --preset faces32 --data zip:photos.zip --out runs/ddim
  python -m baselines.train --method pdae --preset faces32 --data zip:photos.zip --out runs/pdae \
    --pretrained runs/ddim/checkpoints/images-000600000.safetensors

PDAE and DiTi learn a representation for a diffusion model that is there already: `--pretrained` names a ddim.
Training options that are left out have the preset's values: those of the method's authors, or for faces32 and faces64
those that dbae.train uses for the same preset.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from torch import Tensor

from baselines.diffusion.model import DiffusionModel
from baselines.load import LoadedModel, load
from baselines.methods import ddim, diffae, diti
from baselines.methods.pdae import model as pdae
from dbae.checkpoints.own import Card
from dbae.data.overlap import require_apart
from dbae.model import parameter_counts
from dbae.noise import PerImageNoise
from dbae.samplers import SamplerConfig
from dbae.support.cli import run
from dbae.support.errors import UserError
from dbae.training.command import (
    SMALL_PRESETS,
    ImageTraining,
    Preview,
    TrainingImages,
    card,
    named,
    training_images,
    with_defaults,
)
from dbae.training.folder import RunFolder
from dbae.training.loop import TrainConfig, fit

log = logging.getLogger(__name__)

# DEVIATION: the authors of DiffAE train in float16; here --precision is fp32 unless given.
_DIFFAE = dict(optimizer="adam", clip_grad=1.0, images=130_000_000)
_DIFFAE_PRESETS: dict[str, dict[str, Any]] = {
    "celeba64": _DIFFAE | dict(images=72_000_000),
    "ffhq128": _DIFFAE,
    "horse128": _DIFFAE,
    "bedroom128": _DIFFAE | dict(images=120_000_000),
    "ffhq256": _DIFFAE | dict(images=200_000_000, batch_size=64),
}
# PDAE's authors do not say how long they trained: these are the lengths of DiTi's runs of it.
_PDAE_PRESETS: dict[str, dict[str, Any]] = {
    "celeba64": dict(optimizer="adam", images=38_000_000),
    **{name: dict(optimizer="adam", images=64_000_000) for name in ("ffhq128", "celebahq128")},
    **{name: dict(optimizer="adam", images=70_000_000) for name in ("horse128", "bedroom128")},
}
_DITI_PRESETS = {name: options | dict(lr=2e-4) for name, options in _PDAE_PRESETS.items()}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What training needs to know of a method.

    Attributes:
        module: has a function `loss`, the objective, and one for every preset, which returns a configuration.
        build: model from the pre-trained model, if the method takes one, a configuration, a seed, and its name.
        presets: training options of each preset, where they differ from `TrainConfig`'s.
        pretrained: whether the method takes a pre-trained model.
    """

    module: ModuleType
    build: Callable[..., DiffusionModel]
    presets: dict[str, dict[str, Any]]
    pretrained: bool = False


RECIPES = {
    "ddim": Recipe(ddim, ddim.DDIM.initialised, _DIFFAE_PRESETS | SMALL_PRESETS),
    "diffae": Recipe(diffae, diffae.DiffAE.initialised, _DIFFAE_PRESETS | SMALL_PRESETS),
    "pdae": Recipe(pdae, pdae.PDAE.on_pretrained, _PDAE_PRESETS | SMALL_PRESETS, pretrained=True),
    "diti": Recipe(diti, diti.DiTi.on_pretrained, _DITI_PRESETS | SMALL_PRESETS, pretrained=True),
}
"""By the name that checkpoints use."""


@dataclasses.dataclass(frozen=True)
class Args(ImageTraining):
    """Options of the command.

    Attributes:
        method: what to train.
        preset: architecture; `faces32` and `faces64` have the trunk of `dbae.train`'s.
        latent_dim: length of z; None keeps the preset's.
        pretrained: checkpoint of a ddim, for pdae and diti.
        objective: diti's, see `baselines.methods.diti`; None is "base".
    """

    method: Literal["ddim", "diffae", "pdae", "diti"] = "diffae"
    preset: str = "faces32"
    latent_dim: int | None = None
    pretrained: str | None = None
    objective: Literal["base", "stop_grad", "dual"] | None = None

    def __post_init__(self) -> None:
        recipe = RECIPES[self.method]
        presets = [name for name in recipe.presets if hasattr(recipe.module, name)]
        if self.preset not in presets:
            raise UserError(f"--preset {self.preset}: {self.method} has the presets {', '.join(presets)}.")
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UserError(f"--latent-dim: expected 1 or more, found {self.latent_dim}; change --latent-dim.")
        if bool(self.pretrained) != recipe.pretrained:
            raise UserError(
                f"--method {self.method}: name the ddim checkpoint it builds on with --pretrained."
                if recipe.pretrained
                else f"--pretrained: --method {self.method} builds on no other model; leave it out."
            )
        if self.objective is not None and self.method != "diti":
            raise UserError(f"--objective {self.objective}: only for diti; {self.method} has one objective.")


def train(args: Args) -> Path:
    """Run the command; returns the last checkpoint."""
    require_apart([args.data], args.out)
    RunFolder(args.out).require_usable(resume=args.resume)  # before the images are read
    recipe = RECIPES[args.method]
    config = _config(args)
    pretrained = _pretrained(args)
    model = _model(args, config, pretrained)
    images = training_images(args, config.image_size)
    log.info("%s parameters; %d images of %s", parameter_counts(model), len(images.stream.indices), images.data.name)
    return fit(
        model,
        recipe.module.loss,
        images.stream,
        args.train,
        args.out,
        _card(args, model, images, pretrained),
        preview=Preview(images.data, pictures),
        resume=args.resume,
    )


def _config(args: Args) -> Any:
    config = getattr(RECIPES[args.method].module, args.preset)()
    if args.latent_dim is not None:
        if not hasattr(config, "latent_dim"):
            raise UserError(f"--latent-dim: {args.method} has no code of its own; leave it out.")
        config = dataclasses.replace(config, latent_dim=args.latent_dim)
    return config if args.objective is None else dataclasses.replace(config, objective=args.objective)


def _pretrained(args: Args) -> LoadedModel | None:
    if args.pretrained is None:
        return None
    found = load(args.pretrained)
    if not isinstance(found.model, ddim.DDIM):
        raise UserError(
            f"{args.pretrained}: expected a plain diffusion model (ddim) to build on, found {found.method}."
        )
    return found


def _model(args: Args, config: Any, pretrained: LoadedModel | None) -> DiffusionModel:
    given = () if pretrained is None else (pretrained.model,)
    return RECIPES[args.method].build(*given, config, args.train.seed, name=args.name or f"{args.method}-{args.preset}")


def _card(args: Args, model: DiffusionModel, images: TrainingImages, pretrained: LoadedModel | None) -> Card:
    found = card(args.method, model, images, args, module="baselines.train", flags=_flags(args))
    if pretrained is None:
        return found
    return dataclasses.replace(found, objective={"pretrained": pretrained.name, "sha256": pretrained.sha256})


def _flags(args: Args) -> str:
    flags = f"--method {args.method} --preset {args.preset}"
    flags += "" if args.latent_dim is None else f" --latent-dim {args.latent_dim}"
    flags += "" if args.pretrained is None else f" --pretrained {Path(args.pretrained).name}"
    return flags + ("" if args.objective is None else f" --objective {args.objective}")


def pictures(model: DiffusionModel, x0: Tensor) -> list[Tensor]:
    """x0, its reconstruction from inferred x_T, and what random x_T gives under its z; 20 steps each.

    A model without a code of its own takes x_T for z: its last pictures are new images.
    """
    sampler = SamplerConfig("ddim", nfe=20)
    random = PerImageNoise(0, range(len(x0)), stream="preview", device=x0.device).normal(x0.shape)
    z = model.encode(x0) if "random" in model.endpoints else random.flatten(1)
    inferred, _ = model.infer_endpoint(x0, z, steps=sampler.nfe)
    return [x0, *(model.decode(z, x_T=x_T, sampler=sampler).images for x_T in (inferred, random))]


def _preset_defaults(arguments: list[str]) -> TrainConfig:
    method, preset = named("method", arguments) or "diffae", named("preset", arguments) or "faces32"
    presets = RECIPES[method].presets if method in RECIPES else SMALL_PRESETS
    return TrainConfig(**presets.get(preset, {}))


def main(arguments: list[str] | None = None) -> int:
    """Command line of `python -m baselines.train`; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = with_defaults(Args, _preset_defaults(arguments))
    return run(train, options, module="baselines.train", description=__doc__, arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main())
