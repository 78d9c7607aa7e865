r"""Reconstruction: how close decode(encode(x)) comes to x, against the number of network evaluations (Tables 2, 9, 10).

The built-in model on drawn faces; nothing is downloaded:

    python -m benchmarks.reconstruction --limit 200

The paper's sweep on your images, both settings of the released code's end_data:

    python -m benchmarks.reconstruction --ckpt ema_0.9999_1020000.pt --data zip:faces.zip \
        --nfe 10 20 50 100 --end-data 0.5 0.0 --out results/mine/reconstruction.csv

Fast samplers beside it, started without noise as the paper's sampler is:

    python -m benchmarks.reconstruction --method ddbm_euler dbim dbim2 --no-boot-noise --nfe 5 10 20

OUT has one row a sampler, budget and metric (mean over images, standard error over images); OUT_images/ has every
image's values, one npz a setting; OUT_nfe.png shows all of OUT against evaluations. `one_step` (one evaluation) is
always measured: for pixel metrics it is a real competitor. A killed run continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from baselines.interface import RepresentationModel
from benchmarks.latents import LatentCache, Latents, default_folder
from benchmarks.metrics import reconstruction as metrics
from benchmarks.provenance import circumstances
from benchmarks.reconstruction_report import draw_sweep, format_sweep
from benchmarks.records import Record, RecordFile
from benchmarks.results import beside
from benchmarks.subjects import Loaded, encoder_of
from dbae import cli
from dbae.data.base import ImageDataset
from dbae.data.loader import iterate
from dbae.data.source import open_data
from dbae.errors import UserError
from dbae.files import atomic_path
from dbae.images import to_float
from dbae.noise import PerImageNoise, mixed_seed
from dbae.precision import Precision, autocast
from dbae.progress import progress_bar
from dbae.samplers import SamplerConfig
from dbae.samplers.config import BOOTED_METHODS, DDBM_METHODS

TASK_VERSION = 1
Protocol = Literal["paper", "standard"]
Method = Literal["ddbm_euler", "ddbm_heun", "dbim", "dbim2", "dbim3", "dbms2"]

NAMES = {
    "ssim": "SSIM",
    "ssim_skimage": "SSIM_skimage",
    "ssim_dbae_released": "SSIM_dbae_released",
    "mse": "MSE",
    "mse_dbae_released": "MSE_dbae_released",
    "psnr": "PSNR",
}
"""Field of `metrics.Reconstruction` -> metric name in the results."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    ckpt: tuple[str, ...] = ("builtin:dbae",)
    """Checkpoints: files or names."""
    data: tuple[str, ...] = ("faces",)
    """Data sets, KIND:ROOT[?size=..&n=..]."""
    split: str = ""
    """Which images; default: the split test where there is one, else all."""
    out: Path = Path("runs/reconstruction.csv")
    """The results file; rows are added to what it has."""
    protocol: tuple[Protocol, ...] = ("paper",)
    """paper: z drawn from the posterior, as the released code always does; standard: its mean."""
    method: tuple[Method, ...] = ("ddbm_euler",)
    """Samplers; one_step is always added."""
    nfe: tuple[int, ...] = (10, 20, 50, 100)
    """Budgets of network evaluations an image."""
    churn: float = 0.0
    """Share of every step that is stochastic (ddbm_*); the paper's LPIPS rows use 0.33."""
    end_data: tuple[float, ...] = (0.5,)
    """0.5 as trained; 0.0 as the released evaluation scripts."""
    boot_noise: bool = True
    """Noise in the first step of dbim* and dbms2."""
    seed: int = 0
    """Of z and of the samplers' noise."""
    limit: int | None = None
    """Use only the first LIMIT images."""
    batch_size: int = 64
    """Images sampled at a time; changes no number beyond rounding."""
    precision: Precision = "fp32"
    """Of the networks."""
    device: str = "auto"
    """Where they run: auto, cpu, cuda, cuda:1."""
    force: bool = False
    """Measure again what OUT already has."""

    def samplers(self) -> Iterator[SamplerConfig]:
        """Every setting to measure, cheapest first."""
        for end_data in self.end_data:
            yield SamplerConfig("one_step", nfe=1, end_data=end_data)
            for method in self.method:
                churn = self.churn if method in DDBM_METHODS else 0.0
                boot = self.boot_noise or method not in BOOTED_METHODS
                for nfe in sorted(self.nfe):
                    yield SamplerConfig(method, nfe=nfe, churn=churn, boot_noise=boot, end_data=end_data)


@dataclasses.dataclass(frozen=True)
class Study:
    """One model on one list of images.

    Attributes:
        latents: of `indices`, in their order.
        columns: what all its rows share.
    """

    model: RepresentationModel
    dataset: ImageDataset
    indices: np.ndarray
    latents: Latents
    device: torch.device
    options: Options
    columns: dict[str, Any]

    def rows(self, protocol: Protocol, sampler: SamplerConfig, results: RecordFile) -> list[Record]:
        """One record a metric: from the results where they are complete, else measured now and added."""
        columns = self.columns | {"protocol": protocol, "z": self._z(protocol)} | _sampler_columns(sampler)
        stored = {r.identity: r for r in results.read()}
        images = beside(results.path, "_images") / f"{_digest(columns)}.npz"
        if images.exists() and not self.options.force:
            values, nfe = _read_values(images)
            expected = self._records(columns | {"nfe": nfe}, values)
            if all(r.identity in stored for r in expected):
                return [stored[r.identity] for r in expected]
        started = time.perf_counter()
        values, nfe = self._measure(protocol, sampler)
        seconds = {"seconds": round(time.perf_counter() - started, 2), **circumstances()}
        _write_values(images, values, nfe, self.indices, columns)
        records = self._records(columns | {"nfe": nfe} | seconds, values)
        results.add(records)
        return records

    def _z(self, protocol: Protocol) -> str:
        return "sampled" if protocol == "paper" and self.latents.stochastic else "mean"

    @torch.inference_mode()
    def _measure(self, protocol: Protocol, sampler: SamplerConfig) -> tuple[dict[str, np.ndarray], int]:
        """Metric -> value of every image, and the counted evaluations."""
        seed = self.options.seed
        z = self.latents.draw(mixed_seed(seed, "z"), sample=protocol == "paper", flip=False)
        parts, nfe, done = [], 0, 0
        title = f"{self.columns['model']}, {protocol}, {sampler.method} {sampler.nfe}"
        with progress_bar(len(self.indices), title) as bar:
            for indices, images in iterate(self.dataset, self.indices, self.options.batch_size):
                noise = PerImageNoise(seed, indices, stream="sample", device=self.device)
                batch = z[done : done + len(indices)].to(self.device)
                with autocast(self.device, self.options.precision):
                    decoded = self.model.decode(batch, sampler=sampler, noise=noise)
                real = to_float(images.to(self.device))
                parts.append(metrics.measure(real=real, fake=decoded.images.float()))
                nfe, done = decoded.nfe, done + len(indices)
                bar.update(len(indices))
        values = {name: torch.cat([getattr(p, field) for p in parts]) for field, name in NAMES.items()}
        return {name: value.double().cpu().numpy() for name, value in values.items()}, nfe

    def _records(self, columns: dict[str, Any], values: dict[str, np.ndarray]) -> list[Record]:
        return [
            Record(
                **columns,
                metric=name,
                better="lower" if name.startswith("MSE") else "higher",
                value=float(value.mean()),
                stderr=float(value.std(ddof=1) / np.sqrt(len(value))),
            )
            for name, value in values.items()
        ]


def run(options: Options, load: Callable[[str], Loaded]) -> list[Record]:
    """Measure every checkpoint on every data set; all rows of this command.

    Raises:
        UserError: an option, a file or the data is not usable; what was measured before is in the results.
    """
    try:
        samplers = list(options.samplers())
    except ValueError as error:
        raise UserError(f"--method, --nfe, --churn or --end-data: {error}.") from error
    device = cli.device(options.device)
    cache = LatentCache(default_folder(), device, precision=options.precision, progress=True)
    rows = []
    for source in options.ckpt:
        loaded = load(source)
        for data in options.data:
            study = _study(loaded, open_data(data, size=loaded.model.image_size), cache, options)
            for protocol in options.protocol:
                for sampler in samplers:
                    rows += study.rows(protocol, sampler, RecordFile(options.out))
    return rows


def _study(loaded: Loaded, dataset: ImageDataset, cache: LatentCache, options: Options) -> Study:
    split = options.split or ("test" if "test" in dataset.splits else "all")
    indices = dataset.split(split)[: options.limit]
    if dataset.size != loaded.model.image_size or len(indices) < 2:
        raise UserError(
            f"{dataset.name}: expected 2 or more images of {loaded.model.image_size} pixels, found {len(indices)} of "
            f"{dataset.size}. Leave out size= in --data, or choose another --split or --limit."
        )
    columns = {
        "task": "reconstruction",
        "task_version": TASK_VERSION,
        "model": loaded.name,
        "method": loaded.method,
        "variant": loaded.variant,
        "train_data": loaded.train_data,
        "weights": loaded.weights,
        "checkpoint_sha256": loaded.sha256,
        "dataset": dataset.name,
        "data_sha256": dataset.fingerprint,
        "split": split,
        "n": len(indices),
        "latent_dim": loaded.model.latent_dim,
        "encode_nfe": 0,
        "x_T": "decoded",
        "seed": str(options.seed),
        "precision": options.precision,
    }
    latents = cache.get(encoder_of(loaded.model, loaded.name, loaded, cache.device), dataset, indices)
    return Study(loaded.model, dataset, indices, latents, cache.device, options, columns)


def _sampler_columns(sampler: SamplerConfig) -> dict[str, Any]:
    """The sampler's cells of a record; those that its method lacks stay empty."""
    columns: dict[str, Any] = {"sampler": sampler.method, "nfe_requested": sampler.nfe, "end_data": sampler.end_data}
    if sampler.method in DDBM_METHODS:
        columns |= {"grid": sampler.grid, "churn": sampler.churn}
    if sampler.method in BOOTED_METHODS:
        columns |= {"grid": sampler.grid, "boot_noise": sampler.boot_noise}
    return columns | ({"eta": sampler.eta} if sampler.method == "dbim" else {})


def _digest(columns: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()[:16]


def _write_values(
    path: Path, values: dict[str, np.ndarray], nfe: int, indices: np.ndarray, columns: dict[str, Any]
) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        arrays: dict[str, Any] = {
            **values,
            "index": indices,
            "nfe": nfe,
            "columns": json.dumps(columns, sort_keys=True),
        }
        np.savez_compressed(file, **arrays)


def _read_values(path: Path) -> tuple[dict[str, np.ndarray], int]:
    with np.load(path) as file:
        return {name: file[name] for name in NAMES.values()}, int(file["nfe"])


def main(options: Options) -> None:
    """Run, print the sweep, draw the figure."""
    from baselines.load import load

    rows = run(options, load)
    print(format_sweep(rows))
    figure = beside(options.out, "_nfe.png")
    draw_sweep(RecordFile(options.out).read(), figure)
    log.info("%s, %s, %s", options.out, beside(options.out, "_images"), figure)


if __name__ == "__main__":
    sys.exit(cli.run(main, Options, module="benchmarks.reconstruction", description=__doc__))
