"""Generate images by a DBAE: z from a latent prior, x_T = Dec(z), x from the bridge.

  python -m dbae.sample -n 64 --out runs/samples --nfe 20
  python -m dbae.sample -n 5000 --out runs/many --method dbim2 --nfe 10 --npz
  python -m dbae.sample -n 64 --ckpt ema_0.9999_1020000.pt --prior ffhq-prior.safetensors --out runs/ffhq-samples

OUT/images/000000.png ... are the images, OUT/grids/000000.png ... 64 of them each, and OUT/samples.npz (--npz) all of
them as guided-diffusion writes them: `arr_0`, uint8 (n, s, s, 3). Image i is a function of (--seed, i): neither -n nor
the batch size changes it beyond rounding. A killed run goes on where it stopped when it is started again, and a larger
-n adds to what is there. Under torchrun the processes share the images. `python -m baselines.sample` takes any model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from dbae.decoding import require_budget
from dbae.images import naming, to_uint8
from dbae.interface import Loaded, Prior, RepresentationModel, on_device, trained_on
from dbae.noise import PerImageNoise
from dbae.pretrained import find, load
from dbae.prior import LatentPrior
from dbae.prior import load as load_prior
from dbae.sample_folder import SampleFolder
from dbae.samplers import OwnSampler, SamplerConfig, sampler_of
from dbae.support import cli, distributed
from dbae.support.errors import UserError
from dbae.support.files import sha256
from dbae.support.locking import alone
from dbae.support.precision import Precision, autocast
from dbae.support.progress import progress_bar

log = logging.getLogger(__name__)

BUILTIN_PRIOR = {"builtin:dbae": "builtin:prior"}
MOST = 10_000_000
"""Images of a run: a file each, in one folder."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        out: folder of the images.
        n: how many, up to ten million.
        ckpt: a checkpoint file or name.
        prior: what `python -m dbae.train_prior` wrote for this checkpoint; builtin:dbae brings its own.
        prior_nfe: steps of the prior; None is as many as it has of its own (1000 of what train_prior wrote).
        endpoint_blend: share of the images of a DBAE that start at Dec(z), the others start at noise; None is the share
            in training, 1 unless it was asked for.
        seed: of the images.
        npz: write samples.npz too.
        batch_size: images sampled at a time.
        precision: of the autoencoder's networks.
        device: where they run: auto, cpu, cuda, cuda:1.
        sampler: how x is decoded.
    """

    out: Path
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    ckpt: str = "builtin:dbae"
    prior: str | None = None
    prior_nfe: int | None = None
    endpoint_blend: float | None = None
    seed: int = 0
    npz: bool = False
    batch_size: int = 64
    precision: Precision = "fp32"
    device: str = "auto"
    sampler: tyro.conf.OmitArgPrefixes[SamplerConfig] = OwnSampler()

    def __post_init__(self) -> None:
        for name, least in {"n": 1, "seed": 0, "batch_size": 1}.items():
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {least} or more, found {getattr(self, name)}.")
        if self.n > MOST:
            raise UserError(f"--n: expected {MOST} or fewer, found {self.n}. Make several runs with other seeds.")
        if self.endpoint_blend is not None and not 0 <= self.endpoint_blend <= 1:
            raise UserError(f"--endpoint-blend: expected a number from 0 to 1, found {self.endpoint_blend}.")


class Generator(NamedTuple):
    """A model and a distribution of its z; `prior_sha256` is of the file that has the latter."""

    loaded: Loaded
    prior: Prior
    prior_sha256: str


@torch.inference_mode()
def draw(
    model: RepresentationModel,
    prior: Prior,
    indices: np.ndarray,
    *,
    seed: int = 0,
    sampler: SamplerConfig | None = None,
    endpoint_blend: float | None = None,
    precision: Precision = "fp32",
) -> Float[Tensor, "b 3 s s"]:
    """Images number `indices` of a seed, in [-1, 1].

    Args:
        model, prior: on one device; what the prior has as `sampling` says how z is drawn.
        sampler: None is the model's first, with 100 evaluations (the paper's, of a DBAE).
        endpoint_blend: see `DBAE.draw_endpoint`. Other models start where they do by themselves.
    """
    device = torch.device(getattr(model, "device", "cpu"))

    def noise(stream: str) -> PerImageNoise:
        return PerImageNoise(seed, indices, stream=stream, device=device)

    z, x_T = prior.sample(noise("prior"), len(indices)).z.to(device), None
    with autocast(device, precision):
        if hasattr(model, "draw_endpoint"):
            x_T = model.draw_endpoint(z, noise("x_T"), blend=endpoint_blend)
        return model.decode(z, x_T=x_T, sampler=sampler, noise=noise("sample")).images.float()


def open_dbae(options: Options) -> Generator:
    """The DBAE and the prior that the options name.

    Raises:
        UserError: one of them is not usable, or they do not belong together.
    """
    loaded = load(options.ckpt)
    path = prior_file(options)
    prior, _ = load_prior(path, autoencoder_sha256=loaded.sha256)
    return Generator(loaded, prior, sha256(path))


def run(options: Options, open: Callable[[Options], Generator] = open_dbae) -> SampleFolder:
    """Generate the images that are not in `options.out` yet.

    Args:
        options: the command line.
        open: opens --ckpt and --prior.

    Raises:
        UserError: an option, the checkpoint or the prior is not usable; `options.out` has other images, or cannot be
            written. Images that are finished stay.
    """
    found = open(options)
    loaded, prior, prior_sha256 = found
    options = settled(options, found)
    settings = {
        "checkpoint_sha256": loaded.sha256,
        "prior_sha256": prior_sha256,
        **{name: getattr(options, name) for name in ("endpoint_blend", "prior_nfe", "seed", "precision")},
        **options.sampler.card,
    }
    device = cli.device(options.device)
    world = distributed.world(device)
    log.info("%s", trained_on(loaded))
    with alone(options.out) if world.is_main else contextlib.nullcontext():
        folder = SampleFolder(options.out, settings, make=world.is_main)
        missing = world.broadcast(folder.missing(options.n))[world.rank :: world.size]
        if isinstance(prior, nn.Module):
            prior.to(device)
        _fill(folder, missing, on_device(loaded.model, device), prior, options)
        world.barrier()
        if world.is_main:
            folder.write_grids(options.n)
        if world.is_main and options.npz:
            folder.write_npz(options.n)
    return folder


def settled(options: Options, found: Generator) -> Options:
    """The options with what they leave to the model and to its prior, which is told of its steps.

    Raises:
        UserError: one that the model or the prior has not.
    """
    model = found.loaded.model
    stop = options.sampler.stop or getattr(model, "prior_stop", 0.0)
    sampler = sampler_of(options.sampler, model.samplers, model.name, stop=stop)
    require_budget(model, sampler)
    return dataclasses.replace(
        options,
        sampler=sampler,
        endpoint_blend=_blend(options, model),
        prior_nfe=_steps(options, found.prior),
    )


def _fill(
    folder: SampleFolder, missing: np.ndarray, model: RepresentationModel, prior: Prior, options: Options
) -> None:
    """Generate and write images number `missing`, batch by batch."""
    with progress_bar(len(missing), "sampling") as bar:
        for start in range(0, len(missing), options.batch_size):
            indices = missing[start : start + options.batch_size]
            with naming([f"image {i}" for i in indices]):
                images = draw(
                    model,
                    prior,
                    indices,
                    seed=options.seed,
                    sampler=options.sampler,
                    endpoint_blend=options.endpoint_blend,
                    precision=options.precision,
                )
            folder.write(indices, to_uint8(images).cpu())
            bar.update(len(indices))


def _blend(options: Options, model: RepresentationModel) -> float | None:
    """The share of images that start at Dec(z); None of models that have no such choice."""
    if not hasattr(model, "draw_endpoint"):
        if options.endpoint_blend is not None:
            raise UserError(f"--endpoint-blend: {model.name} has one way to start. Leave it out.")
        return None
    return model.config.endpoint_blend if options.endpoint_blend is None else options.endpoint_blend  # type: ignore[attr-defined]


def _steps(options: Options, prior: Prior) -> int | None:
    """Steps of the prior, which is told of them; None of one that is no diffusion model."""
    if not isinstance(prior, LatentPrior):
        if options.prior_nfe is not None:
            raise UserError("--prior-nfe: the prior of this model is no diffusion model. Leave it out.")
        return None
    if options.prior_nfe is not None:
        prior.sampling = dataclasses.replace(prior.sampling, steps=options.prior_nfe)
    return prior.sampling.steps


def prior_file(options: Options, trained_by: str = "dbae.train_prior") -> Path:
    """The file of the prior that the options name, or that comes with a built-in model.

    Args:
        trained_by: the command that makes one for such a model.

    Raises:
        UserError: there is none; says how to train one.
    """
    source = options.prior or BUILTIN_PRIOR.get(options.ckpt)
    if source is None:
        raise UserError(
            f"{options.ckpt}: generating needs a distribution of its z, found none. Train one with "
            f"`python -m {trained_by} --ckpt {options.ckpt} --data YOUR_IMAGES --out runs/prior` and name it: "
            "--prior runs/prior/checkpoints/NEWEST.safetensors."
        )
    return find(source)


def main(options: Options, open: Callable[[Options], Generator] = open_dbae) -> None:
    """Run and say where the results are."""
    folder = run(options, open)
    if distributed.is_main():
        print(folder.path)


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="dbae.sample", description=__doc__))
