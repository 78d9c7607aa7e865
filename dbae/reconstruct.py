"""Reconstruct your own images by a DBAE: x0, the endpoint x_T = Dec(z), the reconstruction, and further draws.

The built-in model on faces that it draws itself, and on photographs:

    python -m dbae.reconstruct "faces:?n=16" --out runs/faces --nfe 20
    python -m dbae.reconstruct me.jpg photos/ faces.zip --ckpt ema_0.9999_1020000.pt --out runs/mine

Four draws an image by a fast sampler, the upper square of portraits:

    python -m dbae.reconstruct "portraits/*.png" --draws 4 --method dbim2 --nfe 10 --crop top --out runs/draws

OUT/grids/000000.png ... hold --per-grid images each, eight side by side; below one another stand x0, x_T, the
reconstruction (z is the posterior mean) and the draws. Draw j takes z from the posterior of a stochastic model and its
noise, where the sampler has any, from a seed of its own. OUT/index.csv says for every image which grid and which place
in it (from 0, row by row), the mean squared error (pixels in [0, 1]), or why it could not be read.

A killed run goes on where it stopped when it is started again. Any size and aspect will do: see --crop. With
`python -m baselines.reconstruct` any model does the same; one that decodes z alone has no x_T to show. A picture with
names and labels, larger, is what `python -m benchmarks.figures reconstruct` draws.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dbae.data import Crop, Exif, NamedImages, ReadBatch, matching, open_images, read_batches, require_apart
from dbae.decoding import Endpoint, decode, endpoint_of, require_budget, shows_endpoint, starting_point
from dbae.gallery import Gallery
from dbae.images import naming, to_device, to_float, to_uint8
from dbae.interface import Loaded, RepresentationModel, on_device, trained_on
from dbae.noise import PerImageNoise, mixed_seed
from dbae.pretrained import load
from dbae.samplers import BOOTED_METHODS, OwnSampler, SamplerConfig, sampler_of, steps_for
from dbae.support import cli, distributed
from dbae.support.compiling import compile_networks
from dbae.support.errors import UserError
from dbae.support.locking import alone
from dbae.support.precision import Precision, autocast
from dbae.support.progress import all_shown, progress_bar

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        images: files, "patterns", folders, zips, KIND:ROOT.
        out: folder of the pictures; what an earlier run of the same command left is continued.
        ckpt: a checkpoint file or name.
        endpoint: where x_T comes from: decoded from z; random, N(0, I); inferred from the image by as many steps as
            decode; own is the first of these that the model has.
        draws: further images from every image.
        seed: of the draws and of the sampler's noise.
        crop: square taken from other aspects: centre; top; whole (black bars).
        exif: upright turns photographs as their EXIF orientation says; ignore reads them as stored.
        per_grid: images in a grid.
        individual: write every picture as a file too, under OUT/images.
        skip_broken: list images that cannot be read in index.csv and go on.
        batch_size: images sampled at a time; changes no number beyond rounding.
        workers: processes that read images (0: this one).
        precision: of the networks.
        compile: generate code for the networks first (`dbae.support.compiling`): for many images on a GPU.
        device: where they run: auto, cpu, cuda, cuda:1.
        sampler: how x is decoded.
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES...")]
    out: Path
    ckpt: str = "builtin:dbae"
    endpoint: Endpoint = "own"
    draws: int = 0
    seed: int = 0
    crop: Crop = "centre"
    exif: Exif = "upright"
    per_grid: int = 32
    individual: bool = False
    skip_broken: bool = False
    batch_size: int = 32
    workers: int = 0
    precision: Precision = "fp32"
    compile: bool = False
    device: str = "auto"
    sampler: tyro.conf.OmitArgPrefixes[SamplerConfig] = OwnSampler()

    def __post_init__(self) -> None:
        distributed.require_alone("dbae.reconstruct")
        for name, least in {"draws": 0, "seed": 0, "per_grid": 1, "batch_size": 1, "workers": 0}.items():
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {least} or more, found {getattr(self, name)}.")


@torch.inference_mode()
def reconstruct(
    model: RepresentationModel,
    x0: Float[Tensor, "b 3 s s"],
    *,
    sampler: SamplerConfig | None = None,
    draws: int = 0,
    seed: int = 0,
    indices: np.ndarray | None = None,
    endpoint: Endpoint = "own",
) -> Float[Tensor, "b k 3 s s"]:
    """x0, x_T, the reconstruction and `draws` more of each image; without x_T where a model has none to look at.

    Only x_T may leave [-1, 1].

    Args:
        model: on the device of `x0`.
        x0: images in [-1, 1].
        sampler: how x is decoded; None is the model's first, with 100 evaluations (the paper's, of a DBAE).
        draws: images from z ~ q(z | x0), or from its mean where z is a function of x0.
        seed: of the noise of draws and sampler, one generator an image.
        indices: numbers of the images, which choose their generators; None for 0, 1, ...
        endpoint: where x_T comes from.

    Raises:
        UserError: the model has no such sampler or endpoint.
    """
    sampler = sampler_of(sampler or OwnSampler(), model.samplers, model.name)
    where = endpoint_of(model, endpoint)
    numbers = np.arange(len(x0)) if indices is None else indices

    def noise(draw: int, stream: str) -> PerImageNoise:
        return PerImageNoise(mixed_seed(seed, "draw", draw), numbers, stream=stream, device=x0.device)

    if where == "inferred" and model.encode_nfe:  # its z is the endpoint of another inversion, which nobody asks for
        mean, sigma = x0.new_zeros(len(x0), model.latent_dim), None
    else:
        mean, sigma = model.posterior(x0)
    pictures = [x0]
    for draw in range(draws + 1):  # 0 is the reconstruction
        z = mean if sigma is None or draw == 0 else mean + sigma * noise(draw, "encode").normal(mean.shape)
        decoded = decode(
            model,
            x0,
            z,
            sampler=sampler,
            noise=noise(draw, "sample"),
            x_T=starting_point(model, z, where, noise(draw, "endpoint")),
            encode_steps=steps_for(sampler) if where == "inferred" else None,
        )
        pictures += [decoded.x_T] if draw == 0 and decoded.x_T is not None else []
        pictures.append(decoded.images)
    return torch.stack([picture.float() for picture in pictures], dim=1)


def run(options: Options, load: Callable[[str], Loaded] = load) -> Gallery:
    """Reconstruct all images that are not in `options.out` yet.

    Args:
        options: the command line.
        load: opens --ckpt.

    Raises:
        UserError: an option, the checkpoint or an image is not usable; `options.out` has other reconstructions, or
            cannot be written. Grids that are finished stay.
    """
    require_apart(matching(options.images), options.out)
    loaded = load(options.ckpt)
    options = _usable(options, loaded.model)
    log.info("%s", trained_on(loaded))
    data = open_images(options.images, size=loaded.model.image_size, crop=options.crop, exif=options.exif)
    data.report_turned()
    device = cli.device(options.device)
    model = on_device(loaded.model, device)
    if options.compile and isinstance(model, nn.Module):
        compile_networks(model)
    x_T = ["xT"] if shows_endpoint(model, endpoint_of(model, options.endpoint)) else []
    shown = ["x0", *x_T, "reconstruction", *(f"draw{j + 1}" for j in range(options.draws))]
    gallery = Gallery(options.out, len(data), options.per_grid, settings(options, loaded, data), shown)
    with alone(options.out), all_shown():
        _fill(gallery, model, data, options, device)
    return gallery


def _fill(
    gallery: Gallery, model: RepresentationModel, data: NamedImages, options: Options, device: torch.device
) -> None:
    """Make the grids that are not there yet."""
    missing = gallery.open()
    together = max(1, options.batch_size // options.per_grid)  # grids
    groups = [missing[i : i + together] for i in range(0, len(missing), together)]
    parts = (np.concatenate([gallery.members(grid) for grid in group]) for group in groups)
    batches = read_batches(data, parts, skip_broken=options.skip_broken, workers=options.workers)
    done = len(data) - sum(len(gallery.members(grid)) for grid in missing)
    with progress_bar(len(data), "reconstructing", done=done) as bar:
        for group, batch in zip(groups, batches, strict=True):
            pictures = _pictures(model, data, batch, options, device, bar)
            for grid in group:
                _write_grid(gallery, grid, batch, pictures, data, options.individual)
            bar.update(len(batch.broken))


def settings(options: Options, loaded: Loaded, data: NamedImages) -> dict[str, Any]:
    """All that decides what the pictures show, the images' names and contents among it."""
    own = ("draws", "seed", "crop", "precision", "individual")
    endpoint = {} if options.endpoint == "own" else {"endpoint": options.endpoint}
    return {
        "checkpoint_sha256": loaded.sha256,
        "model": loaded.model.name,
        "size": data.size,
        "images_sha256": data.contents(),
        **{name: getattr(options, name) for name in own},
        **options.sampler.card,
        **endpoint,
    }


def _pictures(
    model: RepresentationModel, data: NamedImages, batch: ReadBatch, options: Options, device: torch.device, bar: Any
) -> list[UInt8[Tensor, "k 3 s s"]]:
    """The pictures of the images of a batch on the CPU, `batch_size` images at a time."""
    parts: list[Tensor] = []
    for i in range(0, len(batch.indices), options.batch_size):
        part = slice(i, i + options.batch_size)
        x0 = to_float(to_device(batch.images[part], device))
        names = [data.label(int(index)) for index in batch.indices[part]]
        with naming(names), autocast(device, options.precision):
            pictures = reconstruct(
                model,
                x0,
                sampler=options.sampler,
                draws=options.draws,
                seed=options.seed,
                indices=batch.indices[part],
                endpoint=options.endpoint,
            )
        with naming([name for name in names for _ in range(pictures.shape[1])]):
            parts += to_uint8(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).cpu()
        bar.update(len(x0))
    return parts


def _write_grid(
    gallery: Gallery, grid: int, batch: ReadBatch, pictures: list[Tensor], data: NamedImages, individual: bool
) -> None:
    members = gallery.members(grid)
    at = {int(index): i for i, index in enumerate(batch.indices)}
    shown = {int(index): pictures[at[index]] for index in members.tolist() if index in at}
    names = {int(index): data.label(index) for index in members.tolist()}
    gallery.write(grid, names, shown, batch.broken, individual=individual)


def _usable(options: Options, model: RepresentationModel) -> Options:
    """The options with the sampler that they mean.

    Raises:
        UserError: a sampler or endpoint of other models, or draws that could only repeat the reconstruction.
    """
    sampler = sampler_of(options.sampler, model.samplers, model.name)
    require_budget(model, sampler)
    where = endpoint_of(model, options.endpoint)
    booted = sampler.method in BOOTED_METHODS and sampler.boot_noise
    random = where == "random" or booted or sampler.churn or sampler.eta or sampler.method == "ddpm"
    if options.draws and not random and not _is_stochastic(model):
        raise UserError(
            f"--draws {options.draws}: expected something random, found a deterministic encoder and sampler, whose "
            "draws are all the same. Use a sampler that draws noise, of a bridge --method dbim2 (with its noise at the "
            "start) or --churn 0.33, of a diffusion model --eta 1; or --endpoint random where the model has it."
        )
    return dataclasses.replace(options, sampler=sampler)


@torch.inference_mode()
def _is_stochastic(model: RepresentationModel) -> bool:
    """Whether its posterior has a spread, which any image shows."""
    return (
        not model.encode_nfe and model.posterior(torch.zeros(1, 3, model.image_size, model.image_size))[1] is not None
    )


def main(options: Options, load: Callable[[str], Loaded] = load) -> None:
    """Run and say where the results are."""
    gallery = run(options, load)
    broken = gallery.broken()
    if broken:
        log.warning("%d of %d images could not be read; index.csv names them", broken, gallery.images)
    print(gallery.folder)


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="dbae.reconstruct", description=__doc__))
