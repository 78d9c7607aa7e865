"""Generate images: z from a latent prior, x_T = Dec(z), x from the bridge.

  python -m dbae.sample -n 64 --out runs/samples --nfe 20
  python -m dbae.sample -n 5000 --out runs/many --method dbim2 --nfe 10 --npz
  python -m dbae.sample -n 64 --ckpt ema_0.9999_1020000.pt --prior ffhq-prior.safetensors --out runs/ffhq-samples

OUT/images/000000.png ... are the images, OUT/grids/000000.png ... 64 of them each, and OUT/samples.npz (--npz) all of
them as guided-diffusion writes them: `arr_0`, uint8 (n, s, s, 3). Image i is a function of (--seed, i): neither -n nor
the batch size changes it beyond rounding. A killed run goes on where it stopped when it is started again, and a larger
-n adds to what is there. Under torchrun the processes share the images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float, UInt8
from torch import Tensor

from dbae.gallery import require_same_settings
from dbae.images import contact_sheet, naming, save_png, to_uint8
from dbae.model import DBAE
from dbae.noise import PerImageNoise
from dbae.pretrained import find, load
from dbae.prior import LatentPrior
from dbae.prior import load as load_prior
from dbae.samplers import SamplerConfig
from dbae.support import cli, distributed
from dbae.support.arrays import array_file
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, sha256
from dbae.support.locking import alone
from dbae.support.precision import Precision, autocast
from dbae.support.progress import progress_bar

BUILTIN_PRIOR = {"builtin:dbae": "builtin:prior"}
PER_GRID, ACROSS = 64, 8
MOST = 10_000_000
"""Images of a run: a file each, in one folder."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        out: folder of the images.
        n: how many, up to ten million.
        ckpt: a checkpoint file, or builtin:dbae.
        prior: what `python -m dbae.train_prior` wrote for this checkpoint; builtin:dbae brings its own.
        prior_nfe: steps of the prior. Its own are 1000.
        endpoint_blend: share of the images that start at Dec(z), the others start at noise; None is the share in
            training, 1 unless it was asked for.
        seed: of the images.
        npz: write samples.npz too.
        batch_size: images sampled at a time.
        precision: of the autoencoder's networks.
        device: where they run: auto, cpu, cuda, cuda:1.
        sampler: how x is decoded; the default is the paper's.
    """

    out: Path
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    ckpt: str = "builtin:dbae"
    prior: str | None = None
    prior_nfe: int = 1000
    endpoint_blend: float | None = None
    seed: int = 0
    npz: bool = False
    batch_size: int = 64
    precision: Precision = "fp32"
    device: str = "auto"
    sampler: tyro.conf.OmitArgPrefixes[SamplerConfig] = SamplerConfig("ddbm_euler")

    def __post_init__(self) -> None:
        for name, least in {"n": 1, "seed": 0, "batch_size": 1}.items():
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise UserError(f"--{option}: expected {least} or more, found {getattr(self, name)}.")
        if self.n > MOST:
            raise UserError(f"--n: expected {MOST} or fewer, found {self.n}. Make several runs with other seeds.")
        if self.endpoint_blend is not None and not 0 <= self.endpoint_blend <= 1:
            raise UserError(f"--endpoint-blend: expected a number from 0 to 1, found {self.endpoint_blend}.")


@torch.inference_mode()
def draw(
    model: DBAE,
    prior: LatentPrior,
    indices: np.ndarray,
    *,
    seed: int = 0,
    sampler: SamplerConfig | None = None,
    endpoint_blend: float | None = None,
    precision: Precision = "fp32",
) -> Float[Tensor, "b 3 s s"]:
    """Images number `indices` of a seed, in [-1, 1].

    Args:
        model, prior: on one device; the prior's `sampling` says how z is drawn.
        sampler: None is the paper's, ddbm_euler with 100 evaluations.
        endpoint_blend: see `DBAE.draw_endpoint`.
    """

    def noise(stream: str) -> PerImageNoise:
        return PerImageNoise(seed, indices, stream=stream, device=model.device)

    z = prior.sample(noise("prior"), len(indices)).z
    with autocast(model.device, precision):
        x_T = model.draw_endpoint(z, noise("x_T"), blend=endpoint_blend)
        return model.decode(z, x_T=x_T, sampler=sampler, noise=noise("sample")).images.float()


class SampleFolder:
    """The files of the module docstring, under a folder that holds the images of one setting.

    Args:
        path: made when it is not there.
        settings: JSON values that decide what image i shows.
        make: False leaves making it to another process.

    Raises:
        UserError: the folder has images of other settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, make: bool = True) -> None:
        self.path = path
        if make:
            self._make(settings)

    def _make(self, settings: dict[str, Any]) -> None:
        path = self.path
        described = path / "run.json"
        if (path / "images").exists() and not described.exists():
            raise UserError(f"{path}: expected an empty or new folder, found images/ in it. Name another --out.")
        if any((path / "images").glob("*.png")):  # a run that failed before its first image claims nothing
            require_same_settings(described, settings, "images")
        with atomic_path(described) as temporary:
            temporary.write_text(json.dumps(settings, indent=1))

    def image_file(self, index: int) -> Path:
        return self.path / "images" / f"{index:06d}.png"

    def missing(self, n: int) -> np.ndarray:
        """Which of the first n images are not there."""
        return np.array([i for i in range(n) if not self.image_file(i).exists()], np.int64)

    def write(self, indices: np.ndarray, images: UInt8[Tensor, "b 3 s s"]) -> None:
        for index, image in zip(indices.tolist(), images, strict=True):
            save_png(image, self.image_file(index))

    def read(self, indices: range) -> UInt8[Tensor, "b 3 s s"]:
        from PIL import Image

        def pixels(index: int) -> Tensor:
            with contextlib.closing(Image.open(self.image_file(index))) as image:
                return torch.from_numpy(np.array(image)).permute(2, 0, 1)

        return torch.stack([pixels(i) for i in indices])

    def write_grids(self, n: int) -> None:
        """Sheets of the first n images."""
        for grid in range(-(-n // PER_GRID)):
            images = self.read(range(grid * PER_GRID, min((grid + 1) * PER_GRID, n)))
            save_png(contact_sheet(images, min(ACROSS, len(images))), self.path / "grids" / f"{grid:06d}.png")

    def write_npz(self, n: int) -> None:
        """The first n images in guided-diffusion's format; memory holds a few."""
        with array_file(self.path / "samples.npz") as arrays:
            for start in range(0, n, PER_GRID):
                images = self.read(range(start, min(start + PER_GRID, n)))
                arrays.append("arr_0", images.permute(0, 2, 3, 1).numpy())


def run(options: Options) -> SampleFolder:
    """Generate the images that are not in `options.out` yet.

    Raises:
        UserError: an option, the checkpoint or the prior is not usable; `options.out` has other images, or cannot be
            written. Images that are finished stay.
    """
    loaded = load(options.ckpt)
    if options.sampler.method not in loaded.model.samplers:
        raise UserError(f"--method {options.sampler.method}: expected one of {', '.join(loaded.model.samplers)}.")
    path = _prior_file(options)
    prior, _ = load_prior(path, autoencoder_sha256=loaded.sha256)
    prior.sampling = dataclasses.replace(prior.sampling, steps=options.prior_nfe)
    blend = loaded.model.config.endpoint_blend if options.endpoint_blend is None else options.endpoint_blend
    settings = {
        "checkpoint_sha256": loaded.sha256,
        "prior_sha256": sha256(path),
        "endpoint_blend": blend,
        **{name: getattr(options, name) for name in ("prior_nfe", "seed", "precision")},
        **options.sampler.card,
    }
    device = cli.device(options.device)
    world = distributed.world(device)
    with alone(options.out) if world.is_main else contextlib.nullcontext():
        folder = SampleFolder(options.out, settings, make=world.is_main)
        missing = world.broadcast(folder.missing(options.n))[world.rank :: world.size]
        _fill(folder, missing, loaded.model.to(device), prior.to(device), options, blend)
        world.barrier()
        if world.is_main:
            folder.write_grids(options.n)
        if world.is_main and options.npz:
            folder.write_npz(options.n)
    return folder


def _fill(
    folder: SampleFolder, missing: np.ndarray, model: DBAE, prior: LatentPrior, options: Options, blend: float
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
                    endpoint_blend=blend,
                    precision=options.precision,
                )
            folder.write(indices, to_uint8(images).cpu())
            bar.update(len(indices))


def _prior_file(options: Options) -> Path:
    source = options.prior or BUILTIN_PRIOR.get(options.ckpt)
    if source is None:
        raise UserError(
            f"{options.ckpt}: generating needs a distribution of its z, found none. Train one with "
            f"`python -m dbae.train_prior --ckpt {options.ckpt} --data YOUR_IMAGES --out runs/prior` and name it: "
            "--prior runs/prior/checkpoints/NEWEST.safetensors."
        )
    return find(source)


def main(options: Options) -> None:
    """Run and say where the results are."""
    folder = run(options)
    if distributed.is_main():
        print(folder.path)


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Options, module="dbae.sample", description=__doc__))
