"""Encode your own images by a DBAE: z of every image in one file (`baselines.encode` takes any model).

    python -m dbae.encode "faces:?n=100" --out runs/z.npz
    python -m dbae.encode me.jpg photos/ faces.zip --ckpt ema_0.9999_1020000.pt --sigma --out runs/z.npz
    python -m dbae.encode photos --out runs/z.csv

A name that ends in .csv or .parquet gives a table, a row an image: `file`, `z0`, `z1`, ... (`sigma0`, `draw1_0` where
asked for), `model`, `checkpoint_sha256`; broken images have no row. pandas.read_csv("z.csv").filter(regex="^z") is what
scikit-learn takes. Parquet needs pip install 'dbae-bench[parquet]'. In an .npz:

    z                   float32 (n, l)     mean of the posterior
    sigma               float32 (n, l)     its standard deviation (--sigma)
    draws               float32 (n, m, l)  z = mean + sigma * eps, those of dbae.reconstruct's draws (--draws m)
    names               str (n,)           the images' files
    checkpoint_sha256   str (1,)           of the checkpoint file
    model               str (1,)           its name
    broken, reasons     str (k,)           files that could not be read, and why (--skip-broken)

Read it with numpy: z = np.load("z.npz")["z"]. The file appears when it is complete; one that is there needs
--force. Any size and aspect will do.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float32
from torch import Tensor, nn

from dbae.data import Crop, Exif, NamedImages, open_images, read_batches
from dbae.images import to_device, to_float
from dbae.interface import Loaded, RepresentationModel, on_device, trained_on
from dbae.latent_files import Add, latent_file, require_format
from dbae.noise import PerImageNoise, mixed_seed
from dbae.pretrained import load
from dbae.support import cli, distributed
from dbae.support.compiling import compile_networks
from dbae.support.errors import UserError
from dbae.support.precision import Precision, advice, autocast
from dbae.support.progress import progress_bar

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        images: files, "patterns", folders, zips, KIND:ROOT.
        out: the .npz, .csv or .parquet to write.
        force: replace one that is there.
        ckpt: a checkpoint file or name.
        sigma: write the posterior's standard deviation too.
        draws: draws from the posterior to write, for every image.
        seed: of the draws.
        crop: square taken from other aspects: centre; top; whole (black bars).
        exif: upright turns photographs as their EXIF orientation says; ignore reads them as stored.
        skip_broken: list images that cannot be read and go on.
        batch_size: images encoded at a time; changes no number beyond rounding.
        workers: processes that read images (0: this one).
        precision: of the encoder.
        compile: generate code for the networks first (`dbae.support.compiling`): for many images on a GPU.
        device: where it runs: auto, cpu, cuda, cuda:1.
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES...")]
    out: Path
    force: bool = False
    ckpt: str = "builtin:dbae"
    sigma: bool = False
    draws: int = 0
    seed: int = 0
    crop: Crop = "centre"
    exif: Exif = "upright"
    skip_broken: bool = False
    batch_size: int = 64
    workers: int = 0
    precision: Precision = "fp32"
    compile: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        distributed.require_alone("dbae.encode")
        for name, least in {"draws": 0, "seed": 0, "batch_size": 1, "workers": 0}.items():
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {least} or more, found {getattr(self, name)}.")
        if self.out.is_dir():
            raise UserError(
                f"--out {self.out}: expected a file, found a folder. Name a file in it: {self.out / 'z.npz'}."
            )
        self.require_new()
        require_format(self.out)

    def require_new(self) -> None:
        """Raise UserError if something would be replaced that --force does not say to replace."""
        if self.out.exists() and not self.force:
            raise UserError(f"--out {self.out}: is there already. Add --force to replace it, or choose another --out.")


@torch.inference_mode()
def posterior_rows(
    model: RepresentationModel, x0: Tensor, indices: np.ndarray, *, draws: int = 0, seed: int = 0
) -> dict[str, Float32[np.ndarray, "b ..."]]:
    """The arrays z, sigma (of a stochastic model) and draws for images x0 (b, 3, s, s) in [-1, 1], as in the file.

    `indices` are the images' numbers, which choose the generators of their draws.
    """
    mean, sigma = model.posterior(x0)
    rows = {"z": mean}
    if sigma is not None:
        rows["sigma"] = sigma
        noise = (PerImageNoise(mixed_seed(seed, "draw", j), indices, stream="encode") for j in range(1, draws + 1))
        drawn = [mean + sigma * source.normal(mean.shape).to(mean.device) for source in noise]
        rows |= {"draws": torch.stack(drawn, dim=1)} if draws else {}
    return {name: value.float().cpu().numpy() for name, value in rows.items()}


def run(options: Options, load: Callable[[str], Loaded] = load) -> tuple[int, int]:
    """Encode all images; gives how many were encoded and how many were broken.

    Args:
        options: the command line.
        load: opens --ckpt.

    Raises:
        UserError: an option, the checkpoint or an image is not usable, no image can be read, z is not finite, or a
            full disk.
    """
    loaded = load(options.ckpt)
    data = open_images(options.images, size=loaded.model.image_size, crop=options.crop, exif=options.exif)
    data.report_turned()
    log.info("%s", trained_on(loaded, "z says of other images in what such images differ"))
    encoded = broken = 0
    names = {"model": loaded.model.name, "sha256": loaded.sha256}
    with latent_file(options.out, **names) as add, progress_bar(len(data), "encoding") as bar:
        for good, bad in _encode(loaded.model, data, add, options):
            encoded, broken = encoded + good, broken + bad
            bar.update(good + bad)
        if not encoded:
            raise UserError(f"{options.images[0]}: expected images, found {broken} that cannot be read and no other.")
        options.require_new()  # another process may have written it meanwhile
    return encoded, broken


def _encode(model: RepresentationModel, data: NamedImages, add: Add, options: Options) -> Iterator[tuple[int, int]]:
    """Add batch after batch; yields how many images of each were good and broken."""
    device = cli.device(options.device)
    on_device(model, device)
    if options.compile and isinstance(model, nn.Module):
        compile_networks(model)
    starts = range(0, len(data), options.batch_size)
    parts = (np.arange(i, min(i + options.batch_size, len(data))) for i in starts)
    wanted = {"z"} | ({"sigma"} if options.sigma else set()) | ({"draws"} if options.draws else set())
    for batch in read_batches(data, parts, skip_broken=options.skip_broken, workers=options.workers):
        names, rows = [data.label(int(i)) for i in batch.indices], {}
        if names:
            x0 = to_float(to_device(batch.images, device))
            with autocast(device, options.precision):
                rows = posterior_rows(model, x0, batch.indices, draws=options.draws, seed=options.seed)
            if not wanted <= rows.keys():
                raise UserError(f"{options.ckpt}: its z is a function of the image. Leave out --sigma and --draws.")
            _require_finite(rows["z"], names, options)
        broken = [(data.label(i), reason) for i, reason in batch.broken.items()]
        add(names, {name: rows[name] for name in wanted & rows.keys()}, broken)
        yield len(names), len(batch.broken)


def _require_finite(z: np.ndarray, names: list[str], options: Options) -> None:
    finite = np.isfinite(z).all(axis=1)
    if not finite.all():
        raise UserError(
            f"{names[int(np.flatnonzero(~finite)[0])]}: its z is not finite in {options.precision}. "
            f"{advice(options.precision)}"
        )


def main(options: Options, load: Callable[[str], Loaded] = load) -> None:
    """Run and say where the result is."""
    encoded, broken = run(options, load)
    if broken:
        where = "`broken` in the file names them" if options.out.suffix == ".npz" else "they have no row"
        log.warning("%d of %d images could not be read; %s", broken, encoded + broken, where)
    print(options.out)


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="dbae.encode", description=__doc__))
